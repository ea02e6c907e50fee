"""Files of published weights that cost tests next to nothing: of a tiny network, random.

register(monkeypatch)                # the architecture, until the test ends
write(folder / "one.safetensors")    # other seeds have other readings
"""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import unflatten_dict
from skimage.data import astronaut

from raeg_jax.networks.architectures import VGG
from raeg_jax.networks.classifiers import CLASSIFIERS, FrozenClassifier
from raeg_jax.networks.preprocessing import PUBLISHED, Preprocessing
from raeg_jax.networks.weights import PublishedNetwork, array_shapes, save_weights

ARCHITECTURE, OTHER = "tiny", "tiny_deep"
PREPROCESSING = Preprocessing(36, 32, "bicubic", (127.0,) * 3, (128.0,) * 3)
_STAGES = {ARCHITECTURE: ((8,), (16,)), OTHER: ((8,), (8, 16))}
# Of the logits' standard deviation: readings are sure of themselves, but not very.
_SCALE = 4.0


def register(monkeypatch) -> None:
    """Makes the architectures known, as those that have published weights.

    Args:
      monkeypatch: of the test, or another one that is undone.
    """
    for name, stages in _STAGES.items():
        build = functools.partial(VGG, stages=stages, hidden=(), grid=1, stem_stride=2)
        monkeypatch.setitem(CLASSIFIERS, name, build)
        monkeypatch.setitem(PUBLISHED, name, PREPROCESSING)


def network(
    architecture: str = ARCHITECTURE,
    num_classes: int = 1000,
    preprocessing: Preprocessing = PREPROCESSING,
    seed: int = 0,
) -> PublishedNetwork:
    """What a file of `write` says of itself."""
    source = f"{architecture}-{seed}.pth (0123456789abcdef)"
    return PublishedNetwork(architecture, num_classes, preprocessing, source)


def write(
    path: pathlib.Path,
    seed: int = 0,
    num_classes: int = 1000,
    architecture: str = ARCHITECTURE,
    preprocessing: Preprocessing = PREPROCESSING,
) -> PublishedNetwork:
    """Writes a file as `raeg weights import` does; photographs are read as many classes.

    Args:
      path: of the file, `NAME.safetensors`.
      seed: of its weights.
      num_classes: K.
      architecture: of those that are registered.
      preprocessing: that the file names.

    Returns:
      What the file says of itself.
    """
    described = network(architecture, num_classes, preprocessing, seed)
    save_weights(path, described, _arrays(described, seed))
    return described


def classifier(seed: int = 0, **options: Any) -> tuple[nn.Module, Any]:
    """(module, variables) of the same weights, without a file; the rest as of `network`."""
    described = network(seed=seed, **options)
    return described.module, unflatten_dict(
        {name: jnp.asarray(array) for name, array in _arrays(described, seed).items()}, sep="/"
    )


@functools.cache
def _arrays(described: PublishedNetwork, seed: int) -> dict[str, np.ndarray]:
    """Random weights, the last layer's scaled to logits of mean 0 and of deviation `_SCALE`."""
    random = np.random.default_rng(seed)

    def draw(name, shape):
        match name.rpartition("/")[2]:
            case "kernel":
                # As He et al. do, so that signals keep their size.
                return random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
            case "scale" | "var":
                return np.ones(shape)
        return np.zeros(shape)

    shapes = array_shapes(described.module)
    arrays = {name: np.float32(draw(name, shapes[name])) for name in sorted(shapes)}
    classifier = FrozenClassifier(described.module, unflatten_dict(arrays, sep="/"))
    logits = np.asarray(jax.jit(FrozenClassifier.__call__)(classifier, _images()))
    factor = _SCALE / logits.std(axis=0)
    arrays["params/Dense_0/kernel"] *= factor
    arrays["params/Dense_0/bias"] -= logits.mean(axis=0) * factor
    return arrays


@functools.cache
def _images() -> jax.Array:
    """Parts of a photograph: float32 [16, 32, 32, 3]."""
    corners = [(row, column) for row in range(0, 480, 120) for column in range(0, 480, 120)]
    parts = [astronaut()[top : top + 32, left : left + 32] for top, left in corners]
    return jnp.asarray(np.stack(parts), jnp.float32)
