"""Pirates who start from a published network, as most do.

Images are enlarged to `config.suite.pirates.published.side`. The pirate either fits a linear
classifier to the features of the frozen network, or starts from that and fine-tunes the whole.
"""

import functools
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from raeg_jax.errors import UserError
from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.experiments.pirated_model import Curve, learning_curve
from raeg_jax.experiments.training_sets import Images
from raeg_jax.files import sha256, whole_file
from raeg_jax.image.resize import crop_resize
from raeg_jax.networks.classifiers import FrozenClassifier, build_classifier
from raeg_jax.networks.weights import load_weights
from raeg_jax.training.linear_head import ITERATIONS, features_of, fit_linear, with_head
from raeg_jax.workdir import published

WAYS = ("frozen", "whole")

# Of fine-tuning, which AdamW does; steps at the start that warm up.
_BATCH_SIZE = 32
_RATE = 3e-4
_WEIGHT_DECAY = 1e-2
_WARMUP = 20


class Enlarged(nn.Module):
    """A network that sees images enlarged.

    Attributes:
      network: takes images float32 [B, side, side, 3].
      side: in pixels.
    """

    network: nn.Module
    side: int

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps images float32 [B, H, W, 3] to logits [B, K]."""
        return self.network(enlarge(images, self.side), train)


def enlarge(images: jax.Array, side: int) -> jax.Array:
    """Resizes images [B, H, W, 3] bilinearly: float32 [B, side, side, 3]."""
    height, width = images.shape[1:3]
    return crop_resize(images.astype(jnp.float32), 0, 0, height, width, (side, side))


@functools.lru_cache
def identity(run: TrainedRun, name: str) -> dict[str, Any] | None:
    """What results depend on of a published network; None while there is no file of ours."""
    try:
        return published.identity(run.config, name)
    except UserError:
        return None


def train_frozen(run: TrainedRun, folder: pathlib.Path, images: Images, name: str) -> Curve:
    """A linear classifier on the features of a frozen network; its only look is its last.

    Args:
      run: data set and settings.
      folder: features are kept there.
      images: to train on.
      name: of the file of weights.
    """
    pirate = _Pirate(run, folder, name)
    kernel, bias = pirate.head(images)
    clean, truth = run.images("test")
    predictions = (
        np.argmax(pirate.features(test) @ kernel + bias, axis=-1) for test in images.tests(clean)
    )
    return [(ITERATIONS, max(float(np.mean(predicted == truth)) for predicted in predictions))]


def train_whole(
    run: TrainedRun, folder: pathlib.Path, model_folder: pathlib.Path, images: Images, name: str,
    seed: int,
) -> Curve:  # fmt: skip
    """Fine-tunes a whole network with a new head, and tests it after each epoch.

    The head starts as that of `train_frozen`. AdamW with a warm-up and a cosine schedule; images
    are flipped and shifted as those of the run's classifiers; batch norms use the statistics of the
    batch, and update their running ones.

    Args:
      run: data set and settings.
      folder: features are kept there.
      model_folder: of this model while it is trained; removed then.
      images: at least a batch.
      name: of the file of weights.
      seed: number of the repetition.
    """
    settings = run.config.suite.pirates.published
    config = run.config.copy_and_resolve_references()
    devices = jax.device_count()
    size = min(_BATCH_SIZE, len(images.images)) // devices * devices or devices
    epoch = len(images.images) // size
    steps = settings.epochs * epoch
    config.classifiers.update(
        batch_size=size,
        steps=steps,
        learning_rate=_RATE,
        weight_decay=_WEIGHT_DECAY,
        warmup_steps=min(_WARMUP, steps // 4),
    )
    config.seed = config.seed + 1 + seed
    config.train.eval_every = epoch
    pirate = _Pirate(run, folder, name)
    module, start = pirate.whole(*pirate.head(images))
    return learning_curve(
        run, model_folder, images, config, pathlib.Path(name).stem, module, start, pirate.origin
    )


class _Pirate:
    """A published network, its features of images, and new heads for it."""

    def __init__(self, run: TrainedRun, folder: pathlib.Path, name: str):
        path = published.weights_path(run.config, name)
        self._network, self._variables = load_weights(path)
        self._side = run.config.suite.pirates.published.side
        self.origin = f"{sha256(path)} {self._side}"
        self._batch_size = run.config.eval.batch_size
        self._num_classes = run.splits.num_classes
        self._folder = folder / "features"

    def features(self, images: np.ndarray) -> np.ndarray:
        """What the last dense layer reads: uint8 [N, H, W, 3] -> float32 [N, F]. Kept in a file."""
        digest = hashlib.sha256(f"{self.origin} {images.shape}".encode())
        digest.update(np.ascontiguousarray(images).data)
        path = self._folder / f"{digest.hexdigest()[:24]}.npy"
        if not path.is_file():
            network = FrozenClassifier(
                Enlarged(self._network.module, self._side), _nested(self._variables)
            )
            found = features_of(network, images, self._batch_size)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                np.save(file, found.astype(np.float16))
        return np.load(path).astype(np.float32)

    def head(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """Fits the linear classifier: its kernel, float32 [F, K], and bias, float32 [K]."""
        # Mirrored, too: a linear classifier sees all its images at once.
        views = (images.images, images.images[:, :, ::-1])
        x = np.concatenate([self.features(view) for view in views])
        return fit_linear(x, np.tile(images.labels, len(views)), self._num_classes)

    def whole(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[nn.Module, dict[str, Any]]:
        """The network with a head, which sees images enlarged: module and variables."""
        network = self._network
        module = build_classifier(network.architecture, self._num_classes, network.preprocessing)
        variables = _nested(with_head(self._variables, kernel, bias))
        return Enlarged(module, self._side), variables


def _nested(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of a network, as `Enlarged` has them."""
    return {collection: {"network": tree} for collection, tree in variables.items()}
