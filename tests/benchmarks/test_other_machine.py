"""The benchmark of other programs: both recover exactly, and what is wrong is counted."""

import json

import jax
import numpy as np
import pytest
from absl.testing import flagsaver

from raeg_jax.data.decode import encode_png
from raeg_jax.errors import UserError
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.payload.key import write_key
from raeg_jax.protection.loaded_generator import LoadedGenerator, save_generator
from raeg_jax.protection.protect import Protector
from tests.benchmarks.loading import load_benchmark
from tests.cli.conftest import save
from tests.image_file.files import put_chunk
from tests.payload.payloads import KEY
from tests.protection import generators

# Of one size; each is four tiles, of which some overlap others.
ORIGINALS = generators.photographs(3, 64, 40)


@pytest.fixture(scope="module")
def benchmark():
    yield from load_benchmark("other_machine")


def make(scale=1.0, **changes):
    """A generator of one level, whose programs are compiled fast."""
    changes = {"generator.blocks": (1,), "generator.widths": (4,), **changes}
    config = generators.settings(("learned",), **changes)
    params = generators.weights(unet_from_config(config.generator))["params"]
    return LoadedGenerator(config, generators.NAMES, jax.tree.map(lambda x: scale * x, params), {})


BUNDLE = make()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Originals, protected files, key and generator."""
    folder = tmp_path_factory.mktemp("other_machine")
    write_key(folder / "key", KEY)
    save_generator(folder / "generator", BUNDLE)
    (folder / "protected").mkdir()
    protected = Protector(BUNDLE, KEY, batch_size=2, tile=32).protect(ORIGINALS)
    for index, (original, one) in enumerate(zip(ORIGINALS, protected, strict=True)):
        save(folder / "photos" / f"{index}.png", original)
        png = encode_png(one.pixels)
        content = png if one.in_pixels else put_chunk(png, one.blob)
        (folder / "protected" / f"{index}.png").write_bytes(content)
    return folder


def run(benchmark, folder, out, **given):
    places = {"protected": "protected", "originals": "photos", "key": "key"}
    given = {name: str(folder / path) for name, path in places.items()} | given
    given.setdefault("generator", str(folder / "generator"))
    with flagsaver.flagsaver(out=str(out), batch_size=2, **given):
        benchmark.main()
    (path,) = out.iterdir()
    return path.name, json.loads(path.read_text())


@pytest.mark.parametrize("reference", [False, True])
def test_all_pixels_are_recovered_by_jax_and_by_numpy(benchmark, folder, tmp_path, reference):
    name, found = run(benchmark, folder, tmp_path, reference=reference)
    assert name == ("numpy.json" if reference else f"jax-{jax.__version__}.json")
    assert (found["images"], found["pixels"]) == (3, 3 * 64 * 40)
    assert (found["wrong_images"], found["wrong_pixels"], found["failed"]) == (0, 0, {})
    assert found["versions"]["jax"] == jax.__version__


def test_pixels_that_differ_are_counted_whatever_the_hash_says(benchmark, folder, tmp_path):
    changed = ORIGINALS[1].copy()
    changed[0, 0, 0] ^= 1
    changed[63, 31] ^= 1
    for index, original in enumerate((ORIGINALS[0], changed)):
        save(tmp_path / "photos" / f"{index}.png", original)
    originals = str(tmp_path / "photos")
    _, found = run(benchmark, folder, tmp_path / "out", reference=True, originals=originals)
    assert (found["images"], found["wrong_images"], found["wrong_pixels"]) == (2, 1, 2)
    assert list(found["wrong"].values()) == [2]


def test_other_weights_recover_other_pixels(benchmark, folder):
    jobs = [
        (folder / "photos" / f"{index}.png", folder / "protected" / f"{index}.png")
        for index in (0, 1)
    ]

    def open_one(path):
        return benchmark.opened(path, BUNDLE, KEY)

    with flagsaver.flagsaver(batch_size=2):
        found = benchmark.compare(jobs, open_one, benchmark.by_numpy(make(1.5)))
    assert found["wrong_images"] == 2
    assert found["wrong_pixels"] > 64 * 32


def test_what_cannot_be_opened_is_listed(benchmark, folder, tmp_path):
    for index in range(4):
        save(tmp_path / "photos" / f"{index}.png", ORIGINALS[0])
    save(tmp_path / "protected" / "0.png", ORIGINALS[0])
    content = bytearray((folder / "protected" / "1.png").read_bytes())
    (tmp_path / "protected" / "1.png").write_bytes(content[:-100])
    content = (folder / "protected" / "2.png").read_bytes()
    (tmp_path / "protected" / "2.png").write_bytes(content)
    _, found = run(
        benchmark,
        folder,
        tmp_path / "out",
        reference=True,
        originals=str(tmp_path / "photos"),
        protected=str(tmp_path / "protected"),
    )
    reasons = {name[-5:]: reason for name, reason in found["failed"].items()}
    assert "no message is hidden" in reasons["0.png"]
    assert "truncated" in reasons["1.png"]
    assert reasons["3.png"] == "missing"
    assert (found["images"], len(found["failed"]), found["wrong_images"]) == (4, 3, 1)


def test_the_reference_says_what_it_does_not_know(benchmark, folder, tmp_path):
    save_generator(tmp_path / "generator", make(**{"generator.mixing": "none"}))
    with pytest.raises(UserError, match="--reference: it knows mixing 'permutation' alone"):
        run(
            benchmark,
            folder,
            tmp_path / "out",
            reference=True,
            generator=str(tmp_path / "generator"),
        )


def test_lots_are_of_one_size(benchmark, tmp_path):
    sizes = [(8, 6), (6, 8), (8, 6), (8, 6), (6, 8)]
    jobs = []
    for index, size in enumerate(sizes):
        path = save(tmp_path / f"{index}.png", np.zeros((*size, 3), np.uint8))
        jobs.append((path, path))
    lots = [[job[0].stem for job in lot] for lot in benchmark.groups(jobs, 2)]
    assert lots == [["0", "2"], ["3"], ["1", "4"]]
