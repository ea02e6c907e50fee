"""The registry of distortions: what a pirate may do to a protected image before using it.

`DISTORTIONS` says each distortion once. It serves

- the attack layer of training (`adversarial.attack_layer`), which draws the strength at random;
- the views of gradient stages (`generator.build.parse_view`), written as `jpeg:50`;
- the defences of the evaluation (`DEFENCES`), by names such as `jpeg_50`.

A new distortion is one entry here, and its probability and strength in configs/base.py.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.exact import views
from raeg_jax.exact.jpeg import jpeg as fixed_jpeg
from raeg_jax.image.filters import bit_depth, gaussian_blur, grey, median_blur, sharpen
from raeg_jax.image.jpeg import jpeg
from raeg_jax.image.quantise import to_uint8
from raeg_jax.image.resize import crop_resize, rescale

# uint8 [B, H, W, 3] -> the same shape, deterministic and without access to the original.
Defence = Callable[[jax.Array], jax.Array]


class Distortion(NamedTuple):
    """A differentiable distortion of images and the strengths that it may have.

    Attributes:
      apply: (images, strength, largest) -> images: float32 [B, H, W, 3] in pixel units, not
        rounded. The strength may be traced, the largest one that it can be is static. With
        `random_keys`, a list of that many keys and each image's index in the global batch, int32
        [B], follow.
      setting: the strength's name in `config.attack_layer`: a range where there are limits, else
        the strength itself. None for a distortion without strength.
      limits: least and greatest strength; strengths are whole numbers where these are.
      random_keys: number of keys that it draws from, beside its strength.
      defences: name of a defence -> its strength.
      fixed: (images, strength) -> images, in fixed point: for views, which have no keys.
    """

    apply: Callable[..., jax.Array]
    setting: str | None = None
    limits: tuple[float, float] | None = None
    random_keys: int = 0
    defences: Mapping[str, float] = {}
    fixed: Callable[..., jax.Array] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether strengths are whole numbers."""
        return self.limits is not None and isinstance(self.limits[0], int)


def _noise(images, deviation, largest, keys, index):
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(keys[0], index)
    return images + deviation * jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(keys)


def _crop(images, share, largest, keys, index):
    rows, columns = images.shape[1:3]
    height, width = (
        jnp.clip(jnp.round(size * share), 1, size).astype(jnp.int32) for size in (rows, columns)
    )
    top, left = (
        jax.random.randint(key, (), 0, size - side + 1)
        for key, size, side in zip(keys, (rows, columns), (height, width), strict=True)
    )
    return crop_resize(images, top, left, height, width)


DISTORTIONS: dict[str, Distortion] = {
    "identity": Distortion(lambda x, *_: x, defences={"none": 0}, fixed=lambda x, _: x),
    "jpeg": Distortion(
        lambda x, quality, _: jpeg(x, quality), "jpeg_quality", (1, 100),
        defences={f"jpeg_{quality}": quality for quality in (90, 70, 50, 30, 10)},
        fixed=fixed_jpeg,
    ),
    "grey": Distortion(
        lambda x, *_: grey(x), defences={"grey": 0}, fixed=lambda x, _: views.grey(x)
    ),
    "gaussian_blur": Distortion(
        gaussian_blur, "blur_sigma", (0.0, 100.0), defences={"blur_1": 1.0},
        fixed=views.gaussian_blur,
    ),
    "median_blur": Distortion(
        lambda x, size, _: median_blur(x, size), "median_size", defences={"median_3": 3}
    ),
    "bit_depth": Distortion(
        lambda x, bits, _: bit_depth(x, bits), "bits", (1, 8),
        defences={"bits_5": 5, "bits_4": 4, "bits_3": 3},
        fixed=views.bit_depth,
    ),
    "rescale": Distortion(
        lambda x, factor, _: rescale(x, factor), "rescale_factor", (0.01, 1.0),
        defences={"rescale_half": 0.5},
        fixed=views.rescale,
    ),
    "sharpen": Distortion(
        lambda x, amount, _: sharpen(x, amount), "sharpen_amount", (0.0, 10.0),
        defences={"sharpen": 1.0},
    ),
    "gaussian_noise": Distortion(_noise, "noise_std", (0.0, 255.0), random_keys=1),
    "crop_resize": Distortion(_crop, "crop_share", (0.01, 1.0), random_keys=2),
}  # fmt: skip


def view(images: jax.Array, name: str, strength: float) -> jax.Array:
    """Distorts images with a fixed strength.

    Args:
      images: float32 [B, H, W, 3] in pixel units.
      name: key of `DISTORTIONS`, of one without random keys.
      strength: within its limits.
    """
    return DISTORTIONS[name].apply(images, strength, strength)


def fixed_view(images: jax.Array, name: str, strength: float) -> jax.Array:
    """As `view`, in fixed point.

    Args:
      images: float32 [B, H, W, 3], multiples of 1/16 within 0..255, as the result is.
      name: as of `view`.
      strength: as of `view`.
    """
    fixed = DISTORTIONS[name].fixed
    if fixed is None:
        raise ValueError(f"{name} is no view")
    return fixed(images, strength)


@functools.partial(jax.jit, static_argnames=("name", "strength"))
def _defend(images: jax.Array, name: str, strength: float) -> jax.Array:
    """A distortion of uint8 images with a fixed strength, compiled."""
    return to_uint8(view(images.astype(jnp.float32), name, strength))


def _denoise(images: jax.Array) -> jax.Array:
    """Hides fine perturbations in noise, which non-local means remove (Buades et al., CVPR 2005).

    The noise, Gaussian with a deviation of 8 pixel units, is the same for all images of a size.
    """
    # Slow to import, and only the evaluation needs it.
    from skimage import restoration

    deviation, pixels = 8.0, np.asarray(images, np.float32)
    noise = np.random.RandomState(0).normal(0, deviation, pixels.shape[1:])
    denoised = [
        restoration.denoise_nl_means(
            image + noise, patch_size=5, patch_distance=6, h=0.8 * deviation, sigma=deviation,
            channel_axis=-1,
        )
        for image in pixels
    ]  # fmt: skip
    return to_uint8(jnp.stack(denoised))


@jax.jit
def _crop_middle(images: jax.Array) -> jax.Array:
    """The middle of each image, three quarters of each side, enlarged to its size."""
    (height, width), (rows, columns) = images.shape[1:3], (n * 3 // 4 for n in images.shape[1:3])
    top, left = (height - rows) // 2, (width - columns) // 2
    return to_uint8(crop_resize(images.astype(jnp.float32), top, left, rows, columns))


DEFENCES: dict[str, Defence] = {
    defence: functools.partial(_defend, name=name, strength=strength)
    for name, distortion in DISTORTIONS.items()
    for defence, strength in distortion.defences.items()
} | {"crop": _crop_middle, "noise_nl_means": _denoise}


def defend(images: jax.Array, names: str) -> jax.Array:
    """Applies one defence, or several one after the other.

    Args:
      images: uint8 [B, H, W, 3].
      names: of `DEFENCES`, the first one first, with '+' between, such as 'grey+jpeg_50'.

    Returns:
      uint8 [B, H, W, 3].
    """
    for name in names.split("+"):
        images = DEFENCES[name](images)
    return images
