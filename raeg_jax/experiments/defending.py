"""What defences, and removers trained on leaked pairs, bring back on unseen protected images."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.evaluation import compiled
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.experiments import pirates
from raeg_jax.experiments.scores import mean, right, scores
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.subject import Subject

_SPLIT = "test"


def units(subject: Subject) -> Iterator[Unit]:
    """A unit for each defence, and for each number of leaked pairs."""
    settings = subject.config.suite
    cost = len(subject.originals(_SPLIT)[1]) * 0.05
    depends = {"images": settings.images}
    for name, defend in DEFENCES.items():
        yield Unit(
            f"defences/{name}", cost, lambda name=name, d=defend: measure(subject, name, d), depends
        )
    for pairs in settings.remover_pairs:
        name = f"remover_{pairs or 'all'}"
        yield Unit(
            f"defences/{name}",
            cost + settings.remover_steps * 0.5,
            lambda name=name, pairs=pairs: measure(
                subject, name, pirates.remover(pirates.owner(subject), pairs)
            ),
            depends | pirates.of_removers(subject),
        )


def measure(subject: Subject, name: str, defend: Callable[[Any], Any]) -> dict[str, Any]:
    """Reads defended images.

    Returns:
      `defence`; `classifiers`, the scores on originals, on originals after the defence and on
      protected images after it; `psnr`, decibels from the original.
    """
    images, labels = subject.originals(_SPLIT)
    made = subject.protected(_SPLIT).images

    def look(index, originals, truth):
        shown = {
            "original": originals,
            "defended original": np.asarray(defend(originals)),
            "defended": np.asarray(defend(made[index])),
        }
        psnr = compiled.compare(shown["defended"], originals)["psnr"]
        return {"psnr": psnr} | right(subject.frozen, shown, truth)

    each = measure_all(look, images, labels, subject.batch_size(_SPLIT))
    kinds = ("original", "defended original", "defended")
    return {
        "defence": name,
        "classifiers": scores(each, subject.frozen, kinds),
        "psnr": mean(each["psnr"]),
    }
