"""Every kind of samples becomes uint8 RGB and alpha exactly, or is refused with the way out."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from raeg_jax.codec.picture import decode_picture
from raeg_jax.errors import UserError

H, W = 10, 14
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (H, W, 3), np.uint8)
GREY = RGB[..., 0]
# All values, so that there are colours under alpha 0.
ALPHA = np.linspace(0, 255, H * W).reshape(H, W).astype(np.uint8)
PALETTE = RNG.integers(0, 256, (256, 3), np.uint8)


def encode(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(samples, depth, colour, *chunks):
    """A PNG by hand, of samples [H, W] or [H, W, C] below 2**depth: Pillow can't write them all."""
    flat = samples.reshape(len(samples), -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        bits = np.unpackbits(flat[..., None].astype(np.uint8), axis=-1)[..., 8 - depth :]
        rows = [np.packbits(row).tobytes() for row in bits.reshape(len(flat), -1)]
    header = struct.pack(">IIBBBBB", samples.shape[1], len(samples), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    result = b"\x89PNG\r\n\x1a\n"
    for kind, content in [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        result += struct.pack(">I", len(content)) + kind + content + checksum
    return result


def tiff(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, metadata=None, **options)
    return buffer.getvalue()


def pil_palette():
    image = Image.fromarray(GREY).copy()
    image.putpalette(PALETTE.tobytes())
    return image


def palette_tiff_with_alpha():
    image = Image.frombytes("PA", (W, H), np.dstack([GREY, ALPHA]).tobytes())
    image.putpalette(PALETTE.tobytes())
    return encode(image, "TIFF"), PALETTE[GREY], ALPHA


def shallow(depth):
    return RNG.integers(0, 2**depth, (H, W), np.uint8)


def grey_png(depth):
    samples = shallow(depth)
    return png(samples, depth, 0), samples * (255 // (2**depth - 1)), None


def keyed_grey_png(depth):
    samples = shallow(depth)
    key = samples[3, 4]
    data = png(samples, depth, 0, (b"tRNS", struct.pack(">H", key)))
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
    return png(indices, depth, 3, *chunks), palette[indices], alpha


def keyed_rgb_png():
    # The high bytes of a key mean nothing with 8 bits.
    key = struct.pack(">HHH", *(RGB[2, 3] + np.array([0, 256, 512])))
    alpha = np.full((H, W), 255)
    alpha[2, 3] = 0
    # The same in one channel only is another colour.
    assert (RGB[..., 0] == RGB[2, 3, 0]).sum() > 0
    return png(RGB, 8, 2, (b"tRNS", key)), RGB, alpha


def palette_gif():
    image = pil_palette()
    key = int(GREY[5, 5])
    data = encode(image, "GIF", transparency=key, optimize=False)
    return data, PALETTE[GREY], np.where(key == GREY, 0, 255)


def grey_gif():
    key = int(GREY[5, 5])
    data = encode(GREY, "GIF", transparency=key, optimize=False)
    return data, GREY, np.where(key == GREY, 0, 255)


def palette_tiff(scale):
    # tifffile's own colour maps have 16 bits.
    colours = PALETTE.T.astype(np.uint16) * scale
    return tiff(GREY, photometric="palette", colormap=colours), PALETTE[GREY], None


KINDS = {
    **{f"grey png, {bits} bits": lambda bits=bits: grey_png(bits) for bits in (1, 2, 4, 8)},
    **{f"keyed png, {bits} bits": lambda bits=bits: keyed_grey_png(bits) for bits in (1, 2, 4, 8)},
    **{f"palette png, {bits} bits": lambda bits=bits: palette_png(bits) for bits in (1, 2, 4, 8)},
    "palette png with one clear colour": lambda: palette_png(4, [255, 255, 0]),
    "palette png with alpha": lambda: palette_png(2, [0, 128, 255, 7]),
    "rgb png": lambda: (encode(RGB), RGB, None),
    "keyed rgb png": keyed_rgb_png,
    "rgba png": lambda: (encode(np.dstack([RGB, ALPHA])), RGB, ALPHA),
    "grey png with alpha": lambda: (encode(np.dstack([GREY, ALPHA])), GREY, ALPHA),
    "palette gif": palette_gif,
    "grey gif": grey_gif,
    "rgb bmp": lambda: (encode(RGB, "BMP"), RGB, None),
    "palette bmp": lambda: (encode(pil_palette(), "BMP"), PALETTE[GREY], None),
    "rgb ppm": lambda: (encode(RGB, "PPM"), RGB, None),
    "grey pgm": lambda: (encode(GREY, "PPM"), GREY, None),
    "bitmap pbm": lambda: (encode(GREY > 99, "PPM"), 255 * (GREY > 99), None),
    "plain ppm": lambda: (
        b"P3 14 10 255\n" + b" ".join(b"%d" % value for value in RGB.ravel()),
        RGB,
        None,
    ),
    "lossless webp": lambda: (encode(RGB, "WEBP", lossless=True), RGB, None),
    "lossless webp with alpha": lambda: (
        encode(np.dstack([RGB, ALPHA]), "WEBP", lossless=True, exact=True),
        RGB,
        ALPHA,
    ),
    "rgb tiff": lambda: (tiff(RGB), RGB, None),
    "big-endian tiff": lambda: (tiff(RGB, byteorder=">"), RGB, None),
    "bigtiff": lambda: (tiff(RGB, bigtiff=True), RGB, None),
    "planar tiff": lambda: (
        tiff(np.moveaxis(RGB, -1, 0), planarconfig="separate", photometric="rgb"),
        RGB,
        None,
    ),
    "compressed tiff": lambda: (tiff(RGB, compression="zlib", predictor=True), RGB, None),
    "rgba tiff": lambda: (
        tiff(np.dstack([RGB, ALPHA]), photometric="rgb", extrasamples=["unassalpha"]),
        RGB,
        ALPHA,
    ),
    "grey tiff": lambda: (tiff(GREY), GREY, None),
    "grey tiff, white is zero": lambda: (tiff(GREY, photometric="miniswhite"), 255 - GREY, None),
    "grey tiff with alpha": lambda: (encode(np.dstack([GREY, ALPHA]), "TIFF"), GREY, ALPHA),
    "bitmap tiff": lambda: (encode(GREY > 99, "TIFF"), 255 * (GREY > 99), None),
    "palette tiff with alpha": palette_tiff_with_alpha,
    "palette tiff": lambda: palette_tiff(257),
    "palette tiff, other scale": lambda: palette_tiff(256),
}


@pytest.mark.parametrize("kind", KINDS)
def test_samples_become_rgb_exactly(kind):
    data, values, alpha = KINDS[kind]()
    picture = decode_picture(data, kind)
    grey = values.ndim == 2
    assert picture.mode == ("grey" if grey else "rgb")
    assert picture.pixels.dtype == np.uint8
    expected = np.repeat(values[..., None], 3, -1) if grey else values
    np.testing.assert_array_equal(picture.pixels, expected)
    if alpha is None:
        assert picture.alpha is None
    else:
        assert picture.alpha.dtype == np.uint8
        np.testing.assert_array_equal(picture.alpha, alpha)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 90}), ("WEBP", {})])
