"""A folder of images protected and recovered by the command `raeg`, and every file compared.

    raeg keygen owner.key
    python benchmarks/files.py --source=DIR --generator=G --key=owner.key --out=OUT

Runs `raeg protect` and `raeg recover` as a user would, each in a process of its own: time and
memory are the user's, with starting Python and compiling. Then each recovered file is read with
Pillow and compared with the original, pixel by pixel; PSNR and size are those of the protected
files. `OUT` gets the folders `protected` and `recovered`, `files.json`, and `files.md`, a row of a
table. For a large photograph see `benchmarks/photograph.py`.
"""

import json
import os
import pathlib
import statistics
from typing import Any

import inputs
import subprocess_timing
from absl import flags

from raeg_jax.config import command_line

_SOURCE = flags.DEFINE_string("source", "", "Folder of images.")
_GENERATOR = flags.DEFINE_string("generator", "", "Generator file.")
_KEY = flags.DEFINE_string("key", "", "Key file.")
_OUT = flags.DEFINE_string("out", "", "New folder of the results.")
_MAX_IMAGES = flags.DEFINE_integer(
    "max_images", 0, "Images, taken from all over the folder; 0 is all.", lower_bound=0
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images at a time.", lower_bound=1)
# Files on which the payload's cost is measured.
_COSTS = 200

# An original, and the name of what is made of it.
Job = tuple[pathlib.Path | str, str]


def main() -> None:
    """Runs the tool both ways, compares, prints and writes."""
    from raeg_jax.cli import scan
    from raeg_jax.cli.manifest import NAME
    from raeg_jax.config import run_config
    from raeg_jax.files import json_bytes, write_whole

    source = inputs.existing("source", _SOURCE.value)
    options = [*inputs.owner(_KEY, _GENERATOR), "--batch-size", str(_BATCH_SIZE.value)]
    names = [job.name for job in scan.find_images(source, ".png")]
    out = inputs.new_folder(_OUT.value)
    if len(some := inputs.spread(names, _MAX_IMAGES.value)) < len(names):
        inputs.link(source, some, out / "originals")
        source = out / "originals"
    protected, recovered = out / "protected", out / "recovered"
    ran = {
        "protect": run_tool("protect", source, protected, *options),
        "recover": run_tool("recover", protected, recovered, *options),
    }
    # A recovered file has the name of the protected one.
    jobs = [(job.source, job.output) for job in scan.find_images(source, ".png")]
    results = compare(jobs, protected, recovered)
    results["payload_costs_db"] = payload_costs(inputs.spread(jobs, _COSTS), protected)
    results |= payloads((protected / NAME).read_text().splitlines())
    for way, one in ran.items():
        results[way] = {
            "seconds": one.seconds,
            "images_per_s": results["images"] / one.seconds,
            "megapixels_per_s": results["megapixels"] / one.seconds,
            "peak_mib": one.peak_bytes / 2**20,
        }
    results |= {"batch_size": _BATCH_SIZE.value, "cores": os.cpu_count()}
    results["versions"] = run_config.versions()
    write_whole(out / "files.json", json_bytes(results))
    write_whole(out / "files.md", table(results).encode())
    print(table(results), end="")


def run_tool(*arguments):
    """Runs a command of the tool; files that fail don't stop the measurement."""
    from raeg_jax.cli.report import FAILED
    from raeg_jax.errors import UserError

    ran = subprocess_timing.run(subprocess_timing.command(*arguments))
    if ran.status not in (0, FAILED):
        raise UserError(f"`raeg {arguments[0]}` ended with status {ran.status}: see above why")
    return ran


def compare(jobs: list[Job], protected: pathlib.Path, recovered: pathlib.Path) -> dict[str, Any]:
    """Compares all files.

    Args:
      jobs: of all files.
      protected: folder of protected files.
      recovered: folder of recovered files.

    Returns:
      counts of images and pixels, names of wrong and missing files, PSNR and sizes. Pixels, PSNR
      and sizes are of those that aren't missing.
    """
    from file_pixels import colours, psnr, shown, wrong_pixels

    missing, wrong, pixels = [], {}, 0
    psnrs: list[float] = []
    sizes = {"originals": 0, "protected": 0}
    for source, name in jobs:
        if not ((protected / name).is_file() and (recovered / name).is_file()):
            missing.append(name)
            continue
        original = shown(source)
        if count := wrong_pixels(original, shown(recovered / name)):
            wrong[name] = count
        pixels += original.shape[0] * original.shape[1]
        psnrs.append(psnr(colours(original), colours(shown(protected / name))))
        sizes["originals"] += os.path.getsize(source)
        sizes["protected"] += os.path.getsize(protected / name)
    return {
        "images": len(jobs),
        "exact": len(jobs) - len(missing) - len(wrong),
        "missing": missing,
        "wrong": wrong,
        "megapixels": pixels / 1e6,
        "psnr_mean": statistics.fmean(psnrs) if psnrs else None,
        "psnr_least": min(psnrs, default=None),
        "bytes_originals": sizes["originals"],
        "bytes_protected": sizes["protected"],
    }


def payload_costs(jobs: list[Job], protected: pathlib.Path) -> float | None:
    """How many decibels the payloads cost.

    Args:
      jobs: as `compare`.
      protected: folder of protected files.

    Returns:
      The mean PSNR without less that with payload, over files that have it in their pixels; None
      where none has.
    """
    from file_pixels import colours, psnr, shown

    from raeg_jax import hiding

    costs = []
    for source, name in jobs:
        if not (protected / name).is_file():
            continue
        original, marked = colours(shown(source)), colours(shown(protected / name))
        try:
            bare, _ = hiding.extract(marked)
        except hiding.NotMarkedError:
            continue
        costs.append(psnr(original, bare) - psnr(original, marked))
    return statistics.fmean(costs) if costs else None


def payloads(manifest: list[str]) -> dict[str, Any]:
    """What the lines of a manifest tell: the generator, and where payloads are."""
    head, *entries = map(json.loads, manifest)
    # The last line of a source counts.
    where = [entry.get("payload") for entry in {e["source"]: e for e in entries}.values()]
    return {
        "generator": head["generator"],
        "payload_in_pixels": where.count("pixels"),
        "payload_in_chunk": where.count("chunk"),
    }


def table(results: dict[str, Any]) -> str:
    """A table of one row."""
    cells = {
        "images": f"{results['images']}",
        "exact": f"{results['exact']}",
        "wrong pixels": f"{sum(results['wrong'].values())}",
        "payload in pixels": f"{results['payload_in_pixels']}",
        "in chunk": f"{results['payload_in_chunk']}",
    }
    if results["psnr_mean"] is not None:
        growth = results["bytes_protected"] / results["bytes_originals"]
        cells["PSNR, dB"] = f"{results['psnr_mean']:.2f}"
        if results["payload_costs_db"] is not None:
            cells["payload costs, dB"] = f"{results['payload_costs_db']:.2f}"
        cells["least"] = f"{results['psnr_least']:.2f}"
        cells["bytes, times"] = f"{growth:.2f}"
    for way in ("protect", "recover"):
        speed = results[way]
        cells[f"{way}, images/s"] = f"{speed['images_per_s']:.2f}"
        cells[f"{way}, MP/s"] = f"{speed['megapixels_per_s']:.3f}"
        cells[f"{way}, peak MiB"] = f"{speed['peak_mib']:.0f}"
    cells["both, s"] = f"{results['protect']['seconds'] + results['recover']['seconds']:.0f}"
    lines = (" | ".join(cells), "---:|" * len(cells), " | ".join(cells.values()))
    return f"| {lines[0]} |\n|{lines[1]}\n| {lines[2]} |\n"


if __name__ == "__main__":
    command_line.run_without_config(main)
