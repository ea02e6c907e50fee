"""What may be done to a protected image before a classifier reads it, in the hope that this helps.

A defence maps files to files: uint8 [B, H, W, 3] to uint8 [B, H, W, 3], deterministic and without
a look at the original. A new one is a line of `DEFENCES`.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from skimage import restoration

from raeg_jax.attacks.gradient import LogitsFn
from raeg_jax.evaluation import compiled
from raeg_jax.image.filters import bit_depth, blur_radius, gaussian_blur, median_blur
from raeg_jax.image.jpeg import jpeg
from raeg_jax.image.quantise import to_uint8
from raeg_jax.image.resize import rescale

Defence = Callable[[jax.Array], jax.Array]

_NOISE = 8.0


def _on_files(distort: Callable[[jax.Array], jax.Array]) -> Defence:
    """A compiled defence from a distortion of float32 [B, H, W, 3] in pixel units."""
    return jax.jit(lambda images: to_uint8(distort(images.astype(jnp.float32))))


def _jpeg(quality: int) -> Defence:
    return _on_files(lambda x: jpeg(x, quality))


def _blur(sigma: float) -> Defence:
    """Gaussian blur; sigma in pixels."""
    return _on_files(lambda x: gaussian_blur(x, sigma, blur_radius(sigma)))


def _bits(count: int) -> Defence:
    return _on_files(lambda x: bit_depth(x, count))


def _denoise(images: jax.Array) -> jax.Array:
    """Noise over fine perturbations, then non-local means (Buades et al., CVPR 2005) against it.

    The noise, Gaussian with a deviation of `_NOISE` pixel units, is the same for all images of a
    size.
    """
    images = np.asarray(images, np.float32)
    noise = np.random.RandomState(0).normal(0, _NOISE, images.shape[1:])
    cleaned = [
        restoration.denoise_nl_means(
            image + noise, patch_size=5, patch_distance=6, h=0.8 * _NOISE, sigma=_NOISE,
            channel_axis=-1,
        )
        for image in images
    ]  # fmt: skip
    return to_uint8(jnp.stack(cleaned))


DEFENCES: dict[str, Defence] = {
    "none": _on_files(lambda x: x),
    "jpeg_90": _jpeg(90),
    "jpeg_70": _jpeg(70),
    "jpeg_50": _jpeg(50),
    "jpeg_30": _jpeg(30),
    "blur_1": _blur(1.0),
    "median_3": _on_files(median_blur),
    "bits_5": _bits(5),
    "bits_4": _bits(4),
    "bits_3": _bits(3),
    "rescale_half": _on_files(lambda x: rescale(x, 0.5)),
    "noise_nl_means": _denoise,
}


def read_defended(
    logits_fns: Mapping[str, LogitsFn],
    images: jax.Array,
    defences: Mapping[str, Defence] = DEFENCES,
) -> dict[str, dict[str, jax.Array]]:
    """Classifies images after each defence.

    Args:
      logits_fns: pytrees (see `networks.frozen.as_pytree`), classifiers in evaluation mode by name.
      images: uint8 [B, H, W, 3].
      defences: by name.

    Returns:
      Class numbers, int32 [B], by defence and then by classifier.
    """
    return {name: compiled.read(logits_fns, defend(images)) for name, defend in defences.items()}
