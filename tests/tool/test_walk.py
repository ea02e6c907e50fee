import inspect
import os
import sys

import pytest

from raeg_jax.tool.walk import jobs, output_names, survey


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
    found = [(job.name, job.output) for job in jobs(source, ".webp")]
    assert found == [
        ("5.gif", "5.webp"),
        ("a.tif", "a.webp"),
        ("b/1.png", "b/1.webp"),
        ("b/2.JPG", "b/2.webp"),
        ("b/c/3.heic", "b/c/3.webp"),
    ]
    assert all(job.source == source / job.name for job in jobs(source, ".webp"))


def test_outputs_are_named_after_the_originals_where_these_are_known(source):
    origins = {"b/1.png": "b/../x.jpg", "b/2.JPG": "b/x.png"}
    found = {job.name: job.output for job in jobs(source, ".png", origins)}
    assert (found["b/1.png"], found["b/2.JPG"]) == ("b/x.jpg.png", "b/x.png")


def test_a_survey_counts_images_and_names_what_is_left_out(source):
    found = survey(source)
    assert (found.images, found.folders) == (5, {"", "b"})
    assert (found.others, found.examples, found.unreadable) == (2, ["link", "notes.txt"], [])


def test_a_folder_that_can_not_be_listed_is_told(source, monkeypatch):
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
        names = [job.name for job in jobs(tmp_path, ".png")]
    finally:
        sys.setrecursionlimit(limit)
    assert names == [100 * "d/" + "x.png"]


def test_a_name_that_is_not_unicode_is_walked_over(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / name).touch()
    (job,) = jobs(tmp_path, ".tiff")
    assert os.fsencode(job.output) == b"caf\xe9.tiff"
