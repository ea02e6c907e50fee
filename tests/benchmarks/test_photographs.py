"""The benchmark of photographs, all its parts, with networks that cost next to nothing."""

import json

import changed_photographs
import numpy as np
import photograph_readings
import pytest
from absl.testing import flagsaver
from changed_photographs import Changes, Photograph, at_distance
from PIL import Image
from skimage.data import astronaut

from raeg_jax.errors import UserError
from raeg_jax.image.metrics import file_mse
from raeg_jax.payload.key import draw_planes
from raeg_jax.payload.payload import NONCE_SIZE
from raeg_jax.protection.against import generator_against
from raeg_jax.protection.loaded_generator import save_generator
from raeg_jax.protection.recover import Recoverer
from tests.benchmarks.loading import load_benchmark
from tests.networks import tiny_published

READERS = ("one.safetensors", "other.safetensors")
PARTS = {"n01855672/a": np.s_[:80, 150:270], "n02981792/b": np.s_[300:390, 100:180]}
SETTINGS = {"views": ("crop", "whole"), "momentum": 0.5, "attack_steps": 2}
# Networks are compiled for several sizes.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def folder(patch, tmp_path_factory):
    tiny_published.register(patch)
    folder = tmp_path_factory.mktemp("photographs")
    for seed, name in enumerate(READERS):
        tiny_published.write(folder / name, seed)
    for name, part in PARTS.items():
        path = folder / "images" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(astronaut()[part]).save(path)
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    generator = generator_against([folder / READERS[0]], psnr=34.0, rounds=1, **SETTINGS)
    save_generator(folder / "tiny.raeg", generator)
    return generator


@pytest.fixture(scope="module")
def benchmark():
    yield from load_benchmark("photographs")


def run(benchmark, folder, out, **given):
    flags = {
        "images": [str(folder / "images")],
        "generator": str(folder / "tiny.raeg"),
        "readers": [str(folder / name) for name in READERS],
        "psnrs": ["36"],
        "out": str(out),
    }
    with flagsaver.flagsaver(**flags | given):
        benchmark.main()
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def results(benchmark, folder, generator):
    return run(benchmark, folder, folder / "results.json", counter=1, guesses=2)


def test_all_is_measured(results, folder, generator):
    assert (results["generator"], results["targets"]) == (generator.id.hex(), [READERS[0]])
    (measured,) = results["folders"].values()
    assert measured["photographs"] == 2
    ways = ["bicubic", "bilinear", "squash", "JPEG 90", "JPEG 75", "JPEG 50", "blur 1", "half size"]
    at = measured["psnrs"]["36"]
    for kind in ("protected", "noise", "pgd"):
        assert list(at[kind]) == list(READERS)
        for by_way in at[kind].values():
            assert list(by_way) == ways
            assert set(by_way["squash"]) == {"kept", "median_rank", "closed_set_accuracy"}
    assert at["protection"]["not_exact"] == []
    assert at["protection"]["recover_seconds"]["largest"] > 0
    counter = at["counter"]
    assert (counter["photographs"], counter["rounds"], counter["tokens"]) == (1, 1, 2)
    assert list(counter["guesses"]) == ["2nd", "3rd", "4th", "5th", "2nd to 5th", "known"]
    for guess in counter["guesses"].values():
        for shares in guess.values():
            assert 0 <= shares["mean"] <= shares["best"] <= 1
            assert 0 <= shares["mean_image"] <= 1
    for name in READERS:
        # What a reading is compared with is itself.
        own = measured["original"][name]["bicubic"]
        assert (own["kept"], own["median_rank"]) == (1, 1)
    # The attack knows the target; noise knows nothing.
    kept = {kind: at[kind][READERS[0]]["bicubic"]["kept"] for kind in ("pgd", "noise")}
    assert kept["pgd"] < kept["noise"]


