"""What pirated models learn from ways to protect: which shortcuts poison, and what JPEG leaves.

    python benchmarks/poisons.py --config=configs/mini_imagenet.py:poison --workdir=W \
        --config.data.source=DIR --rows=honest,waves,grey --defences=jpeg_50

The workdir holds trained classifiers. Each row is a generator: `config.generator` with the changes
of `ROWS`; `honest` has the originals. For each a model is trained from scratch on the protected
fitted images, and for each defence one on those after it, as `eval.py --suite=pirates` does, with
its settings (`config.suite.pirates`); they are tested on clean unseen originals. `poisons.json` and
`poisons.md` are written into `--out`, model by model.
"""

import functools
import pathlib

from absl import flags
from ml_collections import ConfigDict

from raeg_jax import launch

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
    "cells": (("shortcut",), {"pattern": "cells", "period": 32}),
    "long waves": (("shortcut",), _LONG),
    "long grey waves": (("shortcut",), _LONG | {"colours": ("grey",)}),
}


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains, prints and writes."""
    from raeg_jax import data
    from raeg_jax.evaluation import benchmark
    from raeg_jax.evaluation.defences import DEFENCES
    from raeg_jax.evaluation.workdir import check_classifiers, validate_for_evaluation
    from raeg_jax.experiments import pirates, settings
    from raeg_jax.experiments.subject import Subject
    from raeg_jax.files import json_bytes, write_whole
    from raeg_jax.training.classifier import load_classifiers

    validate_for_evaluation(config)
    settings.check(config)
    rows = benchmark.choices("rows", _ROWS.value or list(ROWS), list(ROWS))
    defences = benchmark.choices("defences", _DEFENCES.value or ["none"], ["none", *DEFENCES])
    check_classifiers(workdir)
    out = benchmark.make_folder(_OUT.value, workdir)
    splits = data.load(config.data)
    classifiers = load_classifiers(config, splits, workdir)
    results = benchmark.origin(config) | {"suite": config.suite.to_dict(), "models": []}
    for row in rows:
        subject = pirates.owner(
            Subject(changed(config, row), splits, None, classifiers, out / "poisons", {})
        )
        for defence in dict.fromkeys(["none", *defences]):
            loot = pirates.Loot(row, functools.partial(images, subject, row, defence))
            for architecture in config.suite.pirates.architectures:
                for seed in range(config.suite.pirates.seeds):
                    result = pirates.train(subject, loot, architecture, seed)
                    results["models"].append(result | {"defence": defence})
                    write_whole(out / "poisons.json", json_bytes(results))
                    write_whole(out / "poisons.md", f"{table(results)}\n".encode())
    print(table(results))


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
    from raeg_jax.evaluation.batches import measure_all
    from raeg_jax.evaluation.defences import DEFENCES

    originals, labels = subject.originals("train")
    given = originals if row == "honest" else subject.protected("train").images
    if defence == "none":
        return given

    def defend(_, some, __):
        return {"images": DEFENCES[defence](some)}

    return measure_all(defend, given, labels, subject.batch_size("train"))["images"]


def table(results) -> str:
    """A line for each model."""
    lines = ["| row | defence | model | seed | peak | last |", "|---|---|---|---:|---:|---:|"]
    lines += [
        f"| {model['images']} | {model['defence']} | {model['architecture']} | {model['seed']} | "
        f"{model['peak']:.3f} | {model['last']:.3f} |"
        for model in results["models"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    launch.run(main, pathlib.Path(__file__).parents[1] / "train.py")
