"""The 1,000 classes of ImageNet (ILSVRC 2012), in the order of the logits of published networks."""

import collections
import functools
import importlib.resources
from collections.abc import Sequence

import numpy as np


@functools.cache
def classes() -> dict[str, str]:
    """Names by WordNet id, in the order of the logits, which is that of the ids."""
    text = (importlib.resources.files("raeg_jax.networks") / "imagenet.txt").read_text()
    rows = [line.split("\t") for line in text.splitlines()]
    count = collections.Counter(name for _, name in rows)
    # The bird and the machine are both called 'crane'.
    return {wnid: name if count[name] == 1 else f"{name} ({wnid})" for wnid, name in rows}


def class_names(num_classes: int) -> tuple[str, ...]:
    """Names of the classes of a published network: ImageNet's, or numbers where it has others."""
    names = tuple(classes().values())
    return names if num_classes == len(names) else tuple(f"class {i}" for i in range(num_classes))


def indices(class_names: Sequence[str]) -> np.ndarray | None:
    """Where the classes of a data set are among ImageNet's.

    Args:
      class_names: WordNet ids, names as `classes` has them, or the first of these names, as
        `data.mini_imagenet` calls classes: 'maillot' is none, as two classes begin so.

    Returns:
      int32 [K]; None unless every class is there, and only once.
    """
    firsts = [name.partition(",")[0] for name in classes().values()]
    count = collections.Counter(firsts)
    places = {name: i for i, name in enumerate(firsts) if count[name] == 1}
    places |= {
        f"{n} ({wnid})": i for i, (n, wnid) in enumerate(zip(firsts, classes(), strict=True))
    }
    places |= {name: i for i, (wnid, name) in enumerate(classes().items()) for name in (wnid, name)}
    found = [places.get(name) for name in class_names]
    if None in found or len(set(found)) < len(found):
        return None
    return np.array(found, np.int32)
