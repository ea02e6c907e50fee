"""Random state dicts that need no PyTorch: drawn from a seed by names and shapes."""

from collections.abc import Mapping, Sequence

import numpy as np


def random_state(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, np.ndarray]:
    """Draws tensors so that signals neither fade nor grow much, and differ between channels.

    Args:
      shapes: of the tensors, by PyTorch's names.
      seed: of `RandomState`, whose numbers NumPy promises to keep.

    Returns:
      float32 by name; counters of batches are 0.
    """
    random = np.random.RandomState(seed)

    def draw(name, shape):
        kind = name.rpartition(".")[2]
        match kind, len(shape):
            case "num_batches_tracked", _:
                return np.zeros(shape, np.int64)
            case "running_var", _:
                return random.uniform(0.5, 1.5, shape)
            case "weight", 1:  # of batch norm
                return random.uniform(0.4, 1.2, shape)
            case "weight", _:
                return random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        return random.normal(0, 0.2, shape)

    tensors = {name: draw(name, shape) for name, shape in shapes.items()}
    return {
        name: np.asarray(x, x.dtype if x.dtype == np.int64 else np.float32)
        for name, x in tensors.items()
    }
