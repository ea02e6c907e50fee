"""Verifying: recovery in memory, comparison with originals, and what classifiers see."""

import re

import numpy as np
import pytest
from PIL import Image

from raeg_jax.cli import commands
from raeg_jax.cli.manifest import NAME
from tests.cli.conftest import files, pixels, save
from tests.cli.fake_codec import CLASS_NAMES, Recoverer
from tests.evaluation import onnx_files
from tests.networks import tiny_published


class Parity:
    """Sees a class in the lowest bit of an image's first sample, which protection flips."""

    def predict(self, images):
        return [CLASS_NAMES[image[0, 0, 0] & 1] for image in images]


@pytest.fixture
def out(raeg, photos, tmp_path):
    raeg("protect", photos, tmp_path / "out")
    return tmp_path / "out"


def tamper(path):
    image = pixels(77)
    path.unlink()
    save(path, image)


def test_a_line_for_each_image_and_nothing_is_written(raeg, out):
    before = files(out)
    result = raeg("verify", out)
    assert result.err.endswith(
        f"what classifiers see isn't reported, as {raeg.generator} has none: `raeg export WORKDIR "
        "GENERATOR --classifier NAME` adds one of a run, and --reader FILE asks another model\n"
    )
    *lines, last = result.out.splitlines()
    assert sorted(lines) == [
        f"exact   {name}.png"
        for name in ("anchor/deep/two", "anchor/one", "ibis/small", "ibis/three", "top")
    ]
    assert last == "5 images verified; payload in the pixels of 4, in a PNG chunk of 1"
    assert files(out) == before


def test_a_name_takes_one_line_whatever_it_holds(raeg, tmp_path):
    names = ("a\nexact   b.png", "c\x1b[2J\r.png", "d.png\n.txt")
    for name in names[:2]:
        save(tmp_path / "photos" / name, pixels())
    (tmp_path / "photos" / names[2]).touch()
    (tmp_path / "photos" / "e\n.png").touch()
    result = raeg("protect", tmp_path / "photos", tmp_path / "out", status=1)
    assert "such as d.png\\n.txt\n" in result.err
    assert "photos/e\\n.png is empty" in result.err
    lines = raeg("verify", tmp_path / "out").out.splitlines()
    assert sorted(lines)[1:] == [r"exact   a\nexact   b.png", r"exact   c\x1b[2J\r.png"]


def test_what_does_not_come_back_is_reported(raeg, out):
    tamper(out / "anchor" / "one.png")
    result = raeg("verify", out, status=1)
    assert "FAILED  anchor/one.png: no payload is in the pixels, and none is" in result.out
    assert result.out.endswith("; 1 failed\n")
    assert "failed" not in result.err


def test_a_single_file_is_verified(raeg, out):
    result = raeg("verify", out / "top.png")
    assert result.out.startswith("exact   top.png\n1 image verified")


def test_originals_are_compared(raeg, photos, out):
    assert raeg("verify", out, "--originals", photos).out.count("exact") == 5
    save(photos / "top.tiff", pixels(78))
    (photos / "anchor" / "one.png").unlink()
    result = raeg("verify", out, "--originals", photos, status=1)
    assert re.search(r"FAILED  .*/top\.png is recovered as it was protected, but the", result.out)
    assert re.search(r"FAILED  .*/anchor/one\.png has no original in .*/anchor: che", result.out)
    single = raeg(
        "verify", out / "ibis" / "three.png", "--originals", photos / "ibis" / "three.bmp"
    )
    assert single.out.startswith("exact   three.png")


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("with_manifest", [True, False])
def test_names_come_back_and_originals_are_found_however_similar(
    raeg, tmp_path, suffix, with_manifest
):
    names = ["A.png", "a.bmp", "a.bmp.png", "a.png", "s/a.jpg"]
    for number, name in enumerate(names):
        save(tmp_path / "photos" / name, pixels(number))
    out = tmp_path / "out"
    raeg("protect", tmp_path / "photos", out, "--format", suffix[1:])
    if not with_manifest:
        (out / NAME).unlink()
    for path in out.glob("a.bmp*"):
        raeg("verify", path, "--originals", tmp_path / "photos")
    raeg("verify", out, "--originals", tmp_path / "photos")
    raeg("recover", out, tmp_path / "back")
    back = files(tmp_path / "back")
    if with_manifest or suffix == ".png":
        assert back == [NAME, "A.png", "a.bmp.png", "a.bmp.png.png", "a.png", "s/a.png"]
        np.testing.assert_array_equal(Image.open(tmp_path / "back" / "A.png"), pixels(0))
    assert len(back) == 6


