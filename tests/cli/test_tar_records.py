"""WebDataset tars there and back."""

import re
import tarfile

import numpy as np
import pytest

from raeg_jax.cli.manifest import NAME
from raeg_jax.image_file.read import decode_image_file
from raeg_jax.payload.seal import find_payload, open_sealed
from tests.cli import documented, tars
from tests.cli.conftest import KEY, files
from tests.cli.fake_codec import CLASS_NAMES


@pytest.fixture
def source(tmp_path):
    return tars.prepare(tmp_path / "data")


def pictures(path):
    """Images of a tar by name without suffix."""
    found = {}
    for name, (_, content) in tars.members(path).items():
        if name.lower().endswith((".jpg", ".png")):
            found[name[:-4]] = decode_image_file(content, name)
    return found


def test_tars_go_there_and_back(raeg, source, tmp_path):
    result = raeg("protect", source, tmp_path / "out")
    assert result.out.startswith("5 images protected; payload in the pixels of 5")
    result = raeg("verify", tmp_path / "out", "--originals", source)
    assert result.out.count("exact   train/0") == 5
    result = raeg("recover", tmp_path / "out", tmp_path / "back")
    assert result.out.startswith("5 images recovered")
    for name in ("train/00.tar", "train/01.tar"):
        before, out, back = (
            tars.members(f / name) for f in (source, tmp_path / "out", tmp_path / "back")
        )
        for other in (out, back):
            assert [n.replace(".png", ".JPG") for n in other] == list(before)
            for member, (header, content) in before.items():
                if member.endswith(".JPG"):
                    image, _ = other[member.replace(".JPG", ".png")]
                    changed = {"name", "size", "chksum"}
                    assert {k for k in header if header[k] != image[k]} == changed
                else:
                    assert other[member] == (header, content)
        before, out, back = (
            pictures(f / name) for f in (source, tmp_path / "out", tmp_path / "back")
        )
        for key, picture in before.items():
            assert out[key].format == "PNG"
            assert np.any(out[key].pixels != picture.pixels)
            np.testing.assert_array_equal(back[key].pixels, picture.pixels)
    again = raeg("protect", source, tmp_path / "out")
    assert again.out == "0 images protected; 5 were done before\n"


def test_a_single_tar_goes_into_a_folder(raeg, source, tmp_path):
    one = source / "train" / "00.tar"
    raeg("protect", one, source / "train" / "out")
    raeg("verify", source / "train" / "out" / "00.tar", "--originals", one)
    for out in (source / "train", tmp_path / "other.tar"):
        result = raeg("protect", one, out, status=2)
        assert f"{out} " in result.err


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_stay(raeg, tmp_path, form):
    name = "x" * 120
    members = [
        (f"{name}.{kind}", content)
        for kind, content in [("JPG", tars.sample(1)[1][1]), ("txt", b"t")]
    ]
    tars.write(tmp_path / "data" / "a.tar", [members], form)
    raeg("protect", tmp_path / "data", tmp_path / "out")
    assert list(tars.members(tmp_path / "out" / "a.tar")) == [f"{name}.png", f"{name}.txt"]


