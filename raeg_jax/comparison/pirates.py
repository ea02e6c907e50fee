"""Pirated models: trained on each contender's files, beside honest ones on the originals."""

from collections.abc import Iterator
from typing import Any

from raeg_jax.comparison.compared import Make
from raeg_jax.experiments import pirates
from raeg_jax.experiments.pirates import Loot
from raeg_jax.experiments.store import Unit

HONEST = "honest"


def units(make: Make, methods: tuple[str, ...], settings) -> Iterator[Unit]:
    """Models on all files of each method at `config.comparison.psnr`, seed by seed."""
    own, psnr = make.subject.config.suite.pirates, settings.psnr
    depends = {name: own[name] for name in ("steps", "looks", "images")}
    for seed in range(own.seeds):
        for method in (HONEST, *methods):
            for architecture in own.architectures:
                yield Unit(
                    f"pirates/{method}-{architecture}-{seed}",
                    own.steps,
                    lambda method=method, architecture=architecture, seed=seed: train(
                        make, method, psnr, architecture, seed
                    ),
                    depends | ({} if method == HONEST else make.depends(method, psnr)),
                )


def train(make: Make, method: str, psnr: float, architecture: str, seed: int) -> dict[str, Any]:
    """As `experiments.pirates.train`; images of which there is no file are left out.

    Returns:
      What that returns, `method`, and `count`, the number of training images; where these are less
      than a batch no accuracies.
    """
    subject = make.owner if method == HONEST else make.given_away(method, psnr)
    images = subject.originals("train")[0]
    result = {"method": method, "count": len(images)}
    if len(images) < make.subject.config.classifiers.batch_size:
        return result | {"architecture": architecture, "seed": seed, "peak": None, "last": None}
    files = images if method == HONEST else subject.protected("train").images
    return result | pirates.train(subject, Loot(method, lambda: files), architecture, seed)
