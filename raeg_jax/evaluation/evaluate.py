"""The whole evaluation of a generator: both splits, the table, and the result files."""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import rich.console
from ml_collections import ConfigDict

from raeg_jax import data, process
from raeg_jax.config import run_config
from raeg_jax.data.memory import open_split, spread
from raeg_jax.evaluation import programs, result_files, table
from raeg_jax.evaluation.grid import grid
from raeg_jax.evaluation.protectors import protector_of
from raeg_jax.evaluation.readers import Reader
from raeg_jax.evaluation.scores import read
from raeg_jax.evaluation.split import divergence_of, evaluate_split, examples
from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.generator.chain import Chain

_GRID_ROWS = 6
_LOG_WIDTH = 1000


def run(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    splits: data.Splits,
    generator: Chain,
    classifiers: Mapping[str, tuple[nn.Module, Any]],
    *,
    readers: Mapping[str, Reader] | None = None,
    checkpoint: str = "latest",
    step: int | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Evaluates a generator on training and test images, prints the table, writes the files.

    Files in the workdir: `results.json`, `results.md`, `images.csv`, `grid.png`, and
    `timings.json`, the only one that changes from run to run. Those of another checkpoint than
    the latest have its name in theirs: `results-best.json`, `results-300.json`. Those of another
    generator that are there are renamed, see `result_files`.

    Args:
      config: the whole configuration; `config.eval` says how many images, and how.
      workdir: folder of the run.
      splits: the data set.
      generator: its stages, the learned one as a rule with the moving average of its parameters.
      classifiers: (module, variables) of every target and held-out classifier by name.
      readers: others that read the images too, by name.
      checkpoint: which one the parameters are of: 'latest', 'best' or the step as text.
      step: the training step that they come from.
      command: what to type for the same result; by default this process's command line.

    Returns:
      What `results.json` holds.
    """
    if jax.process_index() == 0:
        result_files.check_writable(pathlib.Path(workdir), checkpoint)
    generator = programs.on_one_device(generator)
    classifiers = {
        name: (module, programs.on_one_device(variables))
        for name, (module, variables) in classifiers.items()
    }
    # Published classifiers read images of any size, and attack at that of the run.
    trained = TrainedRun(config, splits, None, classifiers, readers or {})
    readers = {n: one for n, one in trained.read_by.items() if isinstance(one, Reader)}
    results: dict[str, Any] = {
        "config": config.name,
        "seed": config.seed,
        "checkpoint": checkpoint,
        "step": step,
        "command": command or process.shell_command(),
        "versions": run_config.versions(),
        "dataset": {
            "name": splits.name,
            "classes": len(splits.class_names),
            "fingerprint": splits.fingerprint,
        },
        "image_size": config.data.image_size,
        "generator": {
            "stages": list(config.generator.stages),
            "coupling": config.generator.coupling,
            "exact": generator.exact,
            "portable": generator.portable,
        },
        "classifiers": trained.describe(),
        "pgd_steps": config.eval.pgd_steps,
        "settings": _settings(config),
        "splits": {},
    }
    rows = []
    opened_splits = {
        split: open_split(getattr(splits, split), config.data, config.eval.max_images)
        for split in table.SPLITS
    }
    # One size for both splits, so that the second needs no compilation.
    most = max(len(labels) for _, labels, _ in opened_splits.values())
    batch_size = min(config.eval.batch_size, most)
    protector = protector_of(config, splits.class_names, generator, classifiers, batch_size)
    for split, (images, labels, names) in opened_splits.items():
        summary = evaluate_split(
            protector,
            trained.frozen,
            images,
            labels,
            batch_size,
            targets=tuple(config.classifiers.targets),
            held_out=tuple(config.classifiers.held_out),
            readers=readers,
            pgd_steps=config.eval.pgd_steps,
            seed=config.seed,
            first_stages=config.generator.stages[:-1],
            description=f"evaluating on {split} images",
        )
        per_image, speeds = summary.pop("per_image"), summary.pop("speeds")
        rows += result_files.image_rows(
            split, per_image, labels, names, splits.class_names, trained.class_names
        )
        results["splits"][split] = summary
    _say("drawing a picture…")
    # The last split: unseen images.
    chosen = spread(labels, min(_GRID_ROWS, len(labels), batch_size))
    batches = examples(protector, images, labels, chosen, batch_size)
    classes = [splits.class_names[labels[i]] for i in chosen]
    picture = _picture(batches, classes, trained)
    timings = _timings(speeds, batches[0])
    if jax.process_index() == 0:
        renamed = result_files.write(pathlib.Path(workdir), results, rows, picture, timings)
        _print(results, timings, pathlib.Path(workdir))
        if renamed:
            _say(f"the result of another generator that was there is kept: {renamed} and so on")
        if sentence := divergence_of(results["splits"]["test"], config):
            _say(f"warning: {sentence}")
    return results


def _settings(config: ConfigDict) -> dict[str, Any]:
    settings = run_config.to_json(config)
    # Where files lie, which changes no result.
    settings["classifiers"]["weights"] = ""
    return settings


def _picture(batches, classes, trained: TrainedRun) -> np.ndarray:
    """The grid of the first images of the batches, with the classes that one target chooses."""
    target = trained.targets[0]
    chosen = {target: trained.read_by[target]}
    seen = {
        name: read(chosen, batch)[target].classes
        for name, batch in zip(("original", "protected", "recovered"), batches, strict=True)
    }
    names = trained.class_names[target]
    captions = [
        [f"{true}; {target} reads", *(f"{k}: {names[v[i]]}" for k, v in seen.items())]
        for i, true in enumerate(classes)
    ]
    originals, protected, recovered = (batch[: len(classes)] for batch in batches)
    return grid(originals, protected, recovered, captions)


def _timings(speeds: Mapping[str, float], images: np.ndarray) -> dict[str, Any]:
    """Images a second, and the batch [B, H, W, 3] and device that they were measured with."""
    device = jax.devices()[0]
    return {f"{name}_images_per_s": speed for name, speed in speeds.items()} | {
        "batch_size": len(images),
        "image_size": list(images.shape[1:3]),
        "device": f"{device.platform} ({device.device_kind})",
    }


def _say(message: str) -> None:
    if jax.process_index() == 0:
        print(message, file=sys.stderr)


def _print(results, timings, workdir: pathlib.Path) -> None:
    console = rich.console.Console()
    if not console.is_terminal or console.width < table.WIDTH:
        # The width of a log is unknown, and columns must not be cut off.
        console.width = _LOG_WIDTH
    for split_table in table.rich_tables(results):
        console.print(split_table)
    console.print(table.note(results), soft_wrap=True)
    console.print(
        f"{timings['protect_images_per_s']:.0f} images/s protected, "
        f"{timings['recover_images_per_s']:.0f} recovered, on {timings['device']}.",
        highlight=False,
    )
    files = (result_files.RESULTS, result_files.TABLE, result_files.IMAGES, result_files.GRID)
    names = (result_files.file_name(name, results["checkpoint"]) for name in files)
    console.print(
        f"Written to {workdir}: {', '.join(names)}",
        highlight=False,
        soft_wrap=True,
    )
