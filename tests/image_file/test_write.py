"""What is written gives the same pixels again, and files are whole or as they were."""

import dataclasses
import os

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from raeg_jax.errors import UserError
from raeg_jax.image_file.exif import PREFIX, parse_tags
from raeg_jax.image_file.metadata import Metadata
from raeg_jax.image_file.read import ImageFile, decode_image_file, read_image_file
from raeg_jax.image_file.write import output_format, png_bytes, write_image_file
from tests.image_file.files import RGB, encode

SUFFIXES = (".png", ".webp", ".tiff")
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
    return exif.tobytes().removeprefix(PREFIX)


def tags(exif):
    parsed = parse_tags(exif)
    return {**parsed, 0x8769: parsed.get_ifd(0x8769), 0x8825: parsed.get_ifd(0x8825)}


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".tif", ".PNG"])
@pytest.mark.parametrize("mode", ["rgb", "grey"])
@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["opaque", "alpha"])
def test_the_same_pixels_are_read_again(tmp_path, suffix, mode, alpha):
    path = tmp_path / f"photo{suffix}"
    pixels = GREY if mode == "grey" else RGB
    write_image_file(path, ImageFile(pixels, alpha, mode))
    image = read_image_file(path)
    np.testing.assert_array_equal(image.pixels, pixels)
    if alpha is None:
        assert image.alpha is None
    else:
        np.testing.assert_array_equal(image.alpha, alpha)
    assert image.format == output_format(path)
    # WebP knows no grey.
    assert image.mode == ("rgb" if suffix == ".webp" else mode)
    assert image.metadata == Metadata()
    assert os.listdir(tmp_path) == [path.name]
    if suffix != ".webp":
        bands = {"rgb": "RGB", "grey": "L"}[mode] + ("" if alpha is None else "A")
        with Image.open(path) as image:
            assert image.mode == bands