@pytest.mark.parametrize("image", [RGB, GREY], ids=["colour", "grey"])
def test_lossy_files_are_taken_as_their_decoder_gives_them(kind, options, image):
    data = encode(image, kind, **options)
    picture = decode_picture(data, "photo")
    assert picture.format == kind
    # WebP knows no grey.
    assert picture.mode == ("grey" if image.ndim == 2 and kind == "JPEG" else "rgb")
    with Image.open(io.BytesIO(data)) as decoded:
        np.testing.assert_array_equal(picture.pixels, np.asarray(decoded.convert("RGB")))


def cmyk(kind):
    return encode(Image.fromarray(RGB).convert("CMYK"), kind)


def several(kind, **options):
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def deep(samples):
    return samples.astype(np.uint16) * 257


def odd_palette():
    return tiff(
        GREY, photometric="palette", colormap=RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
    )


DEEP = "has more than 8 bits a sample: convert it to 8 bits first"
REFUSED = {
    "16-bit grey png": (lambda: png(deep(GREY), 16, 0), DEEP),
    "16-bit rgb png": (lambda: png(deep(RGB), 16, 2), DEEP),
    "16-bit rgba png": (lambda: png(deep(np.dstack([RGB, ALPHA])), 16, 6), DEEP),
    "16-bit grey tiff": (lambda: tiff(deep(GREY)), DEEP),
    "16-bit rgb tiff": (lambda: tiff(deep(RGB)), DEEP),
    "32-bit tiff": (lambda: tiff(GREY.astype(np.uint32)), DEEP),
    "16-bit pgm": (lambda: b"P5 1 1 65535 ab", DEEP),
    "16-bit ppm": (lambda: b"P6 1 1 1023 abcdef", DEEP),
    "plain 16-bit ppm": (lambda: b"P3 1 1 1023 1 2 3", DEEP),
    "float tiff": (lambda: tiff(GREY.astype(np.float32)), DEEP),
    "float pfm": (lambda: encode(Image.fromarray(GREY.astype(np.float32)), "PPM"), "floating"),
    "signed tiff": (lambda: tiff(GREY.astype(np.int8)), "has signed or floating-point samples"),
    "cmyk jpeg": (lambda: cmyk("JPEG"), "is CMYK, .* convert it to RGB first"),
    "cmyk tiff": (lambda: cmyk("TIFF"), "is CMYK, .* convert it to RGB first"),
    "ycbcr tiff": (
        lambda: encode(Image.fromarray(RGB).convert("YCbCr"), "TIFF"),
        "is YCbCr, .* convert it to RGB first",
    ),
    "compressed ycbcr tiff": (
        lambda: encode(Image.fromarray(RGB).convert("YCbCr"), "TIFF", compression="tiff_lzw"),
        "is YCbCr, .* convert it to RGB first",
    ),
    "lab tiff": (
        lambda: encode(Image.frombytes("LAB", (W, H), RGB.tobytes()), "TIFF"),
        "is LAB, .* convert it to RGB first",
    ),
    "premultiplied tiff": (
        lambda: tiff(np.dstack([RGB, ALPHA]), photometric="rgb", extrasamples=["assocalpha"]),
        "colours multiplied by their alpha: save it with straight alpha first",
    ),
    "complex tiff": (lambda: tiff(GREY.astype(np.complex64)), "or convert it to PNG first"),
    "tiff with a spare channel": (
        lambda: tiff(np.dstack([RGB, ALPHA]), photometric="rgb", extrasamples=["unspecified"]),
        "channels beside colour and alpha: save it as RGB or RGBA first",
    ),
    "16-bit palette": (odd_palette, "palette of 16-bit colours: convert it to 8 bits first"),
    "png without palette": (lambda: png(shallow(4), 4, 3), "its palette is missing: copy it again"),
    "animated gif": (lambda: several("GIF"), "has 2 frames or pages: save each as a file"),
    "animated png": (lambda: several("PNG"), "has 2 frames or pages: save each as a file"),
    "animated webp": (lambda: several("WEBP"), "has 2 frames or pages: save each as a file"),
    "tiff of two pages": (lambda: several("TIFF"), "has 2 frames or pages: save each as a file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_lose_something_is_refused(kind):
    build, message = REFUSED[kind]
    with pytest.raises(UserError, match=f"^folder/{kind} .*{message}"):
        decode_picture(build(), f"folder/{kind}")