def test_webdataset_reads_what_is_written(raeg, source, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    raeg("protect", source, tmp_path / "out")
    paths = sorted(map(str, (tmp_path / "out").rglob("*.tar")))
    rows = list(webdataset.WebDataset(paths, shardshuffle=False).decode("rgb8"))
    assert [row["__key__"] for row in rows] == [f"a/{number:04}" for number in range(5)]
    assert [row["cls"] for row in rows] == [0, 1, 2, 0, 1]
    assert rows[0]["png"].shape == (24, 24, 3)
    # And what its writer writes is read.
    with webdataset.TarWriter(str(tmp_path / "data" / "theirs.tar")) as writer:
        writer.write({"__key__": "k", "png": rows[0]["png"] ^ 1, "cls": 2})
    raeg("protect", tmp_path / "data" / "theirs.tar", tmp_path / "more")
    assert list(tars.members(tmp_path / "more" / "theirs.tar")) == ["k.cls", "k.png"]


@pytest.mark.parametrize(
    ("texts", "names", "arguments", "expected"),
    [
        (CLASS_NAMES, (), (), [0, 1, 2]),
        (("0", "2", "1"), CLASS_NAMES, (), [0, 2, 1]),
        (("0", "2", "1"), (), (), [None] * 3),
        (("ibis", "heron", "ibis"), (), (), [None] * 3),
        (CLASS_NAMES, (), ("--labels", "none"), [None] * 3),
    ],
)
@pytest.mark.parametrize("kind", ["cls", "json"])
def test_labels_are_what_samples_say(raeg, tmp_path, kind, texts, names, arguments, expected):
    samples = []
    for number, text in enumerate(texts):
        content = text if kind == "cls" else f'{{"label": "{text}"}}'
        samples.append([tars.sample(number)[1], (f"a/{number:04}.{kind}", content.encode())])
    tars.write(tmp_path / "data" / "a.tar", samples)
    if names:
        (tmp_path / "data" / "classnames.txt").write_text("\n".join(names))
    result = raeg("protect", tmp_path / "data", tmp_path / "out", *arguments)
    assert ("classes by a.tar: all" in result.err) == (expected != [None] * 3)
    found = pictures(tmp_path / "out" / "a.tar").values()
    labels = [int(open_sealed(find_payload(p).blob, KEY).side_info[0, 0]) for p in found]
    # The fake writes the number of classes for an image whose label isn't given.
    assert labels == [len(CLASS_NAMES) if label is None else label for label in expected]


def test_a_class_that_only_a_later_tar_has_fails(raeg, tmp_path):
    for name, text in (("a", b"ibis"), ("b", b"heron")):
        tars.write(tmp_path / "data" / f"{name}.tar", [[tars.sample(1)[1], ("a/0001.cls", text)]])
    result = raeg("protect", tmp_path / "data", tmp_path / "out", status=1)
    assert "b.tar, sample a/0001, has the class heron, which the generator doesn't" in result.err
    assert files(tmp_path / "out") == [NAME, "a.tar"]


def test_what_is_in_no_sample_is_left_out(raeg, tmp_path):
    extra = [("README", b"me"), ("__about__/x.jpg", b"?"), ("._0001.jpg", b"?")]
    tars.write(tmp_path / "data" / "a.tar", [extra[:2], tars.sample(1), extra[2:]])
    raeg("protect", tmp_path / "data", tmp_path / "out")
    assert list(tars.members(tmp_path / "out" / "a.tar")) == [
        "a/0001.json",
        "a/0001.png",
        "a/0001.cls",
    ]


def renamed(members, name):
    return [(f"{name}.{member.partition('.')[2]}", content) for member, content in members]


BAD = {
    "a sample without an image": tars.sample(9)[::2],
    "a sample with two images": [*tars.sample(9), ("a/0009.mask.png", b"?")],
    "a sample with two members of one name": [*tars.sample(9), ("a/0009.cls", b"?")],
    "a second sample of one key": renamed(tars.sample(9), "a/0001"),
    "a sample whose image is damaged": tars.sample(9, b"\xff\xd8\xff"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sample_is_left_out_and_reported_by_every_run(raeg, tmp_path, name):
    source = tmp_path / "data"
    tars.write(source / "a.tar", [tars.sample(1), tars.sample(2), BAD[name], tars.sample(3)])
    for done in ("3 images protected; ", "0 images protected; 3 were done before; 1 failed"):
        result = raeg("protect", source, tmp_path / "out", status=1)
        assert result.out.startswith(done)
        (failed,) = (line for line in result.err.splitlines() if line.startswith("failed: "))
        documented.check(name, result.status, failed)
    names = list(tars.members(tmp_path / "out" / "a.tar"))
    assert [name for name in names if name.endswith("cls")] == [
        f"a/000{number}.cls" for number in (1, 2, 3)
    ]


BROKEN = {
    "a truncated tar": lambda content, end: content[: end - 700],
    "a tar that was cut between members": lambda content, end: content[:end],
    "a compressed tar": lambda content, end: b"\x1f\x8b" + content,
    "two tars in one file": lambda content, end: content + content,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_tar_is_reported_and_the_others_are_done(raeg, source, tmp_path, name):
    path = source / "train" / "00.tar"
    with tarfile.open(path) as tar:
        tar.getmembers()
        end = tar.offset
    path.write_bytes(BROKEN[name](path.read_bytes(), end))
    result = raeg("protect", source, tmp_path / "out", status=1)
    (failed,) = (line for line in result.err.splitlines() if line.startswith("failed: "))
    documented.check(name, result.status, failed)
    assert re.match("2 images protected", result.out)
    assert files(tmp_path / "out") == [NAME, "train/01.tar"]


def test_a_folder_of_both_kinds_is_refused(raeg, source, tmp_path):
    (source / "more.parquet").touch()
    result = raeg("protect", source, tmp_path / "out", status=2)
    assert f"{source} holds .parquet and .tar files: name a folder of one" in result.err


def test_options_for_files_are_refused(raeg, source, tmp_path):
    result = raeg("protect", source, tmp_path / "out", "--format", "webp", status=2)
    assert "is a data set, whose images are written as PNG: leave --format out" in result.err
    result = raeg("protect", source, tmp_path / "out", "--labels", "folders", status=2)
    assert "--labels folders is impossible" in result.err


def test_originals_must_have_the_same_tars(raeg, source, tmp_path):
    raeg("protect", source, tmp_path / "out")
    tars.write(source / "train" / "02.tar", [tars.sample(9)])
    result = raeg("verify", tmp_path / "out", "--originals", source, status=2)
    assert "so which belong together isn't known" in result.err
    (source / "train" / "02.tar").unlink()
    tars.write(source / "train" / "01.tar", [tars.sample(3)])
    result = raeg("verify", tmp_path / "out", "--originals", source, status=1)
    assert re.search("sample a/0004, has no original in .*01.tar: check --originals", result.out)
