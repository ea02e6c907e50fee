"""Black box: what generators made against some classifiers do to others."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from raeg_jax.evaluation import compiled
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.experiments.scores import mean, right, scores
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.subject import Subject

_SPLIT = "test"


def units(subject: Subject) -> Iterator[Unit]:
    """A unit for each set of attacked classifiers.

    A learned generator was trained against one set; a gradient stage attacks any: each classifier
    alone, the targets, and all.
    """
    sets = [subject.targets]
    stages = subject.config.generator.stages
    if "gradient" in stages and "learned" not in stages:
        sets = [(name,) for name in subject.frozen] + sets + [tuple(subject.frozen)]
    for attacked in dict.fromkeys(sets):
        yield Unit(
            f"transfer/{'+'.join(attacked)}",
            len(subject.originals(_SPLIT)[1]) * 0.3,
            lambda attacked=attacked: measure(subject, attacked),
            {"images": subject.config.suite.images},
        )


def measure(subject: Subject, attacked: tuple[str, ...]) -> dict[str, Any]:
    """Protects against some classifiers and reads with all.

    Returns:
      `attacked`; mean `psnr` in decibels; `classifiers`, the scores on originals and protected
      images.
    """
    config = subject.config.copy_and_resolve_references()
    config.classifiers.targets = attacked
    variant = dataclasses.replace(subject, config=config)
    images, labels = subject.originals(_SPLIT)

    def look(index, originals, truth):
        made, _ = variant.protect(index, originals, truth)
        shown = {"original": originals, "protected": made}
        psnr = compiled.compare(made, originals)["psnr"]
        return {"psnr": psnr} | right(subject.frozen, shown, truth)

    each = measure_all(look, images, labels, subject.batch_size(_SPLIT))
    return {
        "attacked": list(attacked),
        "psnr": mean(each["psnr"]),
        "classifiers": scores(each, subject.frozen, ("original", "protected")),
    }
