"""Many small images: one process, shards at once, and Ray; images a second, and memory.

    raeg keygen owner.key
    python benchmarks/scale.py --source=DIR --generator=G --key=owner.key --out=OUT

Makes `--images` crops of the images in DIR, in OUT/originals, and protects them in the ways of
`--ways`: `one` process, `shards` of as many processes as `--workers` at once and then merged, and
`ray` with as many workers. Each second it looks how many images are claimed, and how much memory
each process has. Afterwards each manifest must claim every image once, and each output be there as
the manifest says. Writes `scale.json`; Linux only.
"""

import json
import os
import pathlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

import inputs
import processes
import subprocess_timing
import tqdm
from absl import flags
from PIL import Image

from raeg_jax.cli.claims import Claims, read
from raeg_jax.cli.manifest import NAME, is_as_written, manifest_path
from raeg_jax.config import command_line
from raeg_jax.errors import UserError
from raeg_jax.scale.shard import Shard

_SOURCE = flags.DEFINE_string("source", "", "Folder of images.")
_GENERATOR = flags.DEFINE_string("generator", "", "Generator file.")
_KEY = flags.DEFINE_string("key", "", "Key file.")
_OUT = flags.DEFINE_string("out", "", "New folder of the results.")
_IMAGES = flags.DEFINE_integer("images", 100_000, "Number of crops.", lower_bound=1)
_SIZE = flags.DEFINE_integer("size", 64, "Pixels a side of each.", lower_bound=32)
_WORKERS = flags.DEFINE_integer("workers", 2, "Shards, and workers of Ray.", lower_bound=1)
_WAYS = flags.DEFINE_list("ways", ["one", "shards", "ray"], "What is measured.")

_IN_A_FOLDER = 1000
_EARLY = 1000
_EVERY_SECONDS = 1.0


def main() -> None:
    """Makes crops, protects them, prints."""
    source = inputs.existing("source", _SOURCE.value)
    options = inputs.owner(_KEY, _GENERATOR)
    out = inputs.new_folder(_OUT.value)
    originals = out / "originals"
    make_crops(source, originals, _IMAGES.value, _SIZE.value)
    # Most of a short run would be compiling.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(out / "programs")
    few = out / "few"
    make_crops(source, few, 40, _SIZE.value)
    subprocess.run(subprocess_timing.command("protect", few, out / "warm", *options), check=True)
    results: dict[str, Any] = {"images": _IMAGES.value, "size": _SIZE.value}
    for way in _WAYS.value:
        folder = out / way
        results[way] = measured(commands(way, originals, folder, options), folder, way)
        if way == "shards":
            merging = subprocess_timing.run(subprocess_timing.command("merge", folder))
            results[way]["merge_seconds"] = round(merging.seconds, 1)
        if problem := wrong(folder, _IMAGES.value):
            raise UserError(f"{way}: {problem}")
        inputs.write_results(out / "scale.json", results)


def make_crops(source: pathlib.Path, folder: pathlib.Path, count: int, size: int) -> None:
    """Writes different crops of images."""
    from raeg_jax.data.source import images_in

    names, _ = images_in(source)
    for number, crop in enumerate(tqdm.tqdm(crops(source, names, count, size), total=count)):
        path = folder / f"{number // _IN_A_FOLDER:04}" / f"{number:07}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.save(path)


