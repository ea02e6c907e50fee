"""`kill -9` of shards, and of Ray's workers, nodes and driver: is anything lost, or made twice?

    raeg keygen owner.key
    python benchmarks/scale_kills.py --source=DIR --generator=G --key=owner.key --out=OUT

Protects some images with `--ways`: `shards` are two processes at once, of which now one and now the
other is killed and started again until both end, and are merged; `ray` is a command with two
workers, each on a node of its own on this machine, of which now a worker, now a node and now the
command itself is killed; a node is replaced, and the same command started again. Each way goes on
in new folders until there were `--kills` kills. After each kill every file with a name must decode,
and those from before be there unchanged. At the end folders are compared with that of an
undisturbed run, and with the originals after `raeg recover`. Writes `scale_kills.json`; Linux only.
"""

import collections
import os
import pathlib
import random
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import inputs
import kills
import processes
import subprocess_timing
import tqdm
from absl import flags

from raeg_jax.cli import scan
from raeg_jax.config import command_line
from raeg_jax.errors import UserError

_WAYS = flags.DEFINE_list("ways", ["shards", "ray"], "What is killed.")

_MB = 2**20
# Whether the pixels of a tiny image have room for its payload is a matter of chance.
_OF_NONCES = (*kills.OF_NONCES, "payload")
_VICTIMS = ("worker", "node", "driver")


class Folders:
    """Runs in folders 0, 1, ... of a folder, and what was wrong after kills.

    Args:
      folder: of all.
      bar: counts kills.

    Attributes:
      counts: of the kills, by what was killed.
      problems: after them.
    """

    def __init__(self, folder: pathlib.Path, bar: tqdm.tqdm):
        self.counts, self.problems = collections.Counter[str](), list[str]()
        self._folder, self._number, self._before, self._bar = folder, 0, dict[str, str](), bar

    @property
    def present(self) -> pathlib.Path:
        """In which the present run works."""
        return self._folder / str(self._number)

    def killed(self, victim: str) -> None:
        """Looks at what a kill left."""
        left = kills.look(self.present)
        self.counts[victim] += 1
        self.counts["with files unfinished"] += bool(left.unfinished)
        self.problems += [
            f"{self.present}, kill of {victim}: {text}"
            for text in kills.damages(self.present, self._before, left.files)
        ]
        self._before = left.files
        self._bar.update()

    def ended(self) -> None:
        """The present run has come to its end: the next works in another folder."""
        self._number, self._before = self._number + 1, {}


def main() -> None:
    """Kills, starts again, compares, prints and writes."""
    source = inputs.existing("source", kills.SOURCE.value)
    options = [*inputs.owner(kills.KEY, kills.GENERATOR), "--batch-size", "4"]
    names = [job.name for job in scan.find_images(source, ".png")]
    out = inputs.new_folder(kills.OUT.value)
    originals, runs, log = out / "originals", out / "runs", out / "log"
    inputs.link(source, inputs.spread(names, kills.MAX_IMAGES.value), originals)

    def protect(folder: pathlib.Path, *more: str) -> list[str]:
        return subprocess_timing.command("protect", originals, folder, *options, *more)

    # The first run fills the cache of programs, the second tells how long runs take with it.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(out / "programs")
    kills.watch(protect(runs / "first"), runs / "first", log, kills.claims)
    undisturbed = runs / "undisturbed"
    times = kills.watch(protect(undisturbed), undisturbed, log, kills.claims)
    draw = random.Random(kills.SEED.value)
    counts, problems = {}, list[str]()
    for way in _WAYS.value:
        with tqdm.tqdm(total=kills.KILLS.value, desc=way, disable=None) as bar:
            folders = Folders(runs / way, bar)
            kill = {"shards": kill_shards, "ray": kill_ray}[way]
            # Half as long as a run: most are killed before they end.
            kill(protect, folders, log, lambda: draw.uniform(0, times.last / 2), draw)
        counts[way] = dict(folders.counts)
        problems += folders.problems
    jobs = [(job.source, job.output) for job in scan.find_images(originals, ".png")]
    for way in _WAYS.value:
        for folder in sorted((runs / way).iterdir()):
            recovered = out / "recovered" / way / folder.name
            recover = subprocess_timing.command("recover", folder, recovered, *options)
            if subprocess_timing.run(recover).status:
                problems.append(f"{folder} can't all be recovered")
            problems += [
                f"{folder}: {text}" for text in kills.compare(folder, undisturbed, _OF_NONCES)
            ]
            problems += [f"{folder}: {text}" for text in kills.wrong(jobs, recovered)]
    results: dict[str, Any] = {
        "images": len(jobs),
        "kills": counts,
        "folders": sum(1 for way in _WAYS.value for _ in (runs / way).iterdir()),
        "problems": problems,
    }
    inputs.write_results(out / "scale_kills.json", results)
    if problems:
        raise UserError(f"{len(problems)} problems, such as: {problems[0]}")


