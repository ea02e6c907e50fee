"""Time and memory that a manifest of many lines takes to be written and read.

    python benchmarks/manifest_size.py --out=OUT

Writes a manifest of `--lines` made-up claims into a new folder OUT, as `raeg protect` does, opens
it as a run that resumes does, and takes the originals' names from it as `raeg recover` does; each
in a process of its own. Writes `manifest_size.json`.
"""

import hashlib
import multiprocessing
import pathlib
import resource
import sys
import time
from collections.abc import Callable

import inputs
from absl import flags

from raeg_jax.cli.claims import Entry
from raeg_jax.cli.manifest import NAME, open_manifest, origins
from raeg_jax.config import command_line

_OUT = flags.DEFINE_string("out", "", "New folder of the manifest and the results.")
_LINES = flags.DEFINE_integer("lines", 1_000_000, "Claims in the manifest.", lower_bound=1)

# So many claims are written together; a run writes down 32, and waits for the disk each time.
_TOGETHER = 10_000
_SETTINGS = {"command": "protect"}


def main() -> None:
    """Writes, reads, prints."""
    folder = inputs.new_folder(_OUT.value)
    steps: dict[str, Callable[[pathlib.Path, int], int]] = {
        "written": write,
        "opened": resume,
        "originals": read_origins,
    }
    results: dict[str, object] = {"lines": _LINES.value}
    # Not forked: a process counts the memory of the one that it was forked from.
    context = multiprocessing.get_context("spawn")
    for name, step in steps.items():
        with context.Pool(1) as pool:
            results[name] = pool.apply(measured, (step, folder, _LINES.value))
    results["bytes_of_file"] = (folder / NAME).stat().st_size
    inputs.write_results(folder / "manifest_size.json", results)


def measured(
    step: Callable[[pathlib.Path, int], int], folder: pathlib.Path, lines: int
) -> dict[str, float]:
    """Seconds of a step, those of the processor, and MB by which it raised the peak of memory."""
    before, started, computing = peak_mb(), time.perf_counter(), time.process_time()
    count = step(folder, lines)
    assert count == lines, count
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "processor_seconds": round(time.process_time() - computing, 2),
        "peak_mb": round(peak_mb() - before, 1),
    }


def peak_mb() -> float:
    """Most memory that was resident so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def write(folder: pathlib.Path, lines: int) -> int:
    """Writes claims, as a run does that makes a PNG of each JPEG."""
    with open_manifest(folder, _SETTINGS) as manifest:
        for first in range(0, lines, _TOGETHER):
            manifest.claim(dict(map(claim, range(first, min(first + _TOGETHER, lines)))))
    return lines


def claim(number: int) -> tuple[str, tuple[Entry, dict]]:
    """A made-up claim."""
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    name = claim_name(number)
    entry = Entry(sha256, f"{name}.png", sha256[::-1], 100_000 + number, 10**18 + number)
    return f"{name}.jpg", (entry, {"payload": "pixels", "psnr": 34.123})


def resume(folder: pathlib.Path, lines: int) -> int:
    """Opens the manifest; returns the number of claims."""
    with open_manifest(folder, _SETTINGS) as manifest:
        return sum(manifest.get(f"{claim_name(number)}.jpg") is not None for number in range(lines))


def claim_name(number: int) -> str:
    """Name of a source, without suffix."""
    return f"n{number % 1000:08}/photograph_{number:09}"


def read_origins(folder: pathlib.Path, lines: int) -> int:
    """Takes the originals' names; returns their number."""
    return len(origins(folder))


if __name__ == "__main__":
    command_line.run_without_config(main)
