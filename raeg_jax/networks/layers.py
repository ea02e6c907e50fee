"""Layers that several classifiers share: input scaling, batch norm, pooling and stems.

Layers that `exact.fixed_classifier` replaces are modules, even without parameters.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from raeg_jax.image.resize import crop_resize
from raeg_jax.networks.convolution import conv_general_dilated
from raeg_jax.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

# The deep networks halve the image five times.
MIN_SIDE = 32

# He initialisation by fan-out, as in torchvision's ResNet and VGG.
conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
Conv = functools.partial(nn.Conv, kernel_init=conv_init, conv_general_dilated=conv_general_dilated)


def at_least(images: jax.Array, side: int) -> jax.Array:
    """Continues images that are too small by reflection, to the right and downwards.

    Args:
      images: `[B, H, W, C]`.
      side: least height and width of the result, in pixels.

    Returns:
      `[B, max(H, side), max(W, side), C]`.
    """
    rows, columns = (max(0, side - length) for length in images.shape[1:3])
    if not rows and not columns:
        return images
    return jnp.pad(images, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="symmetric")


def enlarge(images: jax.Array, side: int) -> jax.Array:
    """Repeats pixels a whole number of times, so that small images come near the size of a network.

    Args:
      images: `[B, H, W, C]`.
      side: to come nearest to, of the shorter side, in pixels; images are not reduced.

    Returns:
      `[B, n H, n W, C]`.
    """
    B, H, W, C = images.shape
    n = max(1, round(side / min(H, W)))
    if n == 1:
        return images
    repeated = jnp.broadcast_to(images[:, :, None, :, None], (B, H, n, W, n, C))
    return repeated.reshape(B, n * H, n * W, C)


def interpolated_shape(
    images: jax.Array, preprocessing: Preprocessing | None
) -> tuple[int, int] | None:
    """Height and width to which a network's images [B, H, W, C] are enlarged by interpolation.

    Their shorter side gets the length of the crop. None where they are large enough, or where the
    network sees pixels repeated or images at their own size.
    """
    height, width = images.shape[1:3]
    short = min(height, width)
    if preprocessing is None or not preprocessing.interpolates or short >= preprocessing.crop:
        return None
    side = preprocessing.crop
    return round(height * side / short), round(width * side / short)


def network_input(images: jax.Array, preprocessing: Preprocessing | None) -> jax.Array:
    """Images or tiles of any size as a network takes them: never smaller than `MIN_SIDE`.

    Args:
      images: `[B, H, W, 3]`.
      preprocessing: of published weights, whose images are enlarged to their crop or toward it;
        None for classifiers of a run, which see images at their own size.
    """
    if shape := interpolated_shape(images, preprocessing):
        height, width = images.shape[1:3]
        images = crop_resize(images, 0, 0, height, width, shape)
    elif preprocessing is not None:
        images = enlarge(images, preprocessing.crop)
    return at_least(images, MIN_SIDE)


def preprocessing_of(module: nn.Module | None) -> Preprocessing | None:
    """Of a network with published weights; None for a classifier of a run."""
    return getattr(module, "preprocessing", None)


def own_preprocessing(module: nn.Module | None) -> Preprocessing | None:
    """Of a network as it was published, which sees photographs and has classes of its own.

    None for networks that read a run's images and classes, also for published ones with a head.
    """
    preprocessing = preprocessing_of(module)
    return None if preprocessing is None or preprocessing.of_run else preprocessing


def variable_shapes(module: nn.Module, **options: Any) -> Any:
    """Shapes of the variables of a network: a tree of `jax.ShapeDtypeStruct`, no device is started.

    Args:
      module: takes images [1, MIN_SIDE, MIN_SIDE, 3].
      **options: of its call, such as train=False.
    """
    images = jax.ShapeDtypeStruct((1, MIN_SIDE, MIN_SIDE, 3), jnp.float32)
    # The key is made inside, as making one would start the devices.
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, **options), images)


def batch_norm(train: bool, epsilon: float = 1e-5, **kwargs) -> nn.BatchNorm:
    """Batch norm whose running statistics converge within tens of steps (momentum 0.9)."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=epsilon, **kwargs)


def larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """The maximum; the gradient goes to a where they are equal."""
    return jnp.where(a >= b, a, b)


@jax.custom_jvp
def relu6(x: jax.Array) -> jax.Array:
    """min(max(x, 0), 6); the gradient is 0 at both ends."""
    return jnp.clip(x, 0, 6)


