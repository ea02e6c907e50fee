"""Every kind of samples becomes uint8 RGB and alpha exactly, or is refused with the way out."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from raeg_jax.errors import UserError
from raeg_jax.image_file.read import decode_image_file
from raeg_jax.image_file.samples import ORIENTATIONS, stored, swaps_axes, upright
from tests.image_file.files import encode, png_of

H, W = 10, 14
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (H, W, 3), np.uint8)
GREY = RGB[..., 0]
# All values, so that there are colours under alpha 0.
ALPHA = np.linspace(0, 255, H * W).reshape(H, W).astype(np.uint8)
RGBA, GREY_ALPHA = np.dstack([RGB, ALPHA]), np.dstack([GREY, ALPHA])
PALETTE = RNG.integers(0, 256, (256, 3), np.uint8)


def tiff(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, metadata=None, **options)
    return buffer.getvalue()


def pil_palette():
    image = Image.fromarray(GREY).copy()
    image.putpalette(PALETTE.tobytes())
    return image


def palette_tiff_with_alpha():
    image = Image.frombytes("PA", (W, H), GREY_ALPHA.tobytes())
    image.putpalette(PALETTE.tobytes())
    return encode("TIFF", image), PALETTE[GREY], ALPHA


def shallow(depth):
    return RNG.integers(0, 2**depth, (H, W), np.uint8)


def grey_png(depth):
    samples = shallow(depth)
    return png_of(samples, depth, 0), samples * (255 // (2**depth - 1)), None


def keyed_grey_png(depth):
    samples = shallow(depth)
    key = samples[3, 4]
    data = png_of(samples, depth, 0, (b"tRNS", struct.pack(">H", key)))
    return data, samples * (255 // (2**depth - 1)), np.where(samples == key, 0, 255)


def palette_png(depth, alphas=None):
    indices = shallow(depth)
    palette = PALETTE[: 2**depth]
    chunks = [(b"PLTE", palette.tobytes())]
    alpha = None
    if alphas is not None:
        # Those after the last that is given are opaque.
        chunks.append((b"tRNS", bytes(alphas)))
        alpha = np.array([*alphas, *[255] * (2**depth - len(alphas))])[indices]
    return png_of(indices, depth, 3, *chunks), palette[indices], alpha


def keyed_rgb_png():
    # The high bytes of a key mean nothing with 8 bits.
    key = struct.pack(">HHH", *(RGB[2, 3] + np.array([0, 256, 512])))
    alpha = np.full((H, W), 255)
    alpha[2, 3] = 0
    # The same in one channel only is another colour.
    assert (RGB[..., 0] == RGB[2, 3, 0]).sum() > 0
    return png_of(RGB, 8, 2, (b"tRNS", key)), RGB, alpha


def keyed_gif(image, values):
    key = int(GREY[5, 5])
    data = encode("GIF", image, transparency=key, optimize=False)
    return data, values, np.where(key == GREY, 0, 255)


def palette_tiff(scale):
    # tifffile's own colour maps have 16 bits.
    colours = PALETTE.T.astype(np.uint16) * scale
    return tiff(GREY, photometric="palette", colormap=colours), PALETTE[GREY], None


KINDS = {
    **{f"grey png, {bits} bits": grey_png(bits) for bits in (1, 2, 4, 8)},
    **{f"keyed png, {bits} bits": keyed_grey_png(bits) for bits in (1, 2, 4, 8)},
    **{f"palette png, {bits} bits": palette_png(bits) for bits in (1, 2, 4, 8)},
    "palette png with one clear colour": palette_png(4, [255, 255, 0]),
    "palette png with alpha": palette_png(2, [0, 128, 255, 7]),
    "rgb png": (encode(), RGB, None),
    "keyed rgb png": keyed_rgb_png(),
    "rgba png": (encode("PNG", RGBA), RGB, ALPHA),
    "grey png with alpha": (encode("PNG", GREY_ALPHA), GREY, ALPHA),
    "palette gif": keyed_gif(pil_palette(), PALETTE[GREY]),
    "grey gif": keyed_gif(GREY, GREY),
    "rgb bmp": (encode("BMP", RGB), RGB, None),
    "palette bmp": (encode("BMP", pil_palette()), PALETTE[GREY], None),
    "rgb ppm": (encode("PPM", RGB), RGB, None),
    "grey pgm": (encode("PPM", GREY), GREY, None),
    "bitmap pbm": (encode("PPM", GREY > 99), 255 * (GREY > 99), None),
    "plain ppm": (b"P3 14 10 255\n" + b" ".join(b"%d" % value for value in RGB.ravel()), RGB, None),
    "lossless webp": (encode("WEBP", RGB, lossless=True), RGB, None),
    "lossless webp with alpha": (encode("WEBP", RGBA, lossless=True, exact=True), RGB, ALPHA),
    "rgb tiff": (tiff(RGB), RGB, None),
    "big-endian tiff": (tiff(RGB, byteorder=">"), RGB, None),
    "bigtiff": (tiff(RGB, bigtiff=True), RGB, None),
    "planar tiff": (
        tiff(np.moveaxis(RGB, -1, 0), planarconfig="separate", photometric="rgb"),
        RGB,
        None,
    ),
    "compressed tiff": (tiff(RGB, compression="zlib", predictor=True), RGB, None),
    "rgba tiff": (tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"]), RGB, ALPHA),
    "grey tiff": (tiff(GREY), GREY, None),
    "grey tiff, white is zero": (tiff(GREY, photometric="miniswhite"), 255 - GREY, None),
    "grey tiff with alpha": (encode("TIFF", GREY_ALPHA), GREY, ALPHA),
    "bitmap tiff": (encode("TIFF", GREY > 99), 255 * (GREY > 99), None),
    "palette tiff with alpha": palette_tiff_with_alpha(),
    "palette tiff": palette_tiff(257),
    "palette tiff, other scale": palette_tiff(256),
}


@pytest.mark.parametrize("kind", KINDS)
def test_samples_become_rgb_exactly(kind):
    data, values, alpha = KINDS[kind]
    image = decode_image_file(data, kind)
    grey = values.ndim == 2
    assert image.mode == ("grey" if grey else "rgb")
    assert image.pixels.dtype == np.uint8
    expected = np.repeat(values[..., None], 3, -1) if grey else values
    np.testing.assert_array_equal(image.pixels, expected)
    if alpha is None:
        assert image.alpha is None
    else:
        assert image.alpha.dtype == np.uint8
        np.testing.assert_array_equal(image.alpha, alpha)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 90}), ("WEBP", {})])
@pytest.mark.parametrize("values", [RGB, GREY], ids=["colour", "grey"])
def test_lossy_files_are_taken_as_their_decoder_gives_them(kind, options, values):
    data = encode(kind, values, **options)
    image = decode_image_file(data, "photo")
    assert image.format == kind
    # WebP knows no grey.
    assert image.mode == ("grey" if values.ndim == 2 and kind == "JPEG" else "rgb")
    with Image.open(io.BytesIO(data)) as decoded:
        np.testing.assert_array_equal(image.pixels, np.asarray(decoded.convert("RGB")))


def converted(mode, kind, **options):
    return encode(kind, Image.fromarray(RGB).convert(mode), **options)


def several(kind, **options):
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    return encode(kind, frames[0], save_all=True, append_images=frames[1:], **options)


def deep(samples):
    return samples.astype(np.uint16) * 257


DEEP = "has more than 8 bits a sample: convert it to 8 bits first"
TO_RGB = ".* convert it to RGB first"
FRAMES = "has 2 frames or pages: save each as a file"
REFUSED = {
    "16-bit grey png": (png_of(deep(GREY), 16, 0), DEEP),
    "16-bit rgb png": (png_of(deep(RGB), 16, 2), DEEP),
    "16-bit rgba png": (png_of(deep(RGBA), 16, 6), DEEP),
    "16-bit grey tiff": (tiff(deep(GREY)), DEEP),
    "16-bit rgb tiff": (tiff(deep(RGB)), DEEP),
    "32-bit tiff": (tiff(GREY.astype(np.uint32)), DEEP),
    "16-bit pgm": (b"P5 1 1 65535 ab", DEEP),
    "16-bit ppm": (b"P6 1 1 1023 abcdef", DEEP),
    "plain 16-bit ppm": (b"P3 1 1 1023 1 2 3", DEEP),
    "float tiff": (tiff(GREY.astype(np.float32)), DEEP),
    "float pfm": (encode("PPM", Image.fromarray(GREY.astype(np.float32))), "floating"),
    "signed tiff": (tiff(GREY.astype(np.int8)), "has signed or floating-point samples"),
    "cmyk jpeg": (converted("CMYK", "JPEG"), f"is CMYK, {TO_RGB}"),
    "cmyk tiff": (converted("CMYK", "TIFF"), f"is CMYK, {TO_RGB}"),
    "ycbcr tiff": (converted("YCbCr", "TIFF"), f"is YCbCr, {TO_RGB}"),
    "compressed ycbcr tiff": (
        converted("YCbCr", "TIFF", compression="tiff_lzw"),
        f"is YCbCr, {TO_RGB}",
    ),
    "lab tiff": (
        encode("TIFF", Image.frombytes("LAB", (W, H), RGB.tobytes())),
        f"is LAB, {TO_RGB}",
    ),
    "premultiplied tiff": (
        tiff(RGBA, photometric="rgb", extrasamples=["assocalpha"]),
        "colours multiplied by their alpha: save it with straight alpha first",
    ),
    "complex tiff": (tiff(GREY.astype(np.complex64)), "or convert it to PNG first"),
    "tiff with a spare channel": (
        tiff(RGBA, photometric="rgb", extrasamples=["unspecified"]),
        "channels beside colour and alpha: save it as RGB or RGBA first",
    ),
    "16-bit palette": (
        palette_tiff(RNG.integers(1, 255, (3, 256), np.uint16))[0],
        "palette of 16-bit colours: convert it to 8 bits first",
    ),
    "png without palette": (png_of(shallow(4), 4, 3), "its palette is missing: copy it again"),
    "animated gif": (several("GIF"), FRAMES),
    "animated png": (several("PNG"), FRAMES),
    "animated webp": (several("WEBP"), FRAMES),
    "tiff of two pages": (several("TIFF"), FRAMES),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_lose_something_is_refused(kind):
    data, message = REFUSED[kind]
    with pytest.raises(UserError, match=f"^folder/{kind} .*{message}"):
        decode_image_file(data, f"folder/{kind}")


RASTER = np.random.default_rng(0).integers(0, 256, (4, 7, 3), np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_as_pillow_does(orientation):
    image = Image.fromarray(RASTER)
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(upright(RASTER, orientation), expected)
    assert swaps_axes(orientation) == (expected.shape != RASTER.shape)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("raster", [RASTER, RASTER[..., 0]], ids=["colour", "plane"])
def test_turning_back_is_the_inverse(orientation, raster):
    image = upright(raster, orientation)
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(stored(image, orientation), raster)
