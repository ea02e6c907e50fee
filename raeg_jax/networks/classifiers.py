"""The registry of classifiers, and classifiers frozen for attack and evaluation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

from raeg_jax.errors import UserError
from raeg_jax.networks.architectures import (
    VGG,
    VGG16_STAGES,
    VGG19_STAGES,
    BottleneckBlock,
    DenseNet,
    ResNet,
)
from raeg_jax.networks.efficientnet import EfficientNetLite
from raeg_jax.networks.layers import (
    network_input,
    own_preprocessing,
    preprocessing_of,
    small_stem,
)
from raeg_jax.networks.preprocessing import Preprocessing

# float32 images [B, H, W, 3] in pixel units -> logits [B, K], in evaluation mode.
LogitsFn = Callable[[jax.Array], jax.Array]

# The small classifiers are our own, for images of 32 to 96 pixels: about 20 million multiplications
# for 64 pixels. The others are the published ImageNet architectures, of torchvision's names and
# sizes; `preprocessing.PUBLISHED` says what their published weights expect of a photograph.
CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "resnet_small": functools.partial(ResNet, stage_sizes=(2, 2, 1), width=32, stem=small_stem),
    "resnet18": functools.partial(ResNet, stage_sizes=(2, 2, 2, 2)),
    "resnet34": functools.partial(ResNet, stage_sizes=(3, 4, 6, 3)),
    "resnet50": functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BottleneckBlock),
    "resnet101": functools.partial(ResNet, stage_sizes=(3, 4, 23, 3), block=BottleneckBlock),
    "vgg_small": functools.partial(
        VGG, stages=((32,), (64, 64), (128,)), hidden=(), grid=1, stem_stride=2
    ),
    "vgg16": functools.partial(VGG, stages=VGG16_STAGES, norm=False),
    "vgg16_bn": functools.partial(VGG, stages=VGG16_STAGES),
    "vgg19": functools.partial(VGG, stages=VGG19_STAGES, norm=False),
    "vgg19_bn": functools.partial(VGG, stages=VGG19_STAGES),
    "densenet_small": functools.partial(
        DenseNet, block_sizes=(4, 4, 4), growth=16, width=32, stem=small_stem
    ),
    "densenet121": functools.partial(DenseNet, block_sizes=(6, 12, 24, 16)),
    "densenet169": functools.partial(DenseNet, block_sizes=(6, 12, 32, 32)),
    "efficientnet_lite0": functools.partial(EfficientNetLite),
    "efficientnet_lite1": functools.partial(EfficientNetLite, depth=1.1),
    "efficientnet_lite2": functools.partial(EfficientNetLite, width=1.1, depth=1.2),
    "efficientnet_lite3": functools.partial(EfficientNetLite, width=1.2, depth=1.4),
    "efficientnet_lite4": functools.partial(EfficientNetLite, width=1.4, depth=1.8),
}


def build_classifier(
    name: str, num_classes: int, preprocessing: Preprocessing | None = None
) -> nn.Module:
    """Builds an untrained classifier.

    Args:
      name: a key of `CLASSIFIERS`.
      num_classes: K, at least 2.
      preprocessing: of published weights.

    Raises:
      UserError: an unknown name, or fewer than two classes.
    """
    if name not in CLASSIFIERS:
        raise UserError(f"unknown classifier {name!r}; known are {', '.join(sorted(CLASSIFIERS))}")
    if num_classes < 2:
        raise UserError(f"a classifier needs at least two classes, not {num_classes}")
    return CLASSIFIERS[name](num_classes, preprocessing=preprocessing)


def as_pytree(logits_fn: LogitsFn) -> LogitsFn:
    """Wraps a callable so that it can be an argument of a jitted function."""
    if isinstance(logits_fn, FrozenClassifier | jax.tree_util.Partial):
        return logits_fn
    return jax.tree_util.Partial(logits_fn)


def mean_reading(classifiers: Sequence[LogitsFn], images: jax.Array) -> jax.Array:
    """The class that classifiers read together, by their mean probabilities: int32 [B].

    Args:
      classifiers: of the same classes.
      images: float32 [B, H, W, 3] in pixel units.
    """
    probabilities = sum(jax.nn.softmax(classifier(images)) for classifier in classifiers)
    return jnp.argmax(probabilities, axis=-1).astype(jnp.int32)


def attack_labels(
    classifiers: Sequence[LogitsFn], images: jax.Array, labels: jax.Array
) -> jax.Array:
    """The classes that an attack on classifiers leads away from.

    Args:
      classifiers: the targets, all with the data set's classes or all with their own.
      images: the originals, float32 [B, H, W, 3] in pixel units.
      labels: int32 [B], the true classes.

    Returns:
      int32 [B]: the true classes; for published classifiers without heads, which have other
      classes than the data set, what they read on the originals.
    """
    published = [own_preprocessing(getattr(each, "module", None)) for each in classifiers]
    return mean_reading(classifiers, images) if any(published) else labels


@flax.struct.dataclass
class FrozenClassifier:
    """A classifier in evaluation mode: its running statistics are read, never updated.

    A pytree, so that its weights are arguments of jitted functions rather than constants.

    Attributes:
      module: `module.apply(variables, images, train=False)` gives logits.
      variables: its `params` and `batch_stats`.
    """

    module: nn.Module = flax.struct.field(pytree_node=False)
    variables: Any

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps float32 images [B, H, W, 3] in pixel units to logits [B, K].

        Images of any size: small ones, such as tiles at an edge, are continued by reflection, and
        for published weights enlarged first.
        """
        images = network_input(images, preprocessing_of(self.module))
        # Flax declares a tuple as well, which `apply` returns with `mutable` only.
        return self.module.apply(self.variables, images, train=False)  # type: ignore[return-value]
