"""What is written gives the same pixels again, and files are whole or as they were."""

import dataclasses
import io
import os

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from raeg_jax.codec import blocks
from raeg_jax.codec.metadata import Metadata
from raeg_jax.codec.picture import Picture, decode_picture, read_picture
from raeg_jax.codec.writing import output_format, png_bytes, write_picture
from raeg_jax.errors import UserError

SUFFIXES = (".png", ".webp", ".tiff")
RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
GREY = np.repeat(RGB[..., :1], 3, axis=-1)
# Most pixels have no colour that is seen; it must come back all the same.
ALPHA = np.where(RGB[..., 0] < 200, 0, RGB[..., 1]).astype(np.uint8)
PROFILE = b"a colour profile" * 9
XMP = b'<x:xmpmeta tiff:Orientation="6"/>'


def exif_of(orientation, directories=True):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8298] = orientation, "Maker", "© owner".encode("latin-1")
    if directories:
        exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x829A: IFDRational(1, 250)})
        exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.5)})
    return exif.tobytes().removeprefix(blocks.PREFIX)


def tags(exif):
    parsed = Image.Exif()
    parsed.load(exif)
    return {**parsed, 0x8769: parsed.get_ifd(0x8769), 0x8825: parsed.get_ifd(0x8825)}


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".tif", ".PNG"])
@pytest.mark.parametrize("mode", ["rgb", "grey"])
@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["opaque", "alpha"])
def test_the_same_pixels_are_read_again(tmp_path, suffix, mode, alpha):
    path = tmp_path / f"photo{suffix}"
    pixels = GREY if mode == "grey" else RGB
    write_picture(path, Picture(pixels, alpha, mode))
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.pixels, pixels)
    if alpha is None:
        assert picture.alpha is None
    else:
        np.testing.assert_array_equal(picture.alpha, alpha)
    assert picture.format == output_format(path)
    # WebP knows no grey.
    assert picture.mode == ("rgb" if suffix == ".webp" else mode)
    assert picture.metadata == Metadata()
    assert os.listdir(tmp_path) == [path.name]
    if suffix != ".webp":
        bands = {"rgb": "RGB", "grey": "L"}[mode] + ("" if alpha is None else "A")
        with Image.open(path) as image:
            assert image.mode == bands


@pytest.mark.parametrize("metadata", [Metadata(), Metadata(exif_of(1))], ids=["deflate", "raw"])
def test_another_reader_of_tiff_sees_the_same(tmp_path, metadata):
    path = tmp_path / "photo.tiff"
    for picture, expected in (
        (Picture(RGB, metadata=metadata), RGB),
        (Picture(RGB, ALPHA, metadata=metadata), np.dstack([RGB, ALPHA])),
        (Picture(GREY, mode="grey", metadata=metadata), GREY[..., 0]),
        (Picture(GREY, ALPHA, "grey", metadata=metadata), np.dstack([GREY[..., 0], ALPHA])),
    ):
        write_picture(path, picture)
        with tifffile.TiffFile(path) as file:
            np.testing.assert_array_equal(file.asarray(), expected)
            page = file.pages[0]
            assert (page.compression, page.predictor) == ((1, 1) if metadata.exif else (8, 2))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_raster_of_the_original_file_is_restored(tmp_path, suffix, orientation):
    source = tmp_path / f"original{suffix}"
    raster = Image.fromarray(np.dstack([RGB, ALPHA]))
    raster.save(source, exif=exif_of(orientation), lossless=True, exact=True)
    original = read_picture(source)
    assert original.orientation == orientation

    protected = tmp_path / f"protected{suffix}"
    write_picture(protected, original)
    upright = read_picture(protected)
    assert upright.orientation == 1
    np.testing.assert_array_equal(upright.pixels, original.pixels)

    recovered = tmp_path / f"recovered{suffix}"
    write_picture(recovered, upright, orientation=orientation)
    picture = read_picture(recovered)
    assert picture.orientation == orientation
    np.testing.assert_array_equal(picture.pixels, original.pixels)
    np.testing.assert_array_equal(picture.alpha, original.alpha)
    assert tags(picture.metadata.exif) == tags(original.metadata.exif)
    if suffix == ".tiff":  # Pillow would turn it.
        stored = tifffile.imread(recovered)
    else:
        with Image.open(recovered) as image:
            stored = np.asarray(image)
    np.testing.assert_array_equal(stored, np.asarray(raster))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("directories", [True, False])
