"""JPEG with 4:2:0 chroma as libjpeg writes and reads it, differentiable.

The forward pass computes in whole numbers and rounds wherever the codec does, so that its output is
that of a saved and reopened file: every sample equals that of Pillow, whose libjpeg-turbo has
the same integer transforms. Backward, every rounding counts as the identity (straight-through), and
everything else is linear. Entropy coding is lossless and is left out.

Forward, every operation is exact, so that all machines agree on every bit: integers in int32, and
sums of float32 that are whole multiples of one unit and below 2^24 times it. `exact.jpeg` relies on
it.

Sources: ITU-T T.81 (tables of annex K, transform), and for what T.81 leaves open libjpeg's
jcparam.c (quality), jccolor.c and jdcolor.c (colours), jfdctint.c and jidctint.c (transforms),
jcsample.c (chroma means) and jdsample.c ("fancy" upsampling).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.image.inputs import as_images
from raeg_jax.image.quantise import clip_ste, quantise, straight_through

# fmt: off
_LUMA_TABLE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
])
_CHROMA_TABLE = np.array([
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
])
# fmt: on

# Weights of R, G, B in Y, Cb, Cr, libjpeg's multiples of 2^-16; chroma is centred on 128.
_TO_YCC = np.array([[19595, 38470, 7471], [-11058, -21710, 32768], [32768, -27439, -5329]])
# Weights of Cr in R, of Cb and Cr in G, and of Cb in B, in 2^-16.
_RED, _GREEN, _BLUE = 91881, (-22554, -46802), 116130
_PARTS = 2**16


# The 8-point DCT, [frequency, sample], sqrt(8) times orthonormal, in 2^-13 (`_DIGITS`). Sums of
# libjpeg's rounded constants; hence not everywhere the nearest whole number.
_LEFT = np.array(
    [
        [8192, 8192, 8192, 8192],
        [11363, 9633, 6437, 2260],
        [10703, 4433, -4433, -10703],
        [9633, -2259, -11362, -6436],
        [8192, -8192, -8192, 8192],
        [6437, -11362, 2261, 9633],
        [4433, -10704, 10704, -4433],
        [2260, -6436, 9633, -11363],
    ]
)
_COSINES = np.concatenate([_LEFT, np.resize([[1], [-1]], (8, 1)) * _LEFT[:, ::-1]], axis=1)
# Binary digits of `_COSINES` after the point, and of the result of the first of two passes.
_DIGITS, _PASS_DIGITS = 13, 2
_EXACT = jax.lax.Precision.HIGHEST


def jpeg(x: jax.Array, quality: jax.Array | int) -> jax.Array:
    """Compresses and decompresses images.

    Args:
      x: float32 [B, H, W, 3], RGB in pixel units; rounded and clipped first, as a file would be.
        Any H and W.
      quality: libjpeg's 1 to 100, rounded and clipped to it; a scalar, or one for each image [B];
        may be traced.

    Returns:
      float32 [B, H, W, 3]: integers in 0..255, with straight-through gradients.

    Raises:
      ValueError: x does not have three channels, or see `as_images`.
    """
    if x.ndim != 4 or x.shape[-1] != 3:
        raise ValueError(f"jpeg needs RGB images [B, H, W, 3], got {x.shape}")
    (x,) = as_images(x)
    return encode_and_decode(x, quality)


def encode_and_decode(x: jax.Array, quality: jax.Array | int) -> jax.Array:
    """`jpeg` without its checks, which would refuse an image that is black but for a value of 1."""
    B, H, W, _ = x.shape
    quality = jnp.broadcast_to(quality, B)
    luma, blue, red = _rgb_to_ycc(quantise(x))
    luma = _code_plane(luma, quantisation_table(_LUMA_TABLE, quality))
    chroma = _downsample(jnp.concatenate([blue, red]))
    table = quantisation_table(_CHROMA_TABLE, jnp.concatenate([quality, quality]))
    chroma = _code_plane(chroma, table)
    chroma = _upsample(chroma[:, :, : (W + 1) // 2])
    blue, red = jnp.split(chroma[:, :H, :W], [B])
    return _ycc_to_rgb(luma, blue - 128.0, red - 128.0)


def quantisation_table(base: np.ndarray, quality: jax.Array | int) -> jax.Array:
    """Scales a table of annex K as libjpeg does, in integers (jpeg_quality_scaling).

    Args:
      base: int [64], the table of quality 50.
      quality: 1 to 100, of any shape; may be traced.

    Returns:
      float32 [..., 64], integers in 1..255.
    """
    quality = jnp.clip(jnp.round(quality), 1, 100).astype(jnp.int32)[..., None]
    percent = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return jnp.clip((base * percent + 50) // 100, 1, 255).astype(jnp.float32)


def _rgb_to_ycc(rgb):
    # Whole multiples of 2^-16 below 2^8, as in `_ycc_to_rgb`: float32 holds every sum.
    weights = np.float32(_TO_YCC / _PARTS)
    ycc = jnp.einsum("bhwc,dc->dbhw", rgb, weights, precision=_EXACT)
    # Chroma ties go down in jccolor.c, so that pure blue and red stay below 256. They are common:
    # every odd difference of blue to an equal red and green is one.
    centre = np.array([0.0, 128.0 - 1 / _PARTS, 128.0 - 1 / _PARTS], np.float32)
    return _round_up(ycc + centre[:, None, None, None])


def _ycc_to_rgb(luma, blue, red):
    # Each product is rounded on its own, as in jdcolor.c's tables.
    return clip_ste(
        jnp.stack(
            [
                luma + _round_up(_RED / _PARTS * red),
                luma + _round_up(_GREEN[0] / _PARTS * blue + _GREEN[1] / _PARTS * red),
                luma + _round_up(_BLUE / _PARTS * blue),
            ],
            axis=-1,
        )
    )


def _code_plane(plane, table):
    """Transform, quantisation and their inverse on planes [N, H, W] with tables [N, 64]."""
    N, H, W = plane.shape
    padded = jnp.pad(plane, ((0, 0), (0, -H % 8), (0, -W % 8)), mode="edge")
    rows, columns = padded.shape[1] // 8, padded.shape[2] // 8
    blocks = padded.reshape(N, rows, 8, columns, 8).swapaxes(2, 3).reshape(N, -1, 8, 8)
    table = table.reshape(-1, 1, 8, 8)
    blocks = _inverse_dct(_quantise(_dct(blocks - 128.0), table) * table)
    padded = clip_ste(blocks + 128.0).reshape(N, rows, columns, 8, 8).swapaxes(2, 3)
    return padded.reshape(N, rows * 8, columns * 8)[:, :H, :W]


# Both directions compute as libjpeg's default integer transforms do (jfdctint.c, jidctint.c).
# Otherwise coefficients at a tie, common with small integers, fall differently and move blocks.


def _dct(blocks):
    """Whole eighths of coefficients."""
    half_way = _pass("vj,...ij->...iv", _DIGITS - _PASS_DIGITS, blocks)
    return _pass("ui,...iv->...uv", _DIGITS + _PASS_DIGITS, half_way)


@jax.custom_jvp
def _quantise(eighths, table):
    # Ties go away from zero. Integers, as compilers may replace a division of floats by a
    # multiplication with 1 / table, which moves ties.
    number, step = eighths.astype(jnp.int32), 8 * table.astype(jnp.int32)
    whole = jnp.sign(number) * jax.lax.div(
        jnp.abs(number) + step // 2, jnp.broadcast_to(step, number.shape)
    )
    return whole.astype(jnp.float32)


@_quantise.defjvp
def _quantise_jvp(primals, tangents):
    return _quantise(*primals), tangents[0] / (8 * primals[1])


def _inverse_dct(coefficients):
    half_way = _pass("ui,...uv->...iv", _DIGITS - _PASS_DIGITS, coefficients)
    return _pass("vj,...iv->...ij", _DIGITS + _PASS_DIGITS + 3, half_way)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _pass(subscripts, bits, x):
    """Multiplies whole numbers by `_COSINES`, and divides by 2^bits; ties go up."""
    # float32 holds the sums of each half of the matrix's digits, and int32 that of both.
    high, low = (
        _product(subscripts, digits, x).astype(jnp.int32) for digits in np.divmod(_COSINES, 128)
    )
    return ((high * 128 + low + 2 ** (bits - 1)) >> bits).astype(jnp.float32)


@_pass.defjvp
def _pass_jvp(subscripts, bits, primals, tangents):
    tangent = _product(subscripts, _COSINES / 2**bits, *tangents)
    return _pass(subscripts, bits, *primals), tangent


def _product(subscripts, matrix, x):
    return jnp.einsum(subscripts, np.float32(matrix), x, precision=_EXACT)


def _downsample(plane):
    """Means of 2 x 2 pixels, [N, H, W] to [N, ceil(H/2), ceil(W/2) up to a multiple of 8].

    Columns are padded before taking means and rows after (in `_code_plane`), as libjpeg
    does. Its rounding alternates between columns so that it is right on average.
    """
    N, H, W = plane.shape
    padded = jnp.pad(plane, ((0, 0), (0, H % 2), (0, -W % 16)), mode="edge")
    quads = padded.reshape(N, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2)
    mean = quads.mean((2, 4))
    bias = np.resize(np.array([0.25, 0.5], np.float32), mean.shape[-1])
    return straight_through(jnp.floor(mean + bias), mean)


def _upsample(plane):
    """Twice the size by triangle weights, 3/4 of the nearer and 1/4 of the farther neighbour."""
    N, H, W = plane.shape
    above = jnp.concatenate([plane[:, :1], plane[:, :-1]], 1)
    below = jnp.concatenate([plane[:, 1:], plane[:, -1:]], 1)
    tall = jnp.stack([3 * plane + above, 3 * plane + below], 2).reshape(N, 2 * H, W)
    left = jnp.concatenate([tall[:, :, :1], tall[:, :, :-1]], 2)
    right = jnp.concatenate([tall[:, :, 1:], tall[:, :, -1:]], 2)
    large = jnp.stack([3 * tall + left, 3 * tall + right], 3).reshape(N, 2 * H, 2 * W) / 16
    # Ties go up in even columns and down in odd ones, again to be right on average.
    bias = np.resize(np.array([8 / 16, 7 / 16], np.float32), 2 * W)
    return straight_through(jnp.floor(large + bias), large)


def _round_up(x):
    return straight_through(jnp.floor(x + 0.5), x)
