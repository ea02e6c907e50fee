"""The benchmark of files: what it counts, with a tool that needs no network."""

import json
import shutil

import numpy as np
import pytest
import subprocess_timing
from absl.testing import flagsaver
from PIL import Image

from raeg_jax import cli, hiding
from raeg_jax.errors import UserError
from raeg_jax.payload.key import write_key
from tests.benchmarks.loading import load_benchmark
from tests.cli import fake_codec
from tests.cli.conftest import KEY, pixels, save


@pytest.fixture(scope="module")
def benchmark():
    yield from load_benchmark("files")


@pytest.fixture
def folders(tmp_path):
    """Three originals, and what a tool without fault makes of them."""
    jobs = []
    for index in range(3):
        image = pixels(index)
        source = save(tmp_path / "photos" / f"{index}.png", image)
        save(tmp_path / "protected" / f"{index}.png", image ^ 1)
        save(tmp_path / "recovered" / f"{index}.png", image)
        jobs.append((source, f"{index}.png"))
    return jobs, tmp_path / "protected", tmp_path / "recovered"


def test_files_without_fault_are_exact(benchmark, folders):
    found = benchmark.compare(*folders)
    assert (found["images"], found["exact"], found["missing"], found["wrong"]) == (3, 3, [], {})
    assert found["megapixels"] == pytest.approx(3 * 24 * 24 / 1e6)
    assert found["psnr_mean"] == pytest.approx(48.13, abs=0.01)
    jobs, protected, _ = folders
    assert found["bytes_originals"] == sum(source.stat().st_size for source, _ in jobs)
    assert found["bytes_protected"] == sum(path.stat().st_size for path in protected.iterdir())


def test_wrong_and_missing_files_are_not_exact(benchmark, folders):
    jobs, protected, recovered = folders
    image = pixels(1)
    image[0, 0, 0] ^= 1
    image[5, 5, 2] ^= 1
    save(recovered / "1.png", image)
    (recovered / "2.png").unlink()
    found = benchmark.compare(jobs, protected, recovered)
    assert (found["images"], found["exact"]) == (3, 1)
    assert (found["missing"], found["wrong"]) == (["2.png"], {"1.png": 2})
    shutil.rmtree(protected)
    found = benchmark.compare(jobs, protected, recovered)
    assert (found["exact"], found["psnr_mean"]) == (0, None)


def test_the_least_psnr_is_of_the_worst_file(benchmark, folders):
    jobs, protected, recovered = folders
    save(protected / "1.png", pixels(1) ^ 2)
    found = benchmark.compare(jobs, protected, recovered)
    assert found["psnr_least"] == pytest.approx(42.11, abs=0.01)
    assert found["psnr_mean"] == pytest.approx((2 * 48.13 + 42.11) / 3, abs=0.01)


def test_a_payload_costs_the_decibels_that_go_with_it(benchmark, folders):
    jobs, protected, _ = folders
    assert benchmark.payload_costs(jobs, protected) is None
    bare = pixels(1, 64, 64) // 2 + 60
    jobs[0] = save(jobs[0][0], bare ^ 4), jobs[0][1]
    save(protected / "0.png", hiding.embed(bare, b"some message"))
    cost = benchmark.payload_costs(jobs, protected)
    marked = hiding.embed(bare, b"some message").astype(float) - (bare ^ 4)
    assert cost == pytest.approx(10 * np.log10(np.mean(marked**2) / 16), abs=1e-6)
    assert cost > 0


def test_the_last_line_of_a_source_counts(benchmark):
    lines = [
        {"generator": "ab"},
        {"source": "a", "failed": "why"},
        {"source": "b", "payload": "chunk"},
        {"source": "a", "payload": "pixels"},
        {"source": "c", "payload": "pixels"},
        {"source": "c", "failed": "why"},
    ]
    found = benchmark.payloads([json.dumps(line) for line in lines])
    assert found == {"generator": "ab", "payload_in_pixels": 1, "payload_in_chunk": 1}


def run(benchmark, folder, **given):
    given = {"source": str(folder / "photos"), "out": str(folder / "out"), **given}
    for name in ("key", "generator"):
        given.setdefault(name, str(folder / name))
    with flagsaver.flagsaver(**given):
        benchmark.main()
    return json.loads((folder / "out" / "files.json").read_text())


@pytest.fixture
def owner(tmp_path, monkeypatch):
    """A folder with key, generator and originals; the tool has the codec without network."""
    write_key(tmp_path / "key", KEY)
    (tmp_path / "generator").write_bytes(b"generator 1")
    for index in range(5):
        save(tmp_path / "photos" / "deep" / f"{index}.png", pixels(index))
    save(tmp_path / "photos" / "grey.png", pixels(9)[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "photos" / "turned.jpg", pixels(8, 24, 32), exif=exif)
    save(tmp_path / "photos" / "tiny.png", pixels(7, 12, 12))
    fake_codec.install(monkeypatch.setattr)
    monkeypatch.setattr(
        subprocess_timing,
        "run",
        lambda command: subprocess_timing.Usage(cli.main(command[3:]), 0.5, 2**21),
    )
    return tmp_path


def test_the_tool_is_run_both_ways(benchmark, owner):
    found = run(benchmark, owner)
    assert (found["images"], found["exact"]) == (8, 8)
    assert (found["payload_in_pixels"], found["payload_in_chunk"]) == (7, 1)
    assert found["megapixels"] == pytest.approx((6 * 24**2 + 24 * 32 + 12**2) / 1e6)
    for way in ("protect", "recover"):
        assert found[way] == {
            "seconds": 0.5,
            "images_per_s": 16,
            "megapixels_per_s": pytest.approx(2 * found["megapixels"]),
            "peak_mib": 2,
        }
    row = (owner / "out" / "files.md").read_text().splitlines()
    assert row[0].startswith("| images | exact | wrong pixels |")
    assert row[2].startswith("| 8 | 8 | 0 | 7 | 1 |")
    assert len({line.count("|") for line in row}) == 1
    with pytest.raises(UserError, match="holds something"):
        run(benchmark, owner)


def test_files_that_fail_are_missing_and_do_not_stop_it(benchmark, owner):
    (owner / "photos" / "deep" / "broken.png").write_bytes(b"no image")
    found = run(benchmark, owner)
    assert (found["images"], found["exact"], found["missing"]) == (9, 8, ["deep/broken.png"])


def test_only_so_many_images_are_taken(benchmark, owner):
    found = run(benchmark, owner, max_images=3)
    assert (found["images"], found["exact"]) == (3, 3)
    protected = owner / "out" / "protected"
    assert len(list(protected.rglob("*.png"))) == 3


def test_what_cannot_be_run_is_told(benchmark, owner):
    for flag in ("key", "generator", "source"):
        with pytest.raises(UserError, match=f"--{flag}=.*typo: there is no such"):
            run(benchmark, owner, **{flag: str(owner / "typo")})
    (owner / "key").write_text("no key")
    with pytest.raises(UserError, match="`raeg protect` ended with status 2"):
        run(benchmark, owner)