def test_metadata_are_kept_unless_stripped(tmp_path, suffix, directories):
    path = tmp_path / f"photo{suffix}"
    exif = exif_of(6, directories)
    metadata = Metadata(exif, PROFILE, XMP, (300.0, 150.0), ((b"tEXt", b"Author\0somebody"),))
    picture = Picture(RGB, metadata=metadata, orientation=6)
    write_picture(path, picture)
    kept = read_picture(path)
    assert kept.orientation == 1
    assert tags(kept.metadata.exif) == {**tags(exif), 0x0112: 1}
    assert kept.metadata.icc == PROFILE
    assert kept.metadata.xmp == XMP.replace(b"6", b"1")
    # WebP has no place for densities, and only PNG has its chunks.
    expected = None if suffix == ".webp" else pytest.approx((300, 150), rel=1e-4)
    assert kept.metadata.dpi == expected
    assert kept.metadata.png_chunks == (metadata.png_chunks if suffix == ".png" else ())

    write_picture(path, picture, strip=True)
    stripped = read_picture(path)
    assert stripped.metadata == Metadata()
    np.testing.assert_array_equal(stripped.pixels, RGB)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_stripped_picture_still_says_how_it_is_turned(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    metadata = Metadata(exif_of(1), PROFILE, dpi=(300.0, 150.0))
    write_picture(path, Picture(RGB, metadata=metadata), strip=True, orientation=6)
    picture = read_picture(path)
    assert picture.orientation == 6
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert dataclasses.replace(picture.metadata, exif=b"") == Metadata()
    assert tags(picture.metadata.exif) == {0x0112: 6, 0x8769: {}, 0x8825: {}}


def test_densities_are_turned_back_with_the_raster(tmp_path):
    path = tmp_path / "photo.png"
    picture = Picture(RGB, metadata=Metadata(dpi=(300.0, 150.0)))
    write_picture(path, picture, orientation=6)
    assert read_picture(path).metadata.dpi == pytest.approx((300, 150), rel=1e-4)
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((150, 300), rel=1e-4)


def test_the_payload_goes_into_a_png_and_comes_out(tmp_path):
    path = tmp_path / "photo.png"
    for payload in (b"", b"payload" * 999):
        write_picture(path, Picture(RGB), payload_chunk=payload)
        assert read_picture(path).payload_chunk == payload
    # Recovered pictures, read from a file with payload, don't carry it on.
    write_picture(path, read_picture(path))
    assert read_picture(path).payload_chunk is None


@pytest.mark.parametrize("suffix", [".webp", ".tiff"])
def test_other_formats_hold_no_payload(tmp_path, suffix):
    with pytest.raises(UserError, match=rf"photo{suffix}: only PNG holds .*: use \.png$"):
        write_picture(tmp_path / f"photo{suffix}", Picture(RGB), payload_chunk=b"payload")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".jpe", ".jfif"])
def test_jpeg_is_refused_with_the_reason(tmp_path, suffix):
    message = rf"photo{suffix}: JPEG changes pixels, .*: use \.png, \.webp or \.tiff$"
    with pytest.raises(UserError, match=message):
        write_picture(tmp_path / f"photo{suffix}", Picture(RGB))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("suffix", "named"), [(".gif", r"\.gif"), (".bmp", r"\.bmp"), ("", "no")])
def test_other_suffixes_are_refused(suffix, named):
    message = rf"photo{suffix}: {named} .*: use \.png, \.webp or \.tiff$"
    with pytest.raises(UserError, match=message):
        output_format(f"photo{suffix}")


@pytest.mark.parametrize("shape", [(16384, 1, 3), (1, 16384, 3)])
def test_what_is_too_large_for_webp_is_told(tmp_path, shape):
    path = tmp_path / "photo.webp"
    with pytest.raises(UserError, match=r"at most 16383 pixels a side, not 16384: use \.png"):
        write_picture(path, Picture(np.zeros(shape, np.uint8)))
    write_picture(path, Picture(np.zeros((16383, 1, 3), np.uint8)))
    assert read_picture(path).pixels.shape == (16383, 1, 3)


