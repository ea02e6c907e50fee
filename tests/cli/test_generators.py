"""Which generator is used: the one that is given, or for each image its own of the package."""

import importlib.resources
import json
import re
import shutil

import numpy as np
import pytest

from raeg_jax.cli.manifest import NAME
from raeg_jax.evaluation import readers
from raeg_jax.image_file.read import read_image_file
from raeg_jax.protection import shipped
from tests.cli import documented
from tests.cli.conftest import pixels, save
from tests.cli.fake_codec import CLASS_NAMES


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with two generators, of which `small` protects by default."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "small.raeg").write_bytes(b"smallest generator")
    (folder / "photo.raeg").write_bytes(b"photograph generator")
    monkeypatch.setattr(importlib.resources, "files", lambda package: folder)
    monkeypatch.setattr(shipped, "SHIPPED", {"small": b"smallest", "photo": b"photogra"})
    monkeypatch.setattr(shipped, "DEFAULT", "small")
    return folder


@pytest.fixture
def protect(raeg, tmp_path):
    """Protects an image in the folder `out`, by default as a user does who names no generator."""

    def protect(number, generator=()):
        original = save(tmp_path / f"{number}.png", pixels(number))
        # Not into a folder, whose manifest would refuse another generator.
        return raeg("protect", original, tmp_path / "out" / original.name, *generator, generator=())

    (tmp_path / "out").mkdir()
    return protect


def loaded(result):
    return re.findall(r"loading the generator .*/(\w+)(?:\.raeg)?…", result.err)


def test_each_image_is_recovered_by_the_generator_that_its_payload_names(
    raeg, package, protect, tmp_path, monkeypatch
):
    assert loaded(protect(0)) == ["small"]
    assert loaded(protect(1, ("--generator", "photo"))) == ["photo"]
    assert loaded(raeg("recover", tmp_path / "out/0.png", tmp_path / "0", generator=())) == [
        "small"
    ]
    monkeypatch.setattr(shipped, "DEFAULT", "photo")
    assert loaded(protect(2)) == ["photo"]
    # As before the default was another.
    assert loaded(raeg("verify", tmp_path / "out/0.png", generator=())) == ["small"]
    result = raeg("recover", tmp_path / "out", tmp_path / "back", generator=())
    assert sorted(loaded(result)) == ["photo", "small"]
    for number in range(3):
        back = read_image_file(tmp_path / "back" / f"{number}.png").pixels
        np.testing.assert_array_equal(back, pixels(number))
    # What is given is for all images.
    result = raeg("recover", tmp_path / "out", tmp_path / "again", "--generator", "small", status=1)
    assert result.err.count("protected by the generator 70686f746f677261, but this is 736d61") == 2


def test_images_of_other_generators_and_keys_fail_and_nothing_is_loaded_for_them(
    raeg, package, protect, tmp_path
):
    protect(0, ("--generator", raeg.generator))
    raeg("keygen", tmp_path / "other")
    protect(1, ("--key", tmp_path / "other"))
    save(tmp_path / "out" / "2.png", pixels(2))
    result = raeg("recover", tmp_path / "out", tmp_path / "back", generator=(), status=1)
    assert loaded(result) == []
    failed = sorted(line for line in result.err.splitlines() if line.startswith("failed: "))
    kinds = "made by another, no generator given", "locked by another key", "never protected"
    for line, kind in zip(failed, kinds, strict=True):
        documented.check(kind, 1, line)
    assert "generator 67656e657261746f, and raeg-jax comes with small and photo only" in failed[0]


def test_a_run_resumes_though_the_default_has_changed(
    raeg, package, protect, tmp_path, monkeypatch
):
    protect(0)
    raeg("recover", tmp_path / "out", tmp_path / "back", generator=())
    head = json.loads((tmp_path / "back" / NAME).read_text().partition("\n")[0])
    assert head["generator"] == "shipped"
    monkeypatch.setattr(shipped, "DEFAULT", "photo")
    protect(1)
    result = raeg("recover", tmp_path / "out", tmp_path / "back", generator=())
    assert result.out.startswith("1 image recovered; payload in the pixels of 1")
    assert result.out.endswith("; 1 were done before\n")
    # Protecting with another generator is another run.
    (tmp_path / "photos").mkdir()
    shutil.move(tmp_path / "0.png", tmp_path / "photos")
    arguments = ("protect", tmp_path / "photos", tmp_path / "new", "--generator")
    raeg(*arguments, "small")
    result = raeg(*arguments[:-1], generator=(), status=2)
    assert "a run with generator 736d616c6c657374, and this run has 70686f746f677261" in result.err
    assert "1 were done before" in raeg(*arguments, "small").out


def test_a_file_of_a_shipped_generators_name_wins_and_a_folder_does_not(
    raeg, package, protect, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo").mkdir()
    assert loaded(protect(0, ("--generator", "photo"))) == ["photo"]
    assert "id 70686f746f677261" in shown(raeg, "out/0.png")
    (tmp_path / "photo").rmdir()
    (tmp_path / "photo").write_bytes(b"mine own")
    protect(1, ("--generator", "photo"))
    assert f"id {b'mine own'.hex()}" in shown(raeg, "out/1.png")
    # Nobody asked for it.
    monkeypatch.setattr(shipped, "DEFAULT", "photo")
    protect(2)
    assert "id 70686f746f677261 (photo, which comes with raeg-jax)" in shown(raeg, "out/2.png")


def shown(raeg, path):
    return re.sub(r"\ngenerator: +", "\nid ", raeg("inspect", path).out)


@pytest.mark.parametrize("command", ["protect", "recover", "verify"])
def test_an_installation_without_one_of_its_generators_is_told(raeg, package, protect, command):
    protect(0)
    (package / "photo.raeg").unlink()
    paths = [raeg.folder / "out"] + [raeg.folder / "back"] * (command != "verify")
    result = raeg(command, *paths, generator=(), status=2)
    documented.check("an installation without its generator", 2, result.err)
    assert not (raeg.folder / "back").exists()


class Same:
    """Reads one class in all images."""

    def predict(self, images):
        return CLASS_NAMES[:1] * len(images)


def test_classifiers_read_the_images_of_their_own_generator(
    raeg, package, protect, tmp_path, monkeypatch
):
    for number, name in enumerate(("small", "photo", "photo")):
        protect(number, ("--generator", name))
    monkeypatch.setattr(
        readers, "of_generator", lambda each: {"net": Same()} if each.id == b"photogra" else {}
    )
    result = raeg("verify", tmp_path / "out", generator=())
    assert sorted(result.out.splitlines())[1:] == [
        "exact   0.png",
        "exact   1.png; net: protected anchor, recovered anchor",
        "exact   2.png; net: protected anchor, recovered anchor",
        "net reads 0 of 2 protected images otherwise than the originals",
    ]
    assert "isn't reported" not in result.err
    result = raeg("verify", tmp_path / "out" / "0.png", generator=())
    assert "isn't reported, as the generators of these images have none: `raeg exp" in result.err
