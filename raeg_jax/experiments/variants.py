"""What views, smoothing and the ensemble of targets do for gradient couplings, at equal PSNR.

Beside them PGD on the same targets, image by image as far from the original. It is about pixels:
no payload is hidden, which would change the PSNR.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.adversarial.losses import class_permutation
from raeg_jax.config.rules import PSNR, Each, OneOf
from raeg_jax.errors import UserError
from raeg_jax.evaluation import programs, protectors
from raeg_jax.evaluation.programs import measure_all, pgd_control
from raeg_jax.evaluation.scores import correct, mean
from raeg_jax.evaluation.table import SPLITS
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table, decibels, number
from raeg_jax.generator.build import check_stages
from raeg_jax.image.metrics import PSNR_CAP
from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.weights import is_published

# A multiple of every number of views below.
_STEPS = 8
_PLAIN = {
    # Not every classifier has a form in fixed point.
    "arithmetic": "float",
    "loss": "untargeted",
    "views": ("identity",),
    "smoothing": 0.0,
    "attack_steps": _STEPS,
}
_SMOOTHING = {"smoothing": 0.7}
_VIEWS = {"views": ("identity", "gaussian_blur:1.0", "jpeg:50", "rescale:0.5")}
# What differs from `_PLAIN` in `config.generator.gradient`.
_CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothing 0.7": _SMOOTHING,
    "views": _VIEWS,
    "views + smoothing": _VIEWS | _SMOOTHING,
    "targeted": {"loss": "targeted"},
}
# PGD goes with these.
_WITH_PGD = ("plain", "targeted")
# Enough to see what views and smoothing are worth.
_DEFENCES = ("none", "jpeg_50", "blur_1")
ORIGINAL = "original"
# All that there may be; which there are depends on targets and held-out classifiers.
NAMES = (
    *_CHANGES,
    *(f"{kind} {name}" for kind in ("only", "all but") for name in CLASSIFIERS),
    "all",
)


def variants(config: ConfigDict) -> dict[str, ConfigDict]:
    """Makes the configuration of each variant.

    Args:
      config: the whole configuration; the settings in which variants differ are ignored.

    Returns:
      Whole configurations of one gradient stage. Where there are several targets, 'only <name>'
      attacks that one alone and counts the others as held out; 'all but <name>' all classifiers
      without that one, and 'all' the held-out classifiers too.
    """
    configs = {name: _with_gradient(config, change) for name, change in _CHANGES.items()}
    targets = tuple(config.classifiers.targets)
    # Classifiers with other classes than the data set's can't be attacked together with these.
    held_out = tuple(
        name for name in config.classifiers.held_out if not _has_own_classes(name, config)
    )
    if len(targets) > 1:
        configs |= {f"only {name}": _with_targets(configs["plain"], (name,)) for name in targets}
    if held_out:
        names = (*targets, *held_out)
        for left_out in targets:
            others = tuple(name for name in names if name != left_out)
            configs[f"all but {left_out}"] = _with_targets(configs["plain"], others)
        configs["all"] = _with_targets(configs["plain"], names)
    return configs


def _has_own_classes(name: str, config: ConfigDict) -> bool:
    return is_published(name) and not config.classifiers.heads


def _with_gradient(config: ConfigDict, change: dict[str, Any]) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    changed.generator.stages = ("gradient",)
    changed.generator.gradient.update(_PLAIN | change)
    return changed


def _with_targets(config: ConfigDict, targets: tuple[str, ...]) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    settings = changed.classifiers
    names = (*settings.targets, *settings.held_out)
    settings.targets = targets
    settings.held_out = tuple(name for name in names if name not in targets)
    return changed


def _rows(config: ConfigDict) -> list[str]:
    """The variants that `config.suite.variants.rows` names; all if empty."""
    return list(config.suite.variants.rows) or list(variants(config))


def check(config: ConfigDict) -> None:
    """Stops at unknown rows, and at impossible settings of those that are known."""
    if any(_has_own_classes(name, config) for name in config.classifiers.targets):
        raise UserError(
            f"config.classifiers.targets={tuple(config.classifiers.targets)} are published "
            "classifiers, and the experiment 'variants' goes toward other classes of the data set: "
            "give targets that the run trains, or these heads (config.classifiers.heads)"
        )
    configs = variants(config)
    for row in _rows(config):
        if row not in configs:
            raise UserError(
                f"config.suite.variants.rows has {row!r}, which these targets and held-out "
                f"classifiers don't have: each must be of {', '.join(configs)}"
            )
        check_stages(configs[row].generator)


def units(context: Context) -> Iterator[Unit]:
    """A unit for each split, PSNR and variant; and one for the originals of each split."""
    run, configs = context.run, variants(context.run.config)
    settings = run.config.suite
    for split in SPLITS:
        rows: list[tuple[str, float | None]] = [(ORIGINAL, None)]
        rows += [(row, psnr) for psnr in settings.variants.psnrs for row in _rows(run.config)]
        for row, psnr in rows:
            name = "-".join((split, row, *([] if psnr is None else [f"{psnr:g}"])))
            yield Unit(
                f"variants/{name.replace(' ', '_')}",
                settings.images or 1000,
                functools.partial(measure, context, split, row, configs.get(row), psnr),
                {"images": settings.images},
            )


def measure(
    context: Context, split: str, row: str, config: ConfigDict | None, psnr: float | None
) -> dict[str, Any]:
    """Protects a split, and classifies its files after each defence.

    Args:
      context: has the run.
      split: 'train' or 'test'.
      row: its name.
      config: of the variant; None for originals.
      psnr: to aim at, in decibels; None for originals.

    Returns:
      `split`; and `rows`, one for the variant, and one for PGD with its distances where they are of
      interest: `row`, `attacked`, `asked`, `psnr` (decibels; of the images that differ),
      `worst_miss`; by classifier `accuracy` after each defence, and `goal`, the share classified as
      what targeted attacks go toward.
    """
    run = context.run
    own = {name: one for name, one in run.frozen.items() if name not in run.published}
    images, labels = run.images(split, run.config.suite.images)
    goals = class_permutation(run.splits.num_classes)[labels]
    pgd_steps = run.config.eval.pgd_steps
    targets: tuple[str, ...] = ()
    if config is not None and psnr is not None:
        config = config.copy_and_resolve_references()
        config.generator.gradient.target_psnr = psnr
        chain = run.with_config(config).chain
        targets = tuple(config.classifiers.targets)
        targeted = config.generator.gradient.loss == "targeted"
    names = [row]
    if row in _WITH_PGD and pgd_steps:
        names.append(f"PGD-{pgd_steps}{' targeted' if targeted else ''}")

    def look(index, originals, truth):
        versions = [originals]
        if config is not None:
            token = protectors.draw_token(chain, index, *originals.shape[1:3])
            place = protectors.draw_place(chain, index, *originals.shape[1:3])
            protected = programs.protect(chain, originals, truth, token, place)[0]
            versions = [programs.png_roundtrip(protected)[0]]
        if len(names) > 1:
            attacked = tuple(run.frozen[name] for name in targets)
            distance = programs.compare(versions[0], originals)["distance"]
            classes = goals[index] if targeted else truth
            attack = pgd_control(attacked, originals, classes, distance, pgd_steps, targeted)
            versions.append(programs.png_roundtrip(attack)[0])
        rows: dict[Any, Any] = {}
        for name, files in zip(names, versions, strict=True):
            defended = {defence: DEFENCES[defence](files) for defence in _DEFENCES}
            rows[name, "psnr"] = programs.compare(files, originals)["psnr"]
            found = correct(own, defended, truth)
            found |= correct(own, {"goal": files}, goals[index])
            rows |= {(name, *key): value for key, value in found.items()}
        return rows

    description = f"{split}, {row}" + (f" at {psnr:g} dB" if psnr else "")
    per_image = measure_all(look, images, labels, run.batch_size(labels), description)
    rows = [
        {
            "row": name,
            "attacked": list(targets),
            "asked": psnr,
            "psnr": mean(per_image[name, "psnr"]),
            "worst_miss": psnr
            and float(np.max(np.abs(np.minimum(per_image[name, "psnr"], PSNR_CAP) - psnr))),
            "accuracy": {
                classifier: {kind: mean(per_image[name, kind, classifier]) for kind in _DEFENCES}
                for classifier in own
            },
            "goal": {classifier: mean(per_image[name, "goal", classifier]) for classifier in own},
        }
        for name in names
    ]
    return {"split": split, "rows": rows}


def table(results: Results, context: Context) -> Table:
    """A row for each split, PSNR and way to protect."""
    names, rows = tuple(results[0]["rows"][0]["accuracy"]), []
    for split, row in ((result["split"], row) for result in results for row in result["rows"]):
        cells = [
            SPLITS[split], row["row"], ", ".join(row["attacked"]),
            "" if row["asked"] is None else f"{row['asked']:g}",
            decibels(row["psnr"]), number(row["worst_miss"], 2),
        ]  # fmt: skip
        for name in names:
            cells += map(number, (*row["accuracy"][name].values(), row["goal"][name]))
        rows.append(tuple(cells))
    columns = [f"{name} {kind}" for name in names for kind in (*_DEFENCES, "goal")]
    head = ("images", "row", "attacks", "asked, dB", "PSNR, dB", "worst miss, dB", *columns)
    note = (
        "Accuracy after each defence; goal: share classified as what targeted attacks go toward "
        "(in the rows of others: by chance). PGD has each image's own distance from the original."
    )
    return Table("Variants of gradient couplings", note, head, rows)


EXPERIMENT = Experiment(
    name="variants",
    units=units,
    table=table,
    settings={
        "suite.variants.rows": Each(OneOf(NAMES), least=0),
        "suite.variants.psnrs": Each(PSNR),
    },
    check=check,
    in_full=False,
)
