"""`kill -9` at random moments while `train.py` works: does the same command always resume?

    python benchmarks/training_kills.py --train="--config=configs/smoke.py" --out=OUT --kills=100

Trains in `OUT/runs/undisturbed`, then again in `OUT/runs/0`: killed, started again with the same
command, killed, and so on, as `kills.py` does with `raeg protect`; moments are counted from a step
whose checkpoint is there. Each start must succeed, and each run that has ended must have the
parameters, log and results of the undisturbed one, bit for bit. Writes `kills.json`.
"""

import collections
import json
import os
import pathlib
import random
import shlex
import sys

import inputs
import jax
import kills
import numpy as np
import orbax.checkpoint as ocp
from absl import flags

from raeg_jax.config import command_line

_TRAIN = flags.DEFINE_string("train", "", "Flags of `train.py`, but for --workdir.")


def main() -> None:
    """Kills, resumes, compares, prints and writes."""
    arguments = shlex.split(_TRAIN.value)
    out = inputs.new_folder(kills.OUT.value)
    runs, log = out / "runs", out / "log"
    script = pathlib.Path(__file__).resolve().parents[1] / "train.py"

    def train(folder):
        return [sys.executable, str(script), f"--workdir={folder}", *arguments]

    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(out / "programs")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    kills.watch(train(runs / "first"), runs / "first", log, steps_saved)
    undisturbed = runs / "undisturbed"
    times = kills.watch(train(undisturbed), undisturbed, log, steps_saved)
    draw = kills.moments(random.Random(kills.SEED.value), times)
    counts, problems = kills.kill_again_and_again(
        train, runs, log, draw, kills.KILLS.value, steps_saved, look_at_training
    )
    for folder in sorted(runs.iterdir()):
        problems += [f"{folder.name}: {text}" for text in compare_training(folder, undisturbed)]
    kills.report(out, times, counts, problems, flags=arguments)


def steps_saved(workdir: pathlib.Path) -> int:
    """Grows with each checkpoint, of classifiers too, and with each finished classifier."""
    newest: dict[pathlib.Path, int] = collections.defaultdict(int)
    try:
        for path in (*workdir.glob("checkpoints/*"), *workdir.glob("classifiers/*/unfinished/*")):
            if path.name.isdecimal():
                newest[path.parent] = max(newest[path.parent], int(path.name))
        return sum(newest.values()) + 10**6 * len(list(workdir.glob("classifiers/*/info.json")))
    except FileNotFoundError:  # a folder that was removed meanwhile
        return 0


def look_at_training(workdir: pathlib.Path) -> kills.Left:
    """What a kill left of checkpoints that were just being written, and just being removed."""
    written = len(list(workdir.rglob("*.orbax-checkpoint-tmp*")))
    removed = len(list(workdir.rglob("removed/*")))
    return kills.Left({}, written + removed, written, 0)


def compare_training(workdir: pathlib.Path, undisturbed: pathlib.Path) -> list[str]:
    """How a run that has ended differs from an undisturbed one."""
    from raeg_jax.training.logs import FILE, read_rows

    def content(folder):
        (step, *_) = sorted(map(int, os.listdir(folder / "checkpoints")), reverse=True)
        newest = folder / "checkpoints" / str(step)
        with ocp.PyTreeCheckpointer() as checkpointer:
            arrays = {item: checkpointer.restore(newest / item) for item in ("state", "ema")}
        rows = [
            {name: value for name, value in row.items() if name != "images_per_second"}
            for row in read_rows(folder / FILE)
        ]
        results = json.loads((folder / "results.json").read_bytes()) | {"command": None}
        return {
            "parameters": [
                (path, np.asarray(array).tobytes())
                for path, array in jax.tree_util.tree_leaves_with_path(arrays)
            ],
            "position": (newest / "iterator" / "metadata").read_bytes(),
            "log": rows,
            "results": results,
        }

    own, other = content(workdir), content(undisturbed)
    return [f"its {name} differ" for name in own if own[name] != other[name]]


if __name__ == "__main__":
    command_line.run_without_config(main)