def test_a_coloured_picture_is_not_written_as_grey(tmp_path):
    with pytest.raises(ValueError, match="three equal channels"):
        write_picture(tmp_path / "photo.png", Picture(RGB, mode="grey"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"photo{suffix}"
    write_picture(path, Picture(RGB))
    old = path.read_bytes()

    def fail(image, file, *args, **options):
        file.write(old[: len(old) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(UserError, match=rf"photo{suffix} can't be written \(No space left"):
        write_picture(path, Picture(RGB[::-1]))
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("metadata", [Metadata(icc=bytes(2**20 + 1)), Metadata(xmp=bytes(1001))])
def test_metadata_that_would_make_a_png_unreadable_are_told(tmp_path, monkeypatch, metadata):
    # Pillow's limit for all texts is 64 MB, which takes long.
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_MEMORY", 1000)
    picture = Picture(RGB, metadata=metadata)
    message = r"isn't written, as it could not be used \(.*MAX_TEXT.*: leave out metadata \(--strip"
    with pytest.raises(UserError, match=r"photo\.png " + message):
        write_picture(tmp_path / "photo.png", picture)
    with pytest.raises(UserError, match=message):
        png_bytes(picture)
    assert os.listdir(tmp_path) == []
    for name in ("photo.webp", "photo.tiff"):
        write_picture(tmp_path / name, picture)
    write_picture(tmp_path / "photo.png", picture, strip=True)
    with Image.open(tmp_path / "photo.png") as image:
        np.testing.assert_array_equal(np.asarray(image), RGB)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("channel", [2, 3])
def test_a_file_that_gives_other_samples_is_not_kept(tmp_path, monkeypatch, suffix, channel):
    save = Image.Image.save

    def save_another(image, *args, **options):
        samples = np.array(image)
        samples[0, 0, channel] ^= 1
        save(Image.fromarray(samples), *args, **options)

    monkeypatch.setattr(Image.Image, "save", save_another)
    with pytest.raises(UserError, match=rf"photo{suffix} isn't written, .*something else"):
        write_picture(tmp_path / f"photo{suffix}", Picture(RGB, ALPHA))
    assert os.listdir(tmp_path) == []


def test_a_file_without_its_payload_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(PngInfo, "add", lambda *args: None)
    with pytest.raises(UserError, match=r"photo\.png isn't written, .*something else"):
        write_picture(tmp_path / "photo.png", Picture(RGB), payload_chunk=b"payload")
    assert os.listdir(tmp_path) == []


def test_a_tiff_gets_no_place_of_a_directory_that_it_does_not_have(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0xA005: {1: "R98"}})
    loaded = Image.Exif()
    loaded.load(exif.tobytes())
    assert 0xA005 in loaded.get_ifd(0x8769)
    path = tmp_path / "photo.tiff"
    write_picture(path, Picture(RGB, metadata=Metadata(loaded.tobytes().removeprefix(b"Exif\0\0"))))
    assert tags(read_picture(path).metadata.exif)[0x8769] == {0x9003: "2024:05:06 07:08:09"}


def test_exif_data_that_a_tiff_cannot_hold_are_told(tmp_path):
    # A latitude of bytes, not fractions; the other formats take the block as it is.
    exif = exif_of(1).replace(b"\0\2\0\5\0\0\0\3", b"\0\2\0\1\0\0\0\3")
    picture = Picture(RGB, metadata=Metadata(exif))
    message = r"photo\.tiff: a TIFF can't hold the EXIF data .*: use \.png or \.webp, or strip"
    with pytest.raises(UserError, match=message):
        write_picture(tmp_path / "photo.tiff", picture)
    assert os.listdir(tmp_path) == []
    write_picture(tmp_path / "photo.tiff", picture, strip=True)
    write_picture(tmp_path / "photo.png", picture)
    assert read_picture(tmp_path / "photo.png").metadata == picture.metadata


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(UserError, match=r"photo\.png can't be written \(No such file or directory"):
        write_picture(tmp_path / "missing" / "photo.png", Picture(RGB))


def test_a_picture_keeps_its_pixels_through_all_formats(tmp_path):
    """As when somebody converts a protected file losslessly before it is recovered."""
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([RGB, ALPHA])).save(buffer, "PNG", exif=exif_of(6))
    picture = decode_picture(buffer.getvalue(), "photo")
    first = picture
    for suffix in (".tiff", ".webp", ".png", ".webp", ".tiff"):
        path = tmp_path / f"photo{suffix}"
        write_picture(path, picture)
        picture = read_picture(path)
    np.testing.assert_array_equal(picture.pixels, first.pixels)
    np.testing.assert_array_equal(picture.alpha, first.alpha)
    assert tags(picture.metadata.exif) == {**tags(first.metadata.exif), 0x0112: 1}
