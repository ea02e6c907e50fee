"""The fixed permutation of the classes toward which targeted attacks go."""

import numpy as np


def class_permutation(num_classes: int) -> np.ndarray:
    """The permutation pi: one cycle through all classes.

    Returns:
      int32 [num_classes] without fixed points (for two or more classes), the same in every run.
    """
    order = np.random.RandomState(0).permutation(num_classes)
    permutation = np.empty(num_classes, np.int32)
    permutation[order] = np.roll(order, -1)
    return permutation