def crops(
    source: pathlib.Path, names: Sequence[str], count: int, size: int
) -> Iterator[Image.Image]:
    """Yields crops from many places of each image, before those of the next one."""
    each = -(-count // len(names))
    for number in range(count):
        index, place = divmod(number, each)
        if place == 0:
            image = Image.open(source / names[index]).convert("RGB")
            scale = max(1.0, 2 * size / min(image.size))
            image = image.resize((round(image.width * scale), round(image.height * scale)))
        across, down = image.width - size, image.height - size
        left, top = place * 7919 % (across + 1), place * 104729 % (down + 1)
        yield image.crop((left, top, left + size, top + size))


def commands(
    way: str, source: pathlib.Path, folder: pathlib.Path, options: Sequence[Any]
) -> list[list[str]]:
    """The commands that run at once."""
    protect = subprocess_timing.command("protect", source, folder, *options)
    if way == "shards":
        return [
            [*protect, f"--shard={Shard(number + 1, _WORKERS.value)}"]
            for number in range(_WORKERS.value)
        ]
    return [[*protect, "--engine=ray", f"--workers={_WORKERS.value}"] if way == "ray" else protect]


def measured(running: list[list[str]], folder: pathlib.Path, way: str) -> dict[str, Any]:
    """Runs commands, and looks at them each second.

    Returns:
      seconds; images a second, from start to end and from the first second with claims on; and
      for each process the most memory in MB, while the first thousand images were made and in all.
    """
    started = time.monotonic()
    children = [subprocess.Popen(command) for command in running]
    lines = Lines(folder, way)
    seen: list[tuple[float, int]] = []
    early: dict[str, int] = {}
    peak: dict[str, int] = {}
    while any(child.poll() is None for child in children):
        time.sleep(_EVERY_SECONDS)
        count = lines.count()
        if count:
            seen.append((time.monotonic() - started, count))
        for child in children:
            for number, process in memory(child.pid).items():
                peak[number] = max(peak.get(number, 0), process)
                if count <= _EARLY:
                    early[number] = peak[number]
    seconds = time.monotonic() - started
    if any(child.returncode for child in children):
        raise UserError(f"a command of {way} failed")
    (first, before), (last, count) = seen[0], seen[-1]
    return {
        "seconds": round(seconds, 1),
        "images_a_second": round(_IMAGES.value / seconds, 2),
        "images_a_second_steady": round((count - before) / max(last - first, 1e-9), 2),
        "mb_of_first_thousand": {name: value >> 20 for name, value in early.items()},
        "mb": {name: value >> 20 for name, value in peak.items()},
    }


def memory(pid: int) -> dict[str, int]:
    """Bytes that a command and its workers have, by name."""
    found = processes.below(pid)
    own = found.get(pid)
    resident = {f"command {pid}": own.resident} if own else {}
    workers = {f"worker {number}": p.resident for number, p in processes.workers(pid).items()}
    return resident | workers


class Lines:
    """Counts the claims in a folder's manifests, each byte of which is read once.

    Args:
      folder: of the manifests.
      way: `shards` where each has one.
    """

    def __init__(self, folder: pathlib.Path, way: str):
        paths = [manifest_path(folder, Shard(n + 1, _WORKERS.value)) for n in range(_WORKERS.value)]
        self._paths = paths if way == "shards" else [folder / NAME]
        self._read = dict.fromkeys(self._paths, (0, 0))

    def count(self) -> int:
        """Number of lines but for the heads."""
        for path in self._paths:
            if path.exists():
                with path.open("rb") as file:
                    position, lines = self._read[path]
                    file.seek(position)
                    content = file.read()
                self._read[path] = position + len(content), lines + content.count(b"\n")
        return sum(max(0, lines - 1) for _, lines in self._read.values())


def wrong(folder: pathlib.Path, count: int) -> str | None:
    """What is wrong with a folder whose run has ended."""
    claims = Claims()
    read(folder / NAME, claims)
    lines = [json.loads(line) for line in (folder / NAME).read_text().splitlines()[1:]]
    if not len(claims) == len(lines) == count:
        return f"{len(lines)} lines claim {len(claims)} of {count} images"
    for name in claims:
        entry = claims.get(name)
        if entry is None or not is_as_written(folder / entry.output, entry):
            return f"the output of {name} isn't what the manifest says"
    named = sum(not path.name.startswith(".") for path in folder.rglob("*") if path.is_file())
    return None if named == count else f"there are {named} outputs, not {count}"


if __name__ == "__main__":
    command_line.run_without_config(main)