@pytest.mark.parametrize("metadata", [Metadata(), Metadata(exif_of(1))], ids=["deflate", "raw"])
def test_another_reader_of_tiff_sees_the_same(tmp_path, metadata):
    path = tmp_path / "photo.tiff"
    for image, expected in (
        (ImageFile(RGB, metadata=metadata), RGB),
        (ImageFile(RGB, ALPHA, metadata=metadata), np.dstack([RGB, ALPHA])),
        (ImageFile(GREY, mode="grey", metadata=metadata), GREY[..., 0]),
        (ImageFile(GREY, ALPHA, "grey", metadata=metadata), np.dstack([GREY[..., 0], ALPHA])),
    ):
        write_image_file(path, image)
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
    original = read_image_file(source)
    assert original.orientation == orientation

    protected = tmp_path / f"protected{suffix}"
    write_image_file(protected, original)
    upright = read_image_file(protected)
    assert upright.orientation == 1
    np.testing.assert_array_equal(upright.pixels, original.pixels)

    recovered = tmp_path / f"recovered{suffix}"
    write_image_file(recovered, upright, orientation=orientation)
    image = read_image_file(recovered)
    assert image.orientation == orientation
    np.testing.assert_array_equal(image.pixels, original.pixels)
    np.testing.assert_array_equal(image.alpha, original.alpha)
    assert tags(image.metadata.exif) == tags(original.metadata.exif)
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
    image = ImageFile(RGB, metadata=metadata, orientation=6)
    write_image_file(path, image)
    kept = read_image_file(path)
    assert kept.orientation == 1
    assert tags(kept.metadata.exif) == {**tags(exif), 0x0112: 1}
    assert kept.metadata.icc == PROFILE
    assert kept.metadata.xmp == XMP.replace(b"6", b"1")
    # WebP has no place for densities, and only PNG has its chunks.
    expected = None if suffix == ".webp" else pytest.approx((300, 150), rel=1e-4)
    assert kept.metadata.dpi == expected
    assert kept.metadata.png_chunks == (metadata.png_chunks if suffix == ".png" else ())

    write_image_file(path, image, strip=True)
    stripped = read_image_file(path)
    assert stripped.metadata == Metadata()
    np.testing.assert_array_equal(stripped.pixels, RGB)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_stripped_image_still_says_how_it_is_turned(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    metadata = Metadata(exif_of(1), PROFILE, dpi=(300.0, 150.0))
    write_image_file(path, ImageFile(RGB, metadata=metadata), strip=True, orientation=6)
    image = read_image_file(path)
    assert image.orientation == 6
    np.testing.assert_array_equal(image.pixels, RGB)
    assert dataclasses.replace(image.metadata, exif=b"") == Metadata()
    assert tags(image.metadata.exif) == {0x0112: 6, 0x8769: {}, 0x8825: {}}


def test_densities_are_turned_back_with_the_raster(tmp_path):
    path = tmp_path / "photo.png"
    image = ImageFile(RGB, metadata=Metadata(dpi=(300.0, 150.0)))
    write_image_file(path, image, orientation=6)
    assert read_image_file(path).metadata.dpi == pytest.approx((300, 150), rel=1e-4)
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((150, 300), rel=1e-4)


def test_the_payload_goes_into_a_png_and_comes_out(tmp_path):
    path = tmp_path / "photo.png"
    for payload in (b"", b"payload" * 999):
        write_image_file(path, ImageFile(RGB), payload_chunk=payload)
        assert read_image_file(path).payload_chunk == payload
    # Recovered images, read from a file with payload, don't carry it on.
    write_image_file(path, read_image_file(path))
    assert read_image_file(path).payload_chunk is None


INSTEAD = r": use \.png, \.webp or \.tiff$"


@pytest.mark.parametrize(
    ("name", "image", "payload", "message"),
    [
        ("a.webp", ImageFile(RGB), b"payload", r"a\.webp: only PNG holds .*: use \.png$"),
        ("a.tiff", ImageFile(RGB), b"payload", r"a\.tiff: only PNG holds .*: use \.png$"),
        *(
            (f"a{suffix}", ImageFile(RGB), None, f"a{suffix}: JPEG changes pixels, .*{INSTEAD}")
            for suffix in (".jpg", ".JPEG", ".jpe", ".jfif")
        ),
        ("a.gif", ImageFile(RGB), None, rf"a\.gif: \.gif .*{INSTEAD}"),
        ("a.bmp", ImageFile(RGB), None, rf"a\.bmp: \.bmp .*{INSTEAD}"),
        ("a", ImageFile(RGB), None, f"a: no suffix .*{INSTEAD}"),
        *(
            ("a.webp", ImageFile(np.zeros(shape, np.uint8)), None, "16383 pixels a side, not 16384")
            for shape in ((16384, 1, 3), (1, 16384, 3))
        ),
        ("no/a.png", ImageFile(RGB), None, r"a\.png can't be written \(No such file or directory"),
        ("a.png", ImageFile(RGB, mode="grey"), None, "three equal channels"),
    ],
)
def test_what_a_file_can_not_hold_is_refused(tmp_path, name, image, payload, message):
    with pytest.raises(ValueError if image.mode == "grey" else UserError, match=message):
        write_image_file(tmp_path / name, image, payload_chunk=payload)
    assert os.listdir(tmp_path) == []


def test_the_largest_webp_is_written(tmp_path):
    path = tmp_path / "photo.webp"
    write_image_file(path, ImageFile(np.zeros((16383, 1, 3), np.uint8)))
    assert read_image_file(path).pixels.shape == (16383, 1, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"photo{suffix}"
    write_image_file(path, ImageFile(RGB))
    old = path.read_bytes()

    def fail(image, file, *args, **options):
        file.write(old[: len(old) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(UserError, match=rf"photo{suffix} can't be written \(No space left"):
        write_image_file(path, ImageFile(RGB[::-1]))
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("metadata", [Metadata(icc=bytes(2**20 + 1)), Metadata(xmp=bytes(1001))])
def test_metadata_that_would_make_a_png_unreadable_are_told(tmp_path, monkeypatch, metadata):
    # Pillow's limit for all texts is 64 MB, which takes long.
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_MEMORY", 1000)
    image = ImageFile(RGB, metadata=metadata)
    message = r"isn't written, as it could not be used \(.*MAX_TEXT.*: leave out metadata \(--strip"
    with pytest.raises(UserError, match=r"photo\.png " + message):
        write_image_file(tmp_path / "photo.png", image)
    with pytest.raises(UserError, match=message):
        png_bytes(image)
    assert os.listdir(tmp_path) == []
    for name in ("photo.webp", "photo.tiff"):
        write_image_file(tmp_path / name, image)
    write_image_file(tmp_path / "photo.png", image, strip=True)
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
        write_image_file(tmp_path / f"photo{suffix}", ImageFile(RGB, ALPHA))
    assert os.listdir(tmp_path) == []


def test_a_file_without_its_payload_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(PngInfo, "add", lambda *args: None)
    with pytest.raises(UserError, match=r"photo\.png isn't written, .*something else"):
        write_image_file(tmp_path / "photo.png", ImageFile(RGB), payload_chunk=b"payload")
    assert os.listdir(tmp_path) == []


def test_a_tiff_gets_no_place_of_a_directory_that_it_does_not_have(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0xA005: {1: "R98"}})
    loaded = parse_tags(exif.tobytes())
    assert 0xA005 in loaded.get_ifd(0x8769)
    path = tmp_path / "photo.tiff"
    metadata = Metadata(loaded.tobytes().removeprefix(PREFIX))
    write_image_file(path, ImageFile(RGB, metadata=metadata))
    assert tags(read_image_file(path).metadata.exif)[0x8769] == {0x9003: "2024:05:06 07:08:09"}


def test_exif_data_that_a_tiff_cannot_hold_are_told(tmp_path):
    # A latitude of bytes, not fractions; the other formats take the block as it is.
    exif = exif_of(1).replace(b"\0\2\0\5\0\0\0\3", b"\0\2\0\1\0\0\0\3")
    image = ImageFile(RGB, metadata=Metadata(exif))
    message = r"photo\.tiff: a TIFF can't hold the EXIF data .*: use \.png or \.webp, or strip"
    with pytest.raises(UserError, match=message):
        write_image_file(tmp_path / "photo.tiff", image)
    assert os.listdir(tmp_path) == []
    write_image_file(tmp_path / "photo.tiff", image, strip=True)
    write_image_file(tmp_path / "photo.png", image)
    assert read_image_file(tmp_path / "photo.png").metadata == image.metadata


def test_an_image_keeps_its_pixels_through_all_formats(tmp_path):
    """As when somebody converts a protected file losslessly before it is recovered."""
    image = decode_image_file(encode("PNG", np.dstack([RGB, ALPHA]), exif=exif_of(6)), "photo")
    first = image
    for suffix in (".tiff", ".webp", ".png", ".webp", ".tiff"):
        path = tmp_path / f"photo{suffix}"
        write_image_file(path, image)
        image = read_image_file(path)
    np.testing.assert_array_equal(image.pixels, first.pixels)
    np.testing.assert_array_equal(image.alpha, first.alpha)
    assert tags(image.metadata.exif) == {**tags(first.metadata.exif), 0x0112: 1}
