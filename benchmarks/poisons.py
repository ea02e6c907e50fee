"""What pirated models learn from ways to protect: which shortcuts poison, and what JPEG leaves.

    python benchmarks/poisons.py --config=configs/mini_imagenet.py:poison --workdir=W \
        --config.data.source=DIR --rows=honest,waves,grey --defences=jpeg_50

The workdir holds trained classifiers. Each row is a generator: `config.generator` with the changes
of `ROWS`; `honest` has the originals. For each a model is trained from scratch on the protected
fitted images, and for each defence one on those after it, as `eval.py --suite=pirates` does, with
its settings (`config.suite.pirates`); they are tested on clean unseen originals. What was
measured lies in `--out`, and a run that was stopped goes on. `poisons.json` and `poisons.md` there
have the rows of the last run. *Patterns*: how many classes can differ; with fewer than there are
classes some share one.
"""

import functools
import pathlib
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from raeg_jax.config import command_line

_ROWS = flags.DEFINE_list("rows", [], "Names of rows; all if not given. A typo lists them.")
_DEFENCES = flags.DEFINE_list("defences", [], "Of the pirates, beside none.")
_OUT = flags.DEFINE_string("out", "", "Folder of the results; the workdir if not given.")

_LONG = {"period": 32, "cycles": (2, 3)}
# Stages, and what differs in `config.generator.shortcut`, which alone takes the whole distance.
ROWS = {
    "honest": ((), {}),
    "gradient": (("gradient",), {}),
    "both": (("shortcut", "gradient"), {}),
    "waves": (("shortcut",), {}),
    "two waves each": (("shortcut",), {"waves": 2}),
    "all colours": (("shortcut",), {"colours": ("grey", "red_green", "blue_yellow")}),
    "grey": (("shortcut",), {"colours": ("grey",)}),
    "cells": (("shortcut",), {"pattern": "cells"}),
    "long waves": (("shortcut",), _LONG),
    "long grey waves": (("shortcut",), _LONG | {"colours": ("grey",)}),
}


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains, prints and writes."""
    from raeg_jax import data
    from raeg_jax.adversarial.distortions import DEFENCES
    from raeg_jax.config.validate import validate
    from raeg_jax.evaluation import benchmark
    from raeg_jax.experiments import pirates, settings, suite
    from raeg_jax.experiments.store import Store, Unit
    from raeg_jax.experiments.subject import Subject
    from raeg_jax.files import json_bytes, write_whole
    from raeg_jax.generator.build import check_targets
    from raeg_jax.workdir.classifiers import check_classifiers, load_classifiers

    rows = benchmark.choices("rows", _ROWS.value or list(ROWS), list(ROWS))
    defences = benchmark.choices("defences", ["none", *_DEFENCES.value], list(DEFENCES))
    configs = {row: changed(config, row) for row in rows}
    for made in configs.values():
        validate(made)
        check_targets(made)
        settings.check(made)
    check_classifiers(workdir)
    out = benchmark.make_folder(_OUT.value, workdir)
    splits = data.load(config.data)
    classifiers = load_classifiers(config, splits, workdir)
    of_pirates, origins, models = config.suite.pirates, {}, []
    for row, made in configs.items():
        subject = pirates.owner(Subject(made, splits, None, classifiers, out / "poisons", {}))
        origins[row] = suite.origin(subject, None)
        store = Store(out / "poisons" / row.replace(" ", "_"), origins[row])
        units = [
            Unit(
                f"{defence}-{architecture}-{seed}",
                of_pirates.steps,
                functools.partial(measure, subject, row, defence, architecture, seed),
                {name: of_pirates[name] for name in ("steps", "looks", "images")},
            )
            for seed in range(of_pirates.seeds)
            for defence in defences
            for architecture in of_pirates.architectures
        ]
        suite.run(units, store)
        models += [store.find(unit)["result"] for unit in units]
        results = {"origins": origins, "models": models}
        write_whole(out / "poisons.json", json_bytes(results))
        write_whole(out / "poisons.md", f"{table(models)}\n".encode())
    print(table(models))


def measure(subject, row: str, defence: str, architecture: str, seed: int) -> dict[str, Any]:
    """Trains one model, and says what it was trained on."""
    from raeg_jax.experiments import pirates
    from raeg_jax.generator.build import shortcut_stage

    loot = pirates.Loot(row, functools.partial(images, subject, row, defence))
    patterns = None
    if "shortcut" in ROWS[row][0]:
        patterns = shortcut_stage(subject.config).conditioner.count
    result = pirates.train(subject, loot, architecture, seed)
    return result | {"defence": defence, "patterns": patterns}


def changed(config: ConfigDict, row: str) -> ConfigDict:
    """The configuration of a row."""
    stages, changes = ROWS[row]
    made = config.copy_and_resolve_references()
    if stages:
        made.generator.stages = stages
        made.generator.shortcut.update(changes)
        if stages == ("shortcut",):
            made.generator.shortcut.target_psnr = made.generator.gradient.target_psnr
    return made


def images(subject, row: str, defence: str):
    """What a model of a row is trained on."""
    from raeg_jax.adversarial.distortions import DEFENCES
    from raeg_jax.experiments import pirates

    if row != "honest":
        return pirates.defended(subject, defence)
    originals = subject.originals("train")[0]
    return pirates.of_all(subject, originals, lambda _, some: DEFENCES[defence](some))


def table(models) -> str:
    """Mean (least to most) over the seeds."""
    from raeg_jax.experiments.tables import spread

    groups: dict[tuple, list] = {}
    for one in models:
        key = one["images"], one["patterns"], one["defence"], one["architecture"]
        groups.setdefault(key, []).append(one)
    lines = ["| row | patterns | defence | model | seeds | peak | last |"]
    lines += ["|---|---:|---|---|---:|---:|---:|"]
    for (row, patterns, defence, architecture), own in groups.items():
        numbers = [spread([one[what] for one in own]) for what in ("peak", "last")]
        cells = [row, str(patterns or ""), defence, architecture, str(len(own)), *numbers]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main)
