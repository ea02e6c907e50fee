"""`kill -9` at random moments while `raeg protect` works in a folder: is anything lost?

    raeg keygen owner.key
    python benchmarks/kills.py --source=DIR --generator=G --key=owner.key --out=OUT

Protects some images in `OUT/runs/undisturbed`, then again in `OUT/runs/0`: killed, started again
with the same command, killed, and so on until a run ends before its moment comes; then in
`OUT/runs/1`, until there were `--kills` kills. A moment is drawn from the time that the undisturbed
run took up to its first output; or, three times as often, from that between its first and last
output, counted from the first output of the run to be killed.

After each kill every file with a name must decode, and those from before must be there unchanged.
Folders whose run has ended must have the names, manifest and leftovers of the undisturbed one. As
nonces are random, bytes differ: at the end `raeg recover` recovers all folders, and each file is
compared with the original. Writes `kills.json`. Each start takes seconds: small images of one size
are best, such as Mini-ImageNet's.
"""

import collections
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import inputs
import subprocess_timing
import tqdm
from absl import flags
from PIL import Image

from raeg_jax.cli.manifest import NAME
from raeg_jax.cli.outputs import STAGING
from raeg_jax.config import command_line
from raeg_jax.errors import UserError

SOURCE = flags.DEFINE_string("source", "", "Folder of images.")
GENERATOR = flags.DEFINE_string("generator", "", "Generator file.")
KEY = flags.DEFINE_string("key", "", "Key file.")
OUT = flags.DEFINE_string("out", "", "New folder of the results.")
KILLS = flags.DEFINE_integer("kills", 200, "Number of kills.", lower_bound=1)
MAX_IMAGES = flags.DEFINE_integer(
    "max_images", 256, "Images, taken from all over the folder; 0 is all.", lower_bound=0
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 4, "Images at a time.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")

_HIDDEN = (STAGING, NAME.removesuffix(".jsonl"))
_EARLY = 0.25
_POLL_SECONDS = 0.002
# What may differ between two runs over the same images.
OF_NONCES = ("sha256", "output_size", "output_mtime_ns", "psnr")


class Times(NamedTuple):
    """Seconds from the start of an undisturbed run to its first and last claim in the manifest."""

    first: float
    last: float


class Moment(NamedTuple):
    """When to kill: so many seconds after the start, or after the run's first claim."""

    early: bool
    seconds: float


class Left(NamedTuple):
    """What a kill left in an output folder.

    Attributes:
      files: SHA-256 of each file with a name, by name relative to the folder.
      unfinished: number of files without names.
      half: of these, files that were just being written.
      claimed: number of files in the manifest that haven't got their names.
    """

    files: dict[str, str]
    unfinished: int
    half: int
    claimed: int


def main() -> None:
    """Kills, goes on, compares, prints and writes."""
    from raeg_jax.cli import scan

    source = inputs.existing("source", SOURCE.value)
    options = [*inputs.owner(KEY, GENERATOR), "--batch-size", str(_BATCH_SIZE.value)]
    names = [job.name for job in scan.find_images(source, ".png")]
    out = inputs.new_folder(OUT.value)
    originals, runs = out / "originals", out / "runs"
    inputs.link(source, inputs.spread(names, MAX_IMAGES.value), originals)

    def protect(folder):
        return subprocess_timing.command("protect", originals, folder, *options)

    # Most of a start would be compiling. This run fills the cache, so that no kill leaves half a
    # program there, and the next one tells how long runs take with it.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(out / "programs")
    watch(protect(runs / "first"), runs / "first", out / "log", claims)
    undisturbed = runs / "undisturbed"
    times = watch(protect(undisturbed), undisturbed, out / "log", claims)
    draw = moments(random.Random(SEED.value), times)
    counts, problems = kill_again_and_again(
        protect, runs, out / "log", draw, KILLS.value, claims, look
    )
    recovered = out / "recovered"
    recover = subprocess_timing.command("recover", runs, recovered, *options)
    if subprocess_timing.run(recover).status:
        problems += ["not all runs can be recovered"]
    jobs = [(job.source, job.output) for job in scan.find_images(originals, ".png")]
    for folder in sorted(runs.iterdir()):
        problems += [f"{folder.name}: {text}" for text in compare(folder, undisturbed)]
        problems += [f"{folder.name}: {text}" for text in wrong(jobs, recovered / folder.name)]
    report(out, times, counts, problems, images=len(jobs))


