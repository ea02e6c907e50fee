"""Files are read, upright and with what is kept, or one clear error."""

import concurrent.futures
import io
import math
import os
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from raeg_jax.errors import UserError
from raeg_jax.image_file import samples
from raeg_jax.image_file.read import (
    BYTES_PER_PIXEL,
    ImageFile,
    decode_image_file,
    pillow_warnings,
    pixel_cost,
    read_image_file,
)
from raeg_jax.image_file.write import lost_metadata, write_image_file
from tests.image_file.files import LOSSLESS, RGB, encode


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "alpha"])
def test_pictures_are_upright_and_turn_back_to_the_raster(kind, orientation, alpha):
    raster = np.dstack([RGB, RGB[..., 0] // 2]) if alpha else RGB
    data = encode(kind, raster, exif=oriented(orientation), **LOSSLESS[kind])
    image = decode_image_file(data, "photo")
    assert image.orientation == orientation
    np.testing.assert_array_equal(samples.stored(image.pixels, orientation), RGB)
    assert (image.pixels.shape == RGB.shape) == (orientation < 5)
    if alpha:
        np.testing.assert_array_equal(samples.stored(image.alpha, orientation), raster[..., 3])


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_turned_jpeg_is_turned_as_pillow_turns_it(kind):
    data = encode(kind, quality=95, exif=oriented(6))
    with Image.open(io.BytesIO(data)) as expected:
        turned = np.rot90(np.asarray(expected), -1)
    np.testing.assert_array_equal(decode_image_file(data, "photo").pixels, turned)


# TIFF 6.0: type 4 is a whole number, 5 and 10 are fractions, 11 and 12 floating point.
@pytest.mark.parametrize(
    ("kind", "form", "value", "orientation"),
    [
        *((4, "I", (value,), 1) for value in (0, 9, 77)),
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
def test_an_orientation_of_any_type_is_read(file, kind, form, value, orientation):
    if file == "TIFF":
        buffer, extra = io.BytesIO(), [(0x0112, kind, 1, value, True), (0x010F, 2, 4, "abc", True)]
        tifffile.imwrite(buffer, RGB, photometric="rgb", extratags=extra)
        data = buffer.getvalue()
    else:
        packed = struct.pack(f"<{form}", *value)
        entry = struct.pack("<HHI", 0x0112, kind, 1)
        entry += packed if len(packed) == 4 else struct.pack("<I", 26)
        data = encode(file, exif=b"Exif\0\0II*\0\x08\0\0\0\1\0" + entry + bytes(4) + packed)
    image = decode_image_file(data, "photo")
    assert (type(image.orientation), image.orientation) == (int, orientation)
    assert image.pixels.shape == ((14, 10, 3) if orientation == 6 else RGB.shape)
    assert image.notes == ()
    if file == "TIFF":
        assert b"abc" in image.metadata.exif


def test_the_first_photograph_of_several_is_taken_and_that_is_said():
    second = Image.fromarray(RGB[::-1].copy())
    data = encode("MPO", save_all=True, append_images=[second], quality=95)
    image = decode_image_file(data, "photo")
    assert image.format == "MPO"
    assert image.notes == ("only the first of its 2 photographs is taken",)
    alone = decode_image_file(encode("JPEG", quality=95), "photo")
    np.testing.assert_array_equal(image.pixels, alone.pixels)
    assert alone.notes == ()


def test_reads_what_the_path_names(tmp_path):
    path = tmp_path / "photo.with a wrong suffix.jpg"
    path.write_bytes(encode())
    for name in (path, str(path)):
        image = read_image_file(name)
        assert image.format == "PNG"
        np.testing.assert_array_equal(image.pixels, RGB)


def test_a_missing_file_a_folder_and_an_empty_file_are_told(tmp_path):
    with pytest.raises(UserError, match=r"missing\.png doesn't exist: check the name$"):
        read_image_file(tmp_path / "missing.png")
    with pytest.raises(UserError, match=r"is a folder, not an image: name a file in it$"):
        read_image_file(tmp_path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UserError, match=r"photo\.jpg is empty: copy it again"):
        read_image_file(tmp_path / "photo.jpg")


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

    monkeypatch.setattr("raeg_jax.image_file.read.read_file", fail)
    with pytest.raises(UserError, match=rf"photo\.png {message}$"):
        read_image_file(tmp_path / "photo.png")


@pytest.mark.parametrize("data", [b"\0", b"some text, long enough for a header" * 9, b"%PDF-1.7"])
def test_other_files_are_told(data):
    with pytest.raises(UserError, match=r"^photo is not an image in JPEG, .*: convert it to PNG"):
        decode_image_file(data, "photo")


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
    data = encode(kind, image, **options)
    decode_image_file(data, "photo")
    for share in (0.02, 0.3, 0.6, 0.99):
        with pytest.raises(UserError, match=r"^photo is .*truncated.*: copy it again"):
            decode_image_file(data[: int(share * len(data))], "photo")


def test_damaged_pixels_of_a_png_are_told():
    data = bytearray(encode())
    data[data.index(b"IDAT") + 30] ^= 1
    with pytest.raises(UserError, match="photo is damaged, the checksum of its chunk 'IDAT'"):
        decode_image_file(bytes(data), "photo")


def test_a_decompression_bomb_is_told():
    """A tiny file that claims to hold 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = encode()
    claim = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    with pytest.raises(UserError, match=r"^photo has more than [\d,]+ pixels, .*: scale it down"):
        decode_image_file(claim, "photo")


@pytest.mark.parametrize("place", ["samples.planes", "exif.without_preview"])
def test_running_out_of_memory_is_not_the_files_fault(monkeypatch, place):
    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(f"raeg_jax.image_file.{place}", fail)
    with pytest.raises(MemoryError):
        decode_image_file(encode(), "photo")


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
        ImageFile(**{"pixels": RGB, **changes})


# An artist's name that should go on after the end of the block.
DAMAGED = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x13B, 2, 99, 26) + bytes(4) + b"me"


def pillow_warns(text):
    source = compile(f"import warnings; warnings.warn({text!r})", Image.__file__, "exec")
    exec(source, {"__name__": "PIL.Image"})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_damage_is_noted_and_nothing_is_shown(tmp_path, recwarn, kind, suffix):
    image = decode_image_file(encode(kind, exif=DAMAGED), "photo")
    (note,) = image.notes
    assert note.startswith("it is damaged in part (")
    assert "corrupt" in note.lower() or "tag 315" in note.lower()
    lost_metadata(image, f"photo{suffix}")
    write_image_file(tmp_path / f"photo{suffix}", image, orientation=6)
    assert not recwarn


def test_large_images_are_no_reason_to_warn(recwarn, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encode()
    assert decode_image_file(data, "photo").notes == ()
    assert pixel_cost(io.BytesIO(data)) == 140 + len(data) // BYTES_PER_PIXEL
    assert not recwarn


def test_each_thread_gets_its_own_warnings_and_others_are_shown(recwarn):
    barrier = threading.Barrier(3)

    def read(number):
        with pillow_warnings() as messages:
            barrier.wait()
            pillow_warns(f"of {number}")
            barrier.wait()
        return messages

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = [pool.submit(read, number) for number in (1, 2)]
        barrier.wait()
        warnings.warn("of somebody else", stacklevel=1)
        barrier.wait()
    assert [one.result() for one in results] == [["of 1"], ["of 2"]]
    assert [str(one.message) for one in recwarn] == ["of somebody else"]


def test_afterwards_all_is_as_it_was():
    before = warnings.showwarning, list(warnings.filters)
    with pillow_warnings() as outer:
        with pillow_warnings() as inner:
            pillow_warns("inside")
        pillow_warns("outside")
    assert (inner, outer) == (["inside"], ["outside"])
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_pixels_are_counted_by_the_header_alone(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode()[:60])
    assert pixel_cost(path) == 10 * 14 + 60 // BYTES_PER_PIXEL
    path.write_bytes(b"")
    assert pixel_cost(path) == 0


def test_the_pixels_of_a_png_are_counted_whatever_profile_it_has(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(icc_profile=bytes(2**20 + 1)))
    cost = 10 * 14 + path.stat().st_size // BYTES_PER_PIXEL
    assert pixel_cost(path) == pixel_cost(io.BytesIO(path.read_bytes())) == cost


def test_the_bytes_of_files_count_too(tmp_path):
    path, data, size = tmp_path / "a.png", encode(), 10**6
    path.write_bytes(data + bytes(size - len(data)))
    assert (
        pixel_cost(path)
        == pixel_cost(io.BytesIO(path.read_bytes()))
        == 140 + size // BYTES_PER_PIXEL
    )
    # What is never read takes none.
    os.truncate(path, 2**40)
    assert pixel_cost(path) == 0
    path.unlink()
    os.mkfifo(path)
    assert pixel_cost(path) == 0
