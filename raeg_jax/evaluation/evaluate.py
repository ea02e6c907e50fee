"""The whole evaluation of a trained generator: both splits, the table, and the files."""

import pathlib
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import rich.console
from ml_collections import ConfigDict

from raeg_jax import config as config_lib
from raeg_jax import data
from raeg_jax.data.memory import spread
from raeg_jax.evaluation import compiled, report, table
from raeg_jax.evaluation.grid import grid
from raeg_jax.evaluation.protection import evaluate_split
from raeg_jax.evaluation.timing import throughput

_GRID_ROWS = 6


def run(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    splits: data.Splits,
    generator: nn.Module,
    params: Any,
    classifiers: Mapping[str, tuple[nn.Module, Any]],
    *,
    step: int | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Evaluates a generator on training and test images, prints the table, writes the files.

    Files in the workdir: `results.json`, `results.md`, `images.csv`, `grid.png`, and
    `timings.json`, the only one that changes from run to run.

    Args:
      config: the whole configuration; `config.eval` says how many images, and how.
      workdir: folder of the run.
      splits: the data set.
      generator: the invertible network.
      params: its parameters, as a rule their moving average.
      classifiers: (module, variables) of every target and held-out classifier by name.
      step: the training step that the parameters come from.
      command: what to type for the same result; by default this process's command line.

    Returns:
      What `results.json` holds.
    """
    params = compiled.on_one_device(params)
    frozen = {
        name: compiled.on_one_device(compiled.FrozenClassifier(*pair))
        for name, pair in classifiers.items()
    }
    results: dict[str, Any] = {
        "config": config.name,
        "seed": config.seed,
        "step": step,
        "command": command or shlex.join(["python", *sys.argv]),
        "versions": config_lib.versions(),
        "dataset": {
            "name": splits.name,
            "classes": len(splits.class_names),
            "fingerprint": splits.fingerprint,
        },
        "image_size": config.data.image_size,
        "generator": {"coupling": config.generator.coupling, "exact": generator.exact},
        "pgd_steps": config.eval.pgd_steps,
        "splits": {},
    }
    rows = []
    for split in table.SPLITS:
        images, labels, names = data.arrays(
            getattr(splits, split), config.data.image_size, config.data, config.eval.max_images
        )
        summary = evaluate_split(
            generator,
            params,
            frozen,
            images,
            labels,
            config.eval.batch_size,
            targets=tuple(config.classifiers.targets),
            held_out=tuple(config.classifiers.held_out),
            pgd_steps=config.eval.pgd_steps,
            seed=config.seed,
            description=f"evaluating on {split} images",
        )
        per_image = summary.pop("per_image")
        rows += report.image_rows(split, per_image, labels, names, splits.class_names)
        results["splits"][split] = summary
    # The last split: unseen images. One batch of the size that is compiled already.
    size = min(config.eval.batch_size, len(images))
    target = config.classifiers.targets[0]
    picture = _picture(generator, params, frozen, target, images, labels, splits.class_names, size)
    timings = throughput(generator, params, np.asarray(images[:size]))
    if jax.process_index() == 0:
        report.write(pathlib.Path(workdir), results, rows, picture, timings)
        _print(results, timings, pathlib.Path(workdir))
    return results


def _picture(
    generator, params, classifiers, target, images, labels, class_names, size
) -> np.ndarray:
    """The grid of some images spread over the classes, and how one target reads them."""
    count = min(_GRID_ROWS, size)
    chosen = spread(np.asarray(labels), count)
    originals = np.asarray(images[np.resize(chosen, size)])
    protected = np.asarray(compiled.protect(generator, params, originals)[0])
    recovered = np.asarray(compiled.recover(generator, params, protected))
    variants = {"original": originals, "protected": protected, "recovered": recovered}
    read = {
        name: np.asarray(compiled.read(classifiers, batch)[target])
        for name, batch in variants.items()
    }
    captions = [
        [
            f"{class_names[labels[chosen[i]]]}; {target} reads",
            *(f"{name}: {class_names[classes[i]]}" for name, classes in read.items()),
        ]
        for i in range(count)
    ]
    return grid(originals[:count], protected[:count], recovered[:count], captions)


def _print(results, timings, workdir: pathlib.Path) -> None:
    console = rich.console.Console()
    for one in table.rich_tables(results):
        console.print(one)
    console.print(table.NOTE)
    console.print(
        f"{timings['protect_images_per_s']:.0f} images/s protected, "
        f"{timings['recover_images_per_s']:.0f} recovered, on {timings['device']}.",
        highlight=False,
    )
    console.print(
        f"Written to {workdir}: {report.RESULTS}, {report.TABLE}, {report.IMAGES}, {report.GRID}",
        highlight=False,
        soft_wrap=True,
    )
