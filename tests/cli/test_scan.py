import inspect
import os
import pathlib
import sys

import pytest

from raeg_jax.cli.scan import check_paths, find_images, output_names, survey
from raeg_jax.errors import UserError
from tests.cli.conftest import pixels, save


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "b.PNG"], ["a.png", "b.png"]),
        (["a.jpg", "a.bmp"], ["a.jpg.png", "a.bmp.png"]),
        # What has the suffix keeps its name, so that it has it again once it is recovered.
        (["a.jpg", "a.png"], ["a.jpg.png", "a.png"]),
        (["A.png", "a.png", "a.PNG"], ["A.png", "a.png", "a.PNG.png"]),
        (["A.jpg", "a.bmp"], ["A.png", "a.png"]),
        # The longer name of one is what another would be called.
        (["a.jpg", "a.png", "a.jpg.jpg"], ["a.jpg.png", "a.png", "a.jpg.jpg.png"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg.png.png", "a.png", "a.jpg.png"]),
        (["a.b.jpg", "a.b"], ["a.b.png", "a.png"]),
    ],
)
def test_outputs_in_one_folder_have_different_names(names, expected):
    assert named(names) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["A.jpg", "a.bmp"], ["A.jpg.png", "a.bmp.png"]),
        (["a.jpg", "A.JPG"], ["a.jpg.png.png", "A.JPG.png"]),
        (["a.png", "A.png"], ["a.png.png", "A.png"]),
        (["caf\u00e9.png", "cafe\u0301.png"], ["caf\u00e9.png.png", "cafe\u0301.png"]),
    ],
)
def test_names_differ_in_more_than_case_where_it_does_not_count(names, expected):
    assert named(names, ignores_case=True) == expected
    assert named(names[::-1], ignores_case=True) == expected[::-1]


def named(names, **options):
    return list(output_names(dict(zip(names, names, strict=True)), ".png", **options).values())


@pytest.fixture
def source(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "b/c/3.heic", "a.tif", "notes.txt", ".x.png", ".d/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "5.gif").symlink_to(tmp_path / "nowhere")
    return tmp_path


def test_visible_images_are_found_in_order(source):
    found = [(image.name, image.output) for image in find_images(source, ".webp")]
    assert found == [
        ("5.gif", "5.webp"),
        ("a.tif", "a.webp"),
        ("b/1.png", "b/1.webp"),
        ("b/2.JPG", "b/2.webp"),
        ("b/c/3.heic", "b/c/3.webp"),
    ]
    assert all(image.source == source / image.name for image in find_images(source, ".webp"))


def test_outputs_are_named_after_the_originals_where_these_are_known(source):
    origins = {"b/1.png": "b/../x.jpg", "b/2.JPG": "b/x.png"}
    found = {image.name: image.output for image in find_images(source, ".png", origins)}
    assert (found["b/1.png"], found["b/2.JPG"]) == ("b/x.jpg.png", "b/x.png")


def test_a_survey_counts_images_and_names_what_is_left_out(source):
    found = survey(source)
    assert (found.images, found.folders) == (5, {"", "b"})
    assert (found.others, found.examples, found.unreadable) == (2, ["link", "notes.txt"], [])


def test_a_folder_that_can_not_be_listed_is_reported(source, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("b"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = survey(source)
    assert found.unreadable == [(str(source / "b"), "Permission denied")]
    assert found.images == 2


def test_any_number_of_folders_is_gone_down(tmp_path):
    (tmp_path / (100 * "d/")).mkdir(parents=True)
    (tmp_path / (100 * "d/") / "x.png").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        names = [image.name for image in find_images(tmp_path, ".png")]
    finally:
        sys.setrecursionlimit(limit)
    assert names == [100 * "d/" + "x.png"]


def test_a_name_that_is_not_unicode_is_walked_over(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / name).touch()
    (image,) = find_images(tmp_path, ".tiff")
    assert os.fsencode(image.output) == b"caf\xe9.tiff"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photos" / "a.jpg", pixels())
    (tmp_path / "there").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("out", "wanted", "folder", "output"),
    [
        ("b.png", None, ".", "b.png"),
        ("new/b.TIF", None, "new", "b.TIF"),
        ("new/b.tif", "TIF", "new", "b.tif"),
        ("there", None, "there", "a.png"),
        ("there", "webp", "there", "a.webp"),
        ("there", "png", "there", "a.png"),
        ("new", None, "new", "a.png"),
        ("new.d/", "tiff", "new.d", "a.tiff"),
    ],
)
def test_the_output_of_a_file_is_a_file_or_goes_into_a_folder(here, out, wanted, folder, output):
    paths = check_paths("photos/a.jpg", out, wanted)
    assert (paths.out, paths.single.output) == (pathlib.Path(folder), output)
    assert (paths.single.source, paths.single.name) == (pathlib.Path("photos/a.jpg"), "a.jpg")
    assert paths.suffix == os.path.splitext(output)[1]
    assert not (here / "new").exists()


def test_a_name_and_a_format_that_differ_are_refused(here):
    with pytest.raises(UserError, match=r"b\.png would not be the WEBP asked for"):
        check_paths("photos/a.jpg", "b.png", "webp")


def test_a_folder_by_another_name_is_recognised(here):
    (here / "link").symlink_to(here / "photos")
    for source, out in (("photos", "link"), ("link", "photos/out"), ("photos", "there/../photos")):
        with pytest.raises(UserError, match="is in the source folder"):
            check_paths(source, out, None)
    with pytest.raises(UserError, match="is in the output folder"):
        check_paths("link", ".", None)


def test_a_file_by_another_name_is_recognised(here):
    os.link("photos/a.jpg", "there/a.png")
    with pytest.raises(UserError, match=r"there/a\.png is the source itself"):
        check_paths("photos/a.jpg", "there", None)


def test_what_is_neither_file_nor_folder_is_refused(here):
    os.mkfifo("pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png is neither a file nor a folder"):
        check_paths("pipe.png", "there", None)