def kill_shards(
    protect: Callable[..., list[str]],
    folders: Folders,
    log: pathlib.Path,
    pause: Callable[[], float],
    draw: random.Random,
) -> None:
    """Kills one of two shards, again and again.

    Args:
      protect: returns the command for an output folder and options.
      folders: where.
      log: takes what commands print.
      pause: seconds up to a kill.
      draw: chooses.
    """
    while True:
        commands = [protect(folders.present, f"--shard={number}/2") for number in (1, 2)]
        with log.open("ab") as file:
            children = [subprocess.Popen(command, stdout=file, stderr=file) for command in commands]
            while sum(folders.counts[name] for name in ("shard 1", "shard 2")) < kills.KILLS.value:
                _wait(pause(), children)
                alive = [index for index, child in enumerate(children) if child.poll() is None]
                if not alive:
                    break
                index = draw.choice(alive)
                if _kill(children[index].pid):
                    children[index].wait()
                    folders.killed(f"shard {index + 1}")
                    children[index] = subprocess.Popen(commands[index], stdout=file, stderr=file)
            for child in children:
                child.wait()
                kills.check_ended(child, log)
        merge = subprocess_timing.run(subprocess_timing.command("merge", folders.present))
        if merge.status:
            folders.problems.append(f"{folders.present} can't be merged")
        folders.ended()
        if folders.counts["shard 1"] + folders.counts["shard 2"] >= kills.KILLS.value:
            return


def kill_ray(
    protect: Callable[..., list[str]],
    folders: Folders,
    log: pathlib.Path,
    pause: Callable[[], float],
    draw: random.Random,
) -> None:
    """Kills workers, nodes and the driver; arguments as for `kill_shards`."""
    # All on loopback, as for a cluster that the command makes for itself.
    os.environ |= {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    from ray.cluster_utils import Cluster

    size = {"object_store_memory": 100 * _MB}
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **size}
    )
    nodes = [cluster.add_node(num_cpus=1, **size) for _ in range(2)]
    more = ["--engine=ray", f"--address={cluster.address}", "--workers=2"]
    done = lambda: sum(folders.counts[name] for name in _VICTIMS)  # noqa: E731
    try:
        while done() < kills.KILLS.value:
            command = protect(folders.present, *more)
            with log.open("ab") as file:
                driver = subprocess.Popen(command, stdout=file, stderr=file)
                while done() < kills.KILLS.value:
                    _wait(pause(), [driver])
                    if driver.poll() is not None:
                        break
                    victim = draw.choice(_VICTIMS)
                    if victim == "driver" and _kill(driver.pid):
                        driver.wait()
                        driver = subprocess.Popen(command, stdout=file, stderr=file)
                    elif victim == "node":
                        node = nodes.pop(draw.randrange(2))
                        _kill(node.all_processes["raylet"][0].process.pid)
                        cluster.remove_node(node, allow_graceful=False)
                        nodes.append(cluster.add_node(num_cpus=1, **size))
                    elif victim == "worker":
                        workers = list(processes.workers(os.getpid()))
                        if not workers or not _kill(draw.choice(workers)):
                            continue
                    folders.killed(victim)
                driver.wait()
                kills.check_ended(driver, log)
            folders.ended()
    finally:
        cluster.shutdown()


def _wait(seconds: float, children: list[subprocess.Popen]) -> None:
    """Waits so long, or until all have ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(child.poll() is None for child in children):
        time.sleep(0.02)


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    command_line.run_without_config(main)