def test_controls_are_as_far_from_the_photograph_as_the_protected_file(results, folder):
    (root,) = (folder / "results").iterdir()
    for name in PARTS:
        original = np.asarray(Image.open(folder / "images" / f"{name}.png"))
        protected, *controls = (
            file_mse(np.asarray(Image.open(path)), original)
            for kind in ("protected", "noise", "pgd")
            for path in [root / "images" / "36" / kind / f"{name}.png.png"]
        )
        assert protected > 1
        np.testing.assert_allclose(controls, protected, rtol=0.02)


def test_what_was_made_and_read_is_taken_from_its_files(
    benchmark, folder, results, monkeypatch, capsys
):
    def fail(*_):
        raise AssertionError("made or read again")

    for name in ("_protect", "_turned_back"):
        monkeypatch.setattr(Changes, name, fail)
    monkeypatch.setattr(changed_photographs, "_keep", fail)
    monkeypatch.setattr(photograph_readings, "_inputs", fail)
    assert run(benchmark, folder, folder / "results.json", counter=1, guesses=2) == results
    tables = capsys.readouterr().out
    assert "| 36 | 0 of 2 |" in tables
    assert "| pgd 36 dB | other.safetensors |" in tables


def test_who_had_the_owners_token_would_get_the_photograph_back(generator, tmp_path, monkeypatch):
    source = Photograph(tmp_path / "a.png", "a.png")
    pixels = 40 + astronaut()[:80, 150:270] // 2
    Image.fromarray(pixels).save(source.path)
    changes = Changes(generator, tmp_path / "results")
    facts = changes.protect(source, 34.0).values
    assert (facts["exact"], facts["rounds"], facts["part"]) == (True, 1, 32)
    original = changes.original(source).facts
    guess = source, 34.0, facts["label"], 1
    (guessed,), mean = changes.guess(*guess, 1, original)
    assert file_mse(guessed.load(), pixels) > 0.3 * facts["mse"]
    np.testing.assert_array_equal(mean.load(), guessed.load())
    owner = changed_photographs._KEY.token_key, source.bytes("nonce", NONCE_SIZE)
    monkeypatch.setattr(
        changed_photographs, "draw_planes", lambda *args: draw_planes(*owner, *args[2:])
    )
    np.testing.assert_array_equal(changes._turned_back(*guess, 0), pixels)


def test_photographs_that_do_not_come_back_are_named(
    benchmark, folder, generator, monkeypatch, capsys
):
    recover = Recoverer.recover
    damaged = np.asarray(Image.open(folder / "images" / "n02981792/b.png")).shape

    def recover_badly(self, images, blobs=None):
        (result,) = recover(self, images, blobs)
        if result.pixels.shape == damaged:
            result.pixels[0, 0, 0] ^= 1
        return [result]

    monkeypatch.setattr(Recoverer, "recover", recover_badly)
    results = run(benchmark, folder, folder / "bad.json", kinds=["protected"])
    at = results["folders"]["images"]["psnrs"]["36"]
    assert at["protection"]["not_exact"] == ["n02981792/b.png"]
    assert "| 36 | 1 of 2 |" in capsys.readouterr().out


def test_an_image_is_displaced_to_a_distance():
    image = astronaut()[:64, :64]
    direction = np.random.default_rng(0).normal(0, 9, image.shape).astype(np.float32)
    for mse in (0.5, 20.0):
        assert file_mse(at_distance(image, direction, mse), image) == pytest.approx(mse, rel=0.01)
    # There is no such distance.
    np.testing.assert_array_equal(at_distance(image, 0 * direction, 1.0), image)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": ["jpeg"]}, "--kinds=jpeg is unknown"),
        ({"psnrs": ["high"]}, "--psnrs=high: write numbers"),
        ({"out": "results"}, "a .json file"),
        ({"images": ["a", "b/a"]}, "called alike"),
    ],
)
def test_impossible_flags(benchmark, folder, monkeypatch, given, message):
    monkeypatch.chdir(folder)
    for name in ("a", "b/a"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (
        flagsaver.flagsaver(
            **{"images": ["images"], "readers": ["one.safetensors"], "out": "x.json"} | given
        ),
        pytest.raises(UserError, match=message),
    ):
        benchmark.main()