def report(
    out: pathlib.Path, times: Times, counts: dict, problems: list[str], **about: Any
) -> None:
    """Writes and prints the results; ends with an error where there are problems."""
    from raeg_jax.config import run_config

    results = {
        **about,
        "undisturbed": times._asdict(),
        "kills": dict(counts),
        "folders": len(list((out / "runs").iterdir())),
        "problems": problems,
        "seed": SEED.value,
        "versions": run_config.versions(),
    }
    inputs.write_results(out / "kills.json", results)
    if problems:
        raise UserError(f"{len(problems)} problems, such as: {problems[0]}")


def watch(
    command: list[str],
    folder: pathlib.Path,
    log: pathlib.Path,
    progress: Callable[[pathlib.Path], int],
) -> Times:
    """Runs a command to its end and tells when it did what; for `progress` see `claims`."""
    seen: list[tuple[int, float]] = []
    with log.open("ab") as file:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=file, stderr=file)
        while process.poll() is None:
            if (count := progress(folder)) and (not seen or count != seen[-1][0]):
                seen.append((count, time.monotonic() - started))
            time.sleep(_POLL_SECONDS)
    check_ended(process, log)
    if len(seen) < 2:
        raise UserError("all images were finished at once: raise --max_images")
    return Times(seen[0][1], seen[-1][1])


def moments(draw: random.Random, times: Times) -> Iterator[Moment]:
    """Draws moments without end."""
    while True:
        if draw.random() < _EARLY:
            yield Moment(True, draw.uniform(0, times.first))
        else:
            yield Moment(False, draw.uniform(0, times.last - times.first))


def kill_again_and_again(
    protect,
    runs: pathlib.Path,
    log: pathlib.Path,
    draw: Iterator[Moment],
    kills: int,
    progress: Callable[[pathlib.Path], int],
    look_at: Callable[[pathlib.Path], Left],
) -> tuple[collections.Counter, list[str]]:
    """Makes so many kills, then lets the last run come to its end.

    Args:
      protect: returns the command for an output folder.
      runs: gets folders 0, 1, ...
      log: takes what the command prints.
      draw: the moments.
      kills: their number.
      progress: of a folder, as `claims`.
      look_at: what a kill left, as `look`.

    Returns:
      counts of what the kills hit, and what was wrong after them.
    """
    counts, problems = collections.Counter[str](), list[str]()
    number, before = 0, dict[str, str]()
    bar = tqdm.tqdm(total=kills, disable=None)
    while True:
        folder = runs / str(number)
        moment = next(draw) if counts["kills"] < kills else None
        killed = run_until(protect(folder), folder, log, moment, progress)
        counts["runs that ended"] += not killed
        if moment is None:
            return counts, problems
        if not killed:
            number, before = number + 1, {}
            continue
        left = look_at(folder)
        counts["kills"] += 1
        counts["before its first output" if moment.early else "after its first output"] += 1
        counts["with files unfinished"] += bool(left.unfinished)
        counts["with a file half written"] += bool(left.half)
        counts["with files claimed and not named"] += bool(left.claimed)
        problems += [
            f"kill {counts['kills']}: {text}" for text in damages(folder, before, left.files)
        ]
        before = left.files
        bar.update()


def run_until(
    command: list[str],
    folder: pathlib.Path,
    log: pathlib.Path,
    moment: Moment | None,
    progress: Callable[[pathlib.Path], int],
) -> bool:
    """Runs a command and kills it at a moment; returns whether it was killed before its end."""
    before = progress(folder)
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        since = time.monotonic() if moment and moment.early else None
        while moment and process.poll() is None:
            if since is None and progress(folder) > before:
                since = time.monotonic()
            if since is not None and time.monotonic() - since >= moment.seconds:
                process.kill()
                break
            time.sleep(_POLL_SECONDS)
        process.wait()
    if process.returncode == -signal.SIGKILL:
        return True
    check_ended(process, log)
    return False


