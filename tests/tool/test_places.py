import os
import pathlib

import pytest

from raeg_jax.errors import UserError
from raeg_jax.tool.places import check, suffix_of
from tests.tool.conftest import pixels, save


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photos" / "a.jpg", pixels())
    (tmp_path / "there").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("out", "suffix", "folder", "output"),
    [
        ("b.png", None, ".", "b.png"),
        ("new/b.TIF", None, "new", "b.TIF"),
        ("new/b.tif", ".tiff", "new", "b.tif"),
        ("there", None, "there", "a.png"),
        ("there", ".webp", "there", "a.webp"),
        ("new", None, "new", "a.png"),
        ("new.d/", ".tiff", "new.d", "a.tiff"),
    ],
)
def test_the_output_of_a_file_is_a_file_or_goes_into_a_folder(here, out, suffix, folder, output):
    places = check("photos/a.jpg", out, suffix)
    (job,) = places.jobs()
    assert (places.out, job.output) == (pathlib.Path(folder), output)
    assert (job.source, job.name) == (pathlib.Path("photos/a.jpg"), "a.jpg")
    assert places.suffix == os.path.splitext(output)[1]
    assert not (here / "new").exists()


def test_a_name_and_a_format_that_differ_are_refused(here):
    with pytest.raises(UserError, match=r"b\.png would not be the WEBP asked for"):
        check("photos/a.jpg", "b.png", ".webp")


def test_a_folder_by_another_name_is_recognised(here):
    (here / "link").symlink_to(here / "photos")
    for source, out in (("photos", "link"), ("link", "photos/out"), ("photos", "there/../photos")):
        with pytest.raises(UserError, match="is in the source folder"):
            check(source, out, None)
    with pytest.raises(UserError, match="is in the output folder"):
        check("link", ".", None)


def test_a_file_by_another_name_is_recognised(here):
    os.link("photos/a.jpg", "there/a.png")
    with pytest.raises(UserError, match=r"there/a\.png is the source itself"):
        check("photos/a.jpg", "there", None)


def test_what_is_neither_file_nor_folder_is_refused(here):
    os.mkfifo("pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png is neither a file nor a folder"):
        check("pipe.png", "there", None)


@pytest.mark.parametrize(("name", "suffix"), [("png", ".png"), ("TIF", ".tiff"), ("webp", ".webp")])
def test_formats_have_suffixes(name, suffix):
    assert suffix_of(name) == suffix
