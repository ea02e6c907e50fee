"""The command with RAE and RIT: same files, same commands, no generator to recover."""

import numpy as np
import pytest
from PIL import Image

from raeg_jax import cli
from raeg_jax.methods.protector import TransformProtector
from raeg_jax.protection.loaded_generator import save_generator
from tests.methods.toys import picture
from tests.protection import generators

SIDE = 48
WEIGHTS = np.random.RandomState(0).randn(64, 64).astype(np.float32).repeat(4, 0).repeat(4, 1)


class Linear:
    """In place of a network, which takes long to compile; logits of `bundles.NAMES`."""

    def __call__(self, images):
        height, width = images.shape[1:3]
        weights = WEIGHTS[:height, :width, None]
        return np.float32([1, -1, 0]) * (images * weights).mean(axis=(1, 2, 3))[:, None]


@pytest.fixture
def raeg(tmp_path, capsys, monkeypatch):
    own = TransformProtector.__init__

    def simpler(self, method, logits_fns, key, **options):
        own(self, method, [Linear()], key, steps=2, **options)

    monkeypatch.setattr(TransformProtector, "__init__", simpler)
    save_generator(tmp_path / "generator", generators.make(("shortcut",)))
    cli.main(["keygen", str(tmp_path / "key")])

    def run(*arguments, status=0, generator=True):
        owner = ["--key", tmp_path / "key"]
        if generator and arguments[0] != "inspect":
            owner += ["--generator", tmp_path / "generator"]
        capsys.readouterr()
        ended = cli.main(list(map(str, (*arguments, *owner))))
        captured = capsys.readouterr()
        assert ended == status, captured.err
        return captured.out + captured.err

    return run


@pytest.fixture
def photos(tmp_path):
    """A folder of photographs: in colour, and a grey one with alpha."""
    folder = tmp_path / "photos" / generators.NAMES[1]
    folder.mkdir(parents=True)
    images = [picture("natural", SIDE, SIDE + 9, seed) for seed in (1, 2)]
    Image.fromarray(images[0]).save(folder / "colour.png")
    grey = np.stack([images[1][..., 0], images[1][..., 1]], axis=-1)
    Image.fromarray(grey, "LA").save(folder / "grey.png")
    return folder.parent


def same(one, other):
    found, wanted = (np.asarray(Image.open(path)) for path in (one, other))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("method", ["rae", "rit"])
def test_files_go_there_and_back(raeg, photos, tmp_path, method):
    out, back = tmp_path / "out", tmp_path / "back"
    told = raeg("protect", photos, out, "--method", method, "--psnr", 30)
    assert "2 images protected; payload in the pixels of 2" in told
    shown = raeg("inspect", next(out.rglob("colour.png")))
    assert f"made by {method.upper()}" in shown
    assert "auxiliary data:" in shown
    told = raeg("verify", out, "--originals", photos)
    assert told.count("exact   ") == 2
    # Any generator will do, such as the one that comes with the package.
    raeg("recover", out, back, generator=False)
    for path in photos.rglob("*.png"):
        same(back / path.relative_to(photos), path)
    told = raeg("protect", out, tmp_path / "twice", "--method", method, status=1)
    assert "is protected already" in told


def test_an_image_that_has_no_room_fails_alone(raeg, photos, tmp_path):
    noise = np.random.RandomState(0).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    Image.fromarray(noise).save(photos / "noise.png")
    told = raeg(
        "protect", photos, tmp_path / "out", "--method", "rae", "--labels", "none", status=1
    )
    assert "noise.png: RAE fails: " in told
    assert "or no --method" in told
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "rae", "--tries", "3"], "--tries=3 is for generators, not --method=rae"),
        (["--psnr", "30"], "psnr=30 can't be chosen for this generator"),
        (["--method", "rit", "--psnr", "200"], "--psnr=200 is impossible: it must be 5 to 80"),
        (["--method", "rit", "--psnr", "nan"], "--psnr=nan is impossible"),
    ],
)
def test_what_cannot_be_meant_is_said(raeg, photos, tmp_path, arguments, message):
    assert message in raeg("protect", photos, tmp_path / "out", *arguments, status=2)


def test_a_generator_without_classifiers_has_nothing_to_attack(raeg, photos, tmp_path):
    arguments = (photos, tmp_path / "out", "--method", "rae", "--generator", "small")
    told = raeg("protect", *arguments, generator=False, status=2)
    assert "this generator's file has none: give with --generator" in told
