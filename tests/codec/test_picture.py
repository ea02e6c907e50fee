"""Image files become pictures, upright and with what is kept, or one clear error."""

import io
import math
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from raeg_jax.codec import turning
from raeg_jax.codec.picture import Picture, decode_picture, read_picture
from raeg_jax.errors import UserError
from tests.image_file.files import put_chunk

RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}, "TIFF": {}}


def encode(image=RGB, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "alpha"])
def test_pictures_are_upright_and_turn_back_to_the_raster(kind, orientation, alpha):
    raster = np.dstack([RGB, RGB[..., 0] // 2]) if alpha else RGB
    data = encode(raster, kind, exif=oriented(orientation), **LOSSLESS[kind])
    picture = decode_picture(data, "photo")
    assert picture.orientation == orientation
    np.testing.assert_array_equal(turning.stored(picture.pixels, orientation), RGB)
    assert (picture.pixels.shape == RGB.shape) == (orientation < 5)
    if alpha:
        np.testing.assert_array_equal(turning.stored(picture.alpha, orientation), raster[..., 3])


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_turned_jpeg_is_turned_as_pillow_turns_it(kind):
    data = encode(RGB, kind, quality=95, exif=oriented(6))
    picture = decode_picture(data, "photo")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(picture.pixels, np.rot90(np.asarray(image), -1))


# TIFF 6.0: types 5 and 10 are fractions, 11 and 12 floating point.
@pytest.mark.parametrize(
    ("kind", "form", "value", "orientation"),
    [
        (5, "II", (6, 1), 6),
        (5, "II", (12, 2), 6),
        (5, "II", (13, 2), 1),
        (5, "II", (6, 0), 1),
        (10, "ii", (6, 1), 6),
        (10, "ii", (-6, 1), 1),
        (11, "f", (6.0,), 6),
        (12, "d", (6.0,), 6),
        (12, "d", (6.5,), 1),
        (12, "d", (math.nan,), 1),
    ],
)
@pytest.mark.parametrize("file", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_may_be_written_as_a_fraction(file, kind, form, value, orientation):
    if file == "TIFF":
        buffer, extra = io.BytesIO(), [(0x0112, kind, 1, value, True), (0x010F, 2, 4, "abc", True)]
        tifffile.imwrite(buffer, RGB, photometric="rgb", extratags=extra)
        data = buffer.getvalue()
    else:
        packed = struct.pack(f"<{form}", *value)
        entry = struct.pack("<HHI", 0x0112, kind, 1)
        entry += packed if len(packed) == 4 else struct.pack("<I", 26)
        data = encode(RGB, file, exif=b"Exif\0\0II*\0\x08\0\0\0\1\0" + entry + bytes(4) + packed)
    picture = decode_picture(data, "photo")
    assert (type(picture.orientation), picture.orientation) == (int, orientation)
    assert picture.pixels.shape == ((14, 10, 3) if orientation == 6 else RGB.shape)
    assert picture.notes == ()
    if file == "TIFF":
        assert b"abc" in picture.metadata.exif


@pytest.mark.parametrize("orientation", [0, 9, 77])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_an_impossible_orientation_is_upright(kind, orientation):
    data = encode(RGB, kind, exif=oriented(orientation), **LOSSLESS[kind])
    picture = decode_picture(data, "photo")
    assert picture.orientation == 1
    np.testing.assert_array_equal(picture.pixels, RGB)


def test_the_first_photograph_of_several_is_taken_and_that_is_said():
    second = Image.fromarray(RGB[::-1].copy())
    data = encode(RGB, "MPO", save_all=True, append_images=[second], quality=95)
    picture = decode_picture(data, "photo")
    assert picture.format == "MPO"
    assert picture.notes == ("only the first of its 2 photographs is taken",)
    alone = decode_picture(encode(RGB, "JPEG", quality=95), "photo")
    np.testing.assert_array_equal(picture.pixels, alone.pixels)
    assert alone.notes == ()


def test_the_payload_of_a_png_is_given():
    assert decode_picture(put_chunk(encode(), b"payload"), "photo").payload_chunk == b"payload"
    assert decode_picture(encode(), "photo").payload_chunk is None


def test_reads_what_the_path_names(tmp_path):
    path = tmp_path / "photo.with a wrong suffix.jpg"
    path.write_bytes(encode())
    for name in (path, str(path)):
        picture = read_picture(name)
        assert picture.format == "PNG"
        np.testing.assert_array_equal(picture.pixels, RGB)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(UserError, match=r"missing\.png doesn't exist: check the name$"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(UserError, match=r"is a folder, not an image: name a file in it$"):
        read_picture(tmp_path)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied"), "may not be read: change its permissions"),
        (OSError(5, "Input/output error"), r"can't be read \(Input/output error\): check the disk"),
    ],
)
def test_an_unreadable_file_is_told(tmp_path, monkeypatch, error, message):
    # An administrator, as in containers, may read everything: so the error is made here.
    def fail(path, look):
        raise error

    monkeypatch.setattr("raeg_jax.codec.picture.read_file", fail)
    with pytest.raises(UserError, match=rf"photo\.png {message}$"):
        read_picture(tmp_path / "photo.png")


def test_an_empty_file_is_told(tmp_path):
    path = tmp_path / "photo.jpg"
    path.touch()
    with pytest.raises(UserError, match=r"photo\.jpg is empty: copy it again"):
        read_picture(path)


@pytest.mark.parametrize("data", [b"\0", b"some text, long enough for a header" * 9, b"%PDF-1.7"])
def test_other_files_are_told(data):
    with pytest.raises(UserError, match=r"^photo is not an image in JPEG, .*: convert it to PNG"):
        decode_picture(data, "photo")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("GIF", {}),
        ("PPM", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
def test_truncated_files_are_told(kind, options):
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8)
    data = encode(image, kind, **options)
    decode_picture(data, "photo")
    for share in (0.02, 0.3, 0.6, 0.99):
        with pytest.raises(UserError, match=r"^photo is .*truncated.*: copy it again"):
            decode_picture(data[: int(share * len(data))], "photo")


def test_damaged_pixels_of_a_png_are_told():
    data = bytearray(encode())
    data[data.index(b"IDAT") + 30] ^= 1
    with pytest.raises(UserError, match="photo is damaged, the checksum of its chunk 'IDAT'"):
        decode_picture(bytes(data), "photo")


def test_a_decompression_bomb_is_told():
    """A tiny file that claims to hold 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = encode()
    claim = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    with pytest.raises(UserError, match=r"^photo has more than [\d,]+ pixels, .*: scale it down"):
        decode_picture(claim, "photo")


@pytest.mark.parametrize("place", ["samples.planes", "blocks.without_preview"])
def test_running_out_of_memory_is_not_the_files_fault(monkeypatch, place):
    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(f"raeg_jax.codec.{place}", fail)
    with pytest.raises(MemoryError):
        decode_picture(encode(), "photo")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": RGB.astype(np.float32)}, "pixels must be uint8"),
        ({"pixels": RGB[..., 0]}, r"pixels must be uint8 \[H, W, 3\]"),
        ({"alpha": RGB}, "alpha must be uint8"),
        ({"alpha": RGB[:5, :, 0]}, "alpha must be uint8"),
        ({"mode": "cmyk"}, "mode must be one of rgb, grey"),
    ],
)
def test_impossible_pictures_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Picture(**{"pixels": RGB, **changes})