@relu6.defjvp
def _relu6_slope(x, tangents):
    # From the result: x would be kept, or computed again.
    result, (tangent,) = relu6(*x), tangents
    return result, jnp.where((result > 0) & (result < 6), tangent, 0)


def standardise(preprocessing: Preprocessing | None) -> "Standardise":
    """The first layer of a network with published weights, or with weights of its own."""
    if preprocessing is None:
        return Standardise()
    return Standardise(preprocessing.mean, preprocessing.std)


class Standardise(nn.Module):
    """Shifts and scales pixel values to about zero mean and unit deviation.

    Attributes:
      mean: of each channel, in pixel units.
      std: of each channel, in pixel units.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __call__(self, images: jax.Array) -> jax.Array:
        """Converts images.

        Args:
          images: float32 `[B, H, W, 3]` in pixel units, RGB; H and W at least 32.

        Returns:
          float32 `[B, H, W, 3]`.

        Raises:
          ValueError: another rank, another number of channels, or an image that is too small.
        """
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"a classifier takes images [B, H, W, 3], not {list(images.shape)}")
        if min(images.shape[1:3]) < MIN_SIDE:
            raise ValueError(
                f"a classifier takes images of at least {MIN_SIDE} x {MIN_SIDE} pixels, "
                f"not {images.shape[1]} x {images.shape[2]}: raise config.data.image_size"
            )
        mean, std = np.array([self.mean, self.std], np.float32)
        return (jnp.asarray(images, jnp.float32) - mean) / std


class Halve(nn.Module):
    """Reduces each 2x2 window to its maximum, or its mean; drops an odd last row or column.

    `[B, H, W, C]` -> `[B, H // 2, W // 2, C]`, by a reshape and comparisons: XLA's gradient of a
    windowed maximum is several times slower on CPU, and that of `jnp.max` searches for the sample
    that equals the result, and finds none where XLA computes x twice with different rounding. Of
    equal samples the first gets the gradient.
    """

    mean: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        B, H, W, C = x.shape
        x = x[:, : H // 2 * 2, : W // 2 * 2].reshape(B, H // 2, 2, W // 2, 2, C)
        if self.mean:
            return jnp.mean(x, axis=(2, 4))
        x = larger(x[:, :, 0], x[:, :, 1])
        return larger(x[:, :, :, 0], x[:, :, :, 1])


class MaxPool(nn.Module):
    """3x3 max pooling of stride 2: `[B, H, W, C]` -> `[B, ceil(H / 2), ceil(W / 2), C]`."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))


class MeanPool(nn.Module):
    """Averages over a size x size grid of windows that cover the map, however large it is.

    `[B, H, W, C]` -> `[B, size * size * C]`. Window i of n runs from floor(i H / n) to
    ceil((i + 1) H / n), as in torch's `AdaptiveAvgPool2d`.
    """

    size: int = 1

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.size == 1:
            return jnp.mean(x, axis=(1, 2))
        _, H, W, _ = x.shape
        pooled = jnp.einsum("ih,jw,bhwc->bijc", self._windows(H), self._windows(W), x)
        return pooled.reshape(len(x), -1)

    def _windows(self, length):
        weights = np.zeros((self.size, length), np.float32)
        for i, (start, stop) in enumerate(pool_windows(length, self.size)):
            weights[i, start:stop] = 1 / (stop - start)
        return weights


def pool_windows(length: int, count: int) -> list[tuple[int, int]]:
    """Start and end of each window of `MeanPool` along an axis."""
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def imagenet_stem(x: jax.Array, features: int, train: bool) -> jax.Array:
    """A 7x7 convolution and 3x3 max pooling, each of stride 2; call it in a compact method.

    Args:
      x: `[B, H, W, 3]`.
      features: channels of the result.
      train: whether batch norm uses and updates the statistics of this batch.

    Returns:
      `[B, ceil(H / 4), ceil(W / 4), features]`.
    """
    x = Conv(features, (7, 7), (2, 2), padding=3, use_bias=False)(x)
    x = nn.relu(batch_norm(train)(x))
    return MaxPool()(x)


def small_stem(x: jax.Array, features: int, train: bool) -> jax.Array:
    """A 3x3 convolution of stride 2 and 2x2 max pooling, for images of 32 to 96 pixels.

    Args and result as `imagenet_stem`.
    """
    x = Conv(features, (3, 3), (2, 2), padding=1, use_bias=False)(x)
    return Halve()(nn.relu(batch_norm(train)(x)))
