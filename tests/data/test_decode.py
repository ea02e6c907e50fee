"""Every kind of image file becomes uint8 RGB, or a clear error."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from raeg_jax.data import decode
from raeg_jax.image_file.read import decode_image_file
from tests.image_file.files import png_of

RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
GREY = RGB[..., 0]


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(height=32, width=48):
    """A picture that JPEG hardly changes."""
    y, x = np.mgrid[:height, :width]
    planes = (x * 255 / width, y * 255 / height, np.full((height, width), 90))
    return np.stack(planes, -1).astype(np.uint8)


def with_orientation(image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image, "JPEG", quality=95, exif=exif)


def on_white(rgb, alpha):
    weight = alpha[..., None] / 255
    return np.round(rgb * weight + 255 * (1 - weight))


def palette_with_transparency():
    indices = (np.arange(140).reshape(10, 14) % 2).astype(np.uint8)
    image = Image.frombytes("P", (14, 10), indices.tobytes())
    image.putpalette([10, 20, 30, 200, 100, 50])
    expected = np.where(indices[..., None] == 0, 255, np.array([200, 100, 50]))
    return encode(image, transparency=0), expected


def deep_grey(kind, dtype):
    values = np.linspace(0, 65535, 140).reshape(10, 14).astype(dtype)
    expected = np.repeat(np.round(values.astype(float) / 257)[..., None], 3, -1)
    return encode(Image.fromarray(values), kind), expected


def float_tiff(largest):
    values = (GREY / 255 * largest).astype(np.float32)
    return encode(Image.fromarray(values), "TIFF"), np.repeat(GREY[..., None], 3, -1)


def animation():
    frames = [Image.fromarray(np.full((10, 14, 3), value, np.uint8)) for value in (40, 200)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), np.full(
        (10, 14, 3), 40
    )


ALPHA = np.linspace(0, 255, 140).reshape(10, 14).astype(np.uint8)
THREE_GREYS = np.repeat(GREY[..., None], 3, -1)
ODD_FILES = {
    "grey png": lambda: (encode(Image.fromarray(GREY)), THREE_GREYS),
    "one bit": lambda: (
        encode(Image.fromarray(GREY > 127)),
        np.repeat(255 * (GREY > 127)[..., None], 3, -1),
    ),
    "palette": lambda: (
        encode(Image.fromarray(THREE_GREYS).convert("P", palette=Image.Palette.ADAPTIVE)),
        THREE_GREYS,
    ),
    "palette with transparency": palette_with_transparency,
    "rgba": lambda: (
        encode(Image.fromarray(np.dstack([RGB, ALPHA]))),
        on_white(RGB, ALPHA),
    ),
    "grey with alpha": lambda: (
        encode(Image.fromarray(np.dstack([GREY, ALPHA]))),
        on_white(THREE_GREYS, ALPHA),
    ),
    "16-bit grey png": lambda: deep_grey("PNG", np.uint16),
    "16-bit grey tiff": lambda: deep_grey("TIFF", np.uint16),
    "16-bit rgb png": lambda: (png_of(RGB.astype(int) * 257, 16, 2), RGB),
    "32-bit tiff": lambda: deep_grey("TIFF", np.int32),
    "float tiff 0..1": lambda: float_tiff(1.0),
    "float tiff 0..1000": lambda: float_tiff(1000.0 * 255 / GREY.max()),
    "bmp": lambda: (encode(Image.fromarray(RGB), "BMP"), RGB),
    "webp": lambda: (encode(Image.fromarray(RGB), "WEBP", lossless=True), RGB),
    "animated gif": animation,
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_odd_files_become_rgb(kind):
    data, expected = ODD_FILES[kind]()
    image = decode.to_rgb(data)
    assert image.dtype == np.uint8
    assert image.shape == (10, 14, 3)
    np.testing.assert_allclose(image.astype(int), expected, atol=1)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_storable_keeps_the_picture(kind):
    data, _ = ODD_FILES[kind]()
    stored = decode.storable(data)
    np.testing.assert_array_equal(decode.to_rgb(stored), decode.to_rgb(data))
    # What is stored needs no conversion but from grey.
    with Image.open(io.BytesIO(stored)) as image:
        assert image.mode in ("L", "RGB")
        assert image.format == "PNG"


def test_cmyk_jpeg():
    picture = smooth()
    data = encode(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=95)
    np.testing.assert_allclose(decode.to_rgb(data).astype(int), picture, atol=12)
    assert decode.storable(data) != data


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(1, lambda x: x), (3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1))],
)
def test_exif_rotation_is_applied(orientation, undo):
    picture = smooth()
    data = with_orientation(Image.fromarray(picture), orientation)
    np.testing.assert_allclose(decode.to_rgb(data).astype(int), undo(picture), atol=12)
    assert (decode.storable(data) == data) == (orientation == 1)
    np.testing.assert_array_equal(decode.to_rgb(decode.storable(data)), decode.to_rgb(data))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_ignored():
    data = encode(Image.fromarray(smooth()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode.to_rgb(data).shape == (32, 48, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("pixels", [RGB, GREY], ids=["rgb", "grey"])
def test_plain_files_are_stored_untouched(kind, pixels):
    data = encode(Image.fromarray(pixels), kind)
    assert decode.storable(data) == data


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_huge_images_are_stored_smaller(kind):
    data = encode(Image.new("RGB", (6000, 3000), (10, 200, 30)), kind)
    stored = decode.to_rgb(decode.storable(data))
    assert stored.shape == (1024, 2048, 3)
    np.testing.assert_allclose(stored[500, 500].astype(int), (10, 200, 30), atol=3)


def test_decompression_bomb_is_refused():
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = encode(Image.fromarray(RGB))
    bomb = data[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + data[33:]
    with pytest.raises(decode.UnreadableImageError, match="DecompressionBombError"):
        decode.to_rgb(bomb)


BROKEN = {
    "empty": b"",
    "text": b"this is no image",
    "truncated jpeg": encode(Image.fromarray(smooth(200, 200)), "JPEG")[:-900],
    "truncated png": encode(Image.fromarray(smooth(200, 200)), "PNG")[:-200],
    "half a header": encode(Image.fromarray(RGB), "PNG")[:20],
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named_unreadable(kind):
    for function in (decode.to_rgb, decode.storable):
        with pytest.raises(decode.UnreadableImageError, match=r"\w+"):
            function(BROKEN[kind])


@pytest.mark.parametrize("step", ["open", "exif_transpose"])
def test_running_out_of_memory_is_not_the_files_fault(monkeypatch, step):
    def exhausted(*args, **options):
        raise MemoryError

    monkeypatch.setattr(decode.Image if step == "open" else decode.ImageOps, step, exhausted)
    with pytest.raises(MemoryError):
        decode.to_rgb(encode(Image.fromarray(RGB)))


@pytest.mark.parametrize("image", [RGB / 255, GREY, np.dstack([RGB, GREY])])
def test_encode_png_takes_rgb_only(image):
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], not "):
        decode.encode_png(image)
    np.testing.assert_array_equal(decode.to_rgb(decode.encode_png(RGB)), RGB)


def test_at_least_never_goes_below():
    data = encode(Image.fromarray(smooth(300, 500)), "JPEG", quality=95)
    reduced = decode.to_rgb(data, at_least=64)
    assert reduced.shape == (75, 125, 3)
    assert decode.to_rgb(data, at_least=200).shape == (300, 500, 3)
    full = decode.fit(decode.to_rgb(data), 32)
    np.testing.assert_allclose(decode.load(data, 32).astype(int), full, atol=4)


@pytest.mark.parametrize("shape", [(20, 32), (32, 20), (20, 20), (3, 500), (1, 1)])
def test_fit_shape(shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    assert decode.fit(image, 16).shape == (16, 16, 3)


def test_fit_is_resize_then_crop():
    # Against the whole picture resized: they differ only by the filter's reach over the crop.
    picture = smooth(64, 128)
    whole = np.asarray(Image.fromarray(picture).resize((64, 32), Image.Resampling.LANCZOS))
    fitted = decode.fit(picture, 32)
    np.testing.assert_allclose(fitted[:, 2:-2].astype(int), whole[:, 18:-18].astype(int), atol=1)


def test_fit_leaves_fitting_images_alone():
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(decode.fit(image, 16), image)


@pytest.mark.parametrize(
    ("depth", "colour"), [(1, 0), (2, 0), (4, 0), (8, 0), (8, 2), (1, 3), (2, 3), (4, 3), (8, 3)]
)
def test_transparent_colours_are_read_as_the_codec_reads_them(depth, colour):
    values = np.arange(6 * 24).reshape(6, -1, 3 if colour == 2 else 1) * 7 % 2**depth
    chunks = [(b"tRNS", values[0, 1].astype(">u2").tobytes())]
    if colour == 3:
        palette = np.random.default_rng(0).bytes(3 * 2**depth)
        chunks = [(b"PLTE", palette), (b"tRNS", b"\x60\0")]
    data = png_of(values, depth, colour, *chunks)
    picture = decode_image_file(data, "a.png")
    assert (picture.alpha < 255).any()
    expected = on_white(picture.pixels, picture.alpha)
    np.testing.assert_allclose(decode.to_rgb(data), expected, atol=1)
    # The same once it is stored.
    np.testing.assert_array_equal(decode.to_rgb(decode.storable(data)), decode.to_rgb(data))


@pytest.mark.parametrize("colour", [0, 2])
def test_transparent_colours_of_16_bits(colour):
    values = np.arange(12 * 24).reshape(12, -1, 3 if colour else 1) * 200
    key = values[4, 2 if colour else 6].astype(">u2").tobytes()
    image = decode.to_rgb(png_of(values, 16, colour, (b"tRNS", key)))
    assert (image[4, 2 if colour else 6] == 255).all()
    assert (image.min(-1) == 255).sum() == 1


def test_reasons_are_the_same_every_time():
    for content in (b"nothing", encode(Image.fromarray(RGB))[:60]):
        reasons = set()
        for _ in range(2):
            with pytest.raises(decode.UnreadableImageError) as error:
                decode.to_rgb(content)
            reasons.add(str(error.value))
        assert len(reasons) == 1
        assert "0x" not in reasons.pop()