def check_ended(process: subprocess.Popen, log: pathlib.Path) -> None:
    """Stops at a run that failed: kills must never lead to that."""
    if process.returncode:
        lines = log.read_text(errors="replace").splitlines()[-3:]
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {' / '.join(lines)}")


def claims(folder: pathlib.Path) -> int:
    """Number of whole lines in a folder's manifest, but for its head."""
    try:
        return max(0, (folder / NAME).read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return 0


def look(folder: pathlib.Path) -> Left:
    """Looks at what is in an output folder."""
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in named(folder)
    }
    staged = [path.name for path in folder.glob(f"{STAGING}*/**/*") if path.is_file()]
    half = sum(name.endswith(".tmp") for name in staged)
    claimed = {entry["output"] for entry in entries(folder).values() if "output" in entry}
    return Left(files, len(staged), half, len(claimed - files.keys()))


def named(folder: pathlib.Path) -> list[str]:
    """Names of the files in an output folder, but for the manifest and what isn't finished."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        # Shards have manifests and folders of unfinished files of their own.
        if path.is_file() and not path.relative_to(folder).as_posix().startswith(_HIDDEN)
    )


def entries(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The manifest's last line of each source; one that a kill cut off doesn't count."""
    path = folder / NAME
    lines = path.read_bytes().split(b"\n")[1:-1] if path.exists() else []
    return {entry["source"]: entry for entry in map(json.loads, lines)}


def damages(folder: pathlib.Path, before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What a kill lost, changed or left half-written.

    Args:
      folder: of the outputs.
      before: `Left.files` of the kill before.
      after: of this one.
    """
    found = [f"{name} is lost" for name in sorted(before.keys() - after.keys())]
    for name in sorted(after):
        if name not in before:
            try:
                with Image.open(folder / name) as image:
                    image.load()
            except Exception as error:  # Pillow raises almost anything on damaged files.
                found.append(f"{name} is not whole: {error}")
        elif before[name] != after[name]:
            found.append(f"{name} has changed")
    return found


def compare(
    folder: pathlib.Path, undisturbed: pathlib.Path, of_nonces: Sequence[str] = OF_NONCES
) -> list[str]:
    """How a folder whose run has ended differs from that of an undisturbed one.

    Args:
      folder: of the outputs.
      undisturbed: the other one.
      of_nonces: what may differ in the lines of the manifests.
    """
    found = []
    if named(folder) != named(undisturbed):
        differ = set(named(folder)) ^ set(named(undisturbed))
        found.append(f"{len(differ)} files are in one alone, such as {min(differ)}")
    if (folder / STAGING).exists():
        found.append("unfinished files are left")
    own, others = entries(folder), entries(undisturbed)
    for source in sorted(own.keys() | others.keys()):
        one, other = own.get(source, {}), others.get(source, {})
        if _lasting(one, of_nonces) != _lasting(other, of_nonces):
            found.append(f"{source} has another entry in the manifest")
        elif "output" in one:
            path = folder / one["output"]
            content = path.read_bytes() if path.exists() else b""
            if hashlib.sha256(content).hexdigest() != one["sha256"]:
                found.append(f"{source}: its output isn't what the manifest says")
    return found


def _lasting(entry: dict[str, Any], of_nonces: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in of_nonces}


def wrong(jobs: list[tuple[pathlib.Path | str, str]], recovered: pathlib.Path) -> list[str]:
    """Which recovered files aren't there or don't equal the originals.

    Args:
      jobs: each original, and the name of what is made of it.
      recovered: folder of recovered files.
    """
    from file_pixels import shown, wrong_pixels

    found = []
    for source, name in jobs:
        if not (recovered / name).is_file():
            found.append(f"{name} is not recovered")
        elif count := wrong_pixels(shown(source), shown(recovered / name)):
            found.append(f"{name} is recovered with {count} wrong pixels")
    return found


if __name__ == "__main__":
    command_line.run_without_config(main)