def test_no_output_replaces_another_where_case_does_not_count(raeg, tmp_path):
    """Such a file system takes this name for the manifest's, and so does the tool."""
    save(tmp_path / "out" / "x.png", pixels()).rename(tmp_path / "out" / NAME.upper())
    for number, name in enumerate(("A.png", "a.png")):
        save(tmp_path / "photos" / name, pixels(number))
    for _ in range(2):
        raeg("protect", tmp_path / "photos", tmp_path / "out", "--overwrite")
        assert files(tmp_path / "out") == [NAME.upper(), NAME, "A.png", "a.png.png"]
    raeg("recover", tmp_path / "out", tmp_path / "back")
    assert files(tmp_path / "back") == [NAME, "A.png", "a.png"]


def test_alpha_is_compared_too(raeg, tmp_path):
    image = np.dstack([pixels(), pixels(9)[..., 0]])
    save(tmp_path / "photos" / "a.png", image)
    raeg("protect", tmp_path / "photos", tmp_path / "out")
    raeg("verify", tmp_path / "out", "--originals", tmp_path / "photos")
    image[5, 5, 3] ^= 1
    save(tmp_path / "photos" / "a.png", image)
    raeg("verify", tmp_path / "out", "--originals", tmp_path / "photos", status=1)


def test_ctrl_c_promises_nothing_as_verifying_begins_anew(raeg, out, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Recoverer, "recover", interrupted)
    assert raeg("verify", out, status=130).err.endswith("\ninterrupted: 0 of 5 images done\n")


def test_impossible_originals_are_reported(raeg, photos, out):
    assert "nowhere doesn't exist" in raeg("verify", out, "--originals", "nowhere", status=2).err
    result = raeg("verify", out, "--originals", photos / "top.tiff", status=2)
    assert "top.tiff is a file, and" in result.err


def test_what_classifiers_see_is_reported(raeg, photos, out, monkeypatch):
    monkeypatch.setattr(commands, "make_readers", lambda *_: lambda _: {"parity": Parity()})
    tamper(out / "anchor" / "one.png")
    result = raeg("verify", out, status=1)
    lines = [line for line in result.out.splitlines() if line.startswith("exact")]
    assert len(lines) == 4
    seen = [re.search(r"; parity: protected (\w+), recovered (\w+)$", line) for line in lines]
    # Hiding a payload may change that bit again.
    misread = sum(match[1] != match[2] for match in seen)
    assert misread
    assert result.out.endswith(
        f"parity reads {misread} of 4 protected images otherwise than the originals\n"
    )
    result = raeg("verify", out, "--originals", photos, status=1)
    assert len(re.findall(r"original (\w+), protected \w+, recovered \1\n", result.out)) == 4


def test_models_of_the_user_read_the_images_too(raeg, out, monkeypatch, tmp_path):
    model = onnx_files.write(tmp_path / "mine.onnx")
    tiny_published.register(monkeypatch)
    weights = tmp_path / "tiny.safetensors"
    tiny_published.write(weights)
    options = ["--reader", model, "--reader", weights]
    result = raeg("verify", out, *options, "--preprocess", "resize=8,crop=8")
    kept = r"; mine\.onnx: protected class (\d), recovered class \1; tiny\.safetensors: protected "
    assert len(re.findall(kept, result.out)) == 5
    assert "mine.onnx reads 0 of 5 protected images otherwise than the originals\n" in result.out
    assert re.search(r"\ntiny\.safetensors reads \d of 5 protected images otherwise", result.out)
    assert "isn't reported" not in result.err
    before = files(out)
    for wrong, message in [
        (["--reader", model, "--reader", model], "another classifier 'mine.onnx'"),
        (["--reader", weights, "--preprocess", "crop=8"], "is for ONNX models"),
        (["--reader", model, "--preprocess", "crop=9"], "takes images of 8 x 8 pixels"),
        (["--reader", out / "top.png"], "not .png"),
    ]:
        assert message in raeg("verify", out, *wrong, status=2).err
    assert files(out) == before
