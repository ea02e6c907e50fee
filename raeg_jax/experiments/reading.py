"""What classifiers read on protected images, against PSNR, beside noise and PGD."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from raeg_jax.evaluation.making import Pixels
from raeg_jax.evaluation.protection import evaluate_split
from raeg_jax.evaluation.table import SPLITS
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.subject import Subject
from raeg_jax.generator.build import stages_without_budget


def units(subject: Subject) -> Iterator[Unit]:
    """A unit for each split and PSNR; a learned stage has a PSNR of its own, others stay below."""
    psnrs: list[float | None] = [None]
    if tuple(subject.config.generator.stages) != ("learned",):
        psnrs = [psnr for psnr in subject.config.suite.psnrs if possible(subject.config, psnr)]
    for split in SPLITS:
        for psnr in psnrs:
            name = "own" if psnr is None else f"{psnr:g}"
            yield Unit(
                f"reading/{split}-{name}",
                len(subject.originals(split)[1]) * 0.5,
                lambda split=split, psnr=psnr: read(subject, split, psnr),
                {"images": subject.config.suite.images},
            )


def aim_at(config: ConfigDict, psnr: float) -> None:
    """Sets the PSNR of the last stage, if it isn't learned, and that of a shortcut stage before it.

    The one before stays as many decibels above it.
    """
    settings = config.generator
    if settings.stages[-1] == "learned":
        return
    higher = settings.shortcut.target_psnr - settings.gradient.target_psnr
    settings[settings.stages[-1]].target_psnr = psnr
    if tuple(settings.stages[-2:]) == ("shortcut", "gradient"):
        settings.shortcut.target_psnr = psnr + higher


def possible(config: ConfigDict, psnr: float) -> bool:
    """Whether each stage then leaves some distance to the next one."""
    config = config.copy_and_resolve_references()
    aim_at(config, psnr)
    return not stages_without_budget(config)


def read(subject: Subject, split: str, psnr: float | None) -> dict[str, Any]:
    """Evaluates a split as `evaluation.protection` does, and lists each image's PSNR."""
    config = subject.config.copy_and_resolve_references()
    if psnr is not None:
        aim_at(config, psnr)
    summary = evaluate_split(
        Pixels(dataclasses.replace(subject, config=config).chain),
        subject.frozen,
        *subject.originals(split),
        subject.batch_size(split),
        targets=subject.targets,
        held_out=tuple(config.classifiers.held_out),
        pgd_steps=config.eval.pgd_steps,
        seed=config.seed,
        description=f"{split} images" + ("" if psnr is None else f" at {psnr:g} dB"),
    )
    del summary["speeds"]
    each = summary.pop("per_image")["psnr/protected"]
    return summary | {
        "split": split,
        "asked": psnr,
        "each_psnr": [float(value) for value in np.minimum(each, 100.0).round(3)],
    }
