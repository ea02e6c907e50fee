"""What defences make of each contender's files."""

from collections.abc import Iterator
from typing import Any

from raeg_jax.comparison.compared import Compared, Make
from raeg_jax.comparison.quality import SPLIT
from raeg_jax.evaluation.defences import DEFENCES
from raeg_jax.experiments import defending
from raeg_jax.experiments.store import Unit


def units(make: Make, methods: tuple[str, ...], settings) -> Iterator[Unit]:
    """Each defence against each method, at `config.comparison.psnr`."""
    psnr = settings.psnr
    for method in methods:
        for name in DEFENCES:
            yield Unit(
                f"defences/{method}-{name}",
                20.0,
                lambda method=method, name=name: measure(make(method, psnr), name),
                make.depends(method, psnr) | {"images": settings.images},
            )


def measure(compared: Compared, name: str) -> dict[str, Any]:
    """As `experiments.defending.measure`, with the method's name; nothing of no files."""
    result = {"method": compared.method, "defence": name}
    if not len(compared.protected(SPLIT).kept):
        return result | {"classifiers": {}, "psnr": None}
    return result | defending.measure(compared, name, DEFENCES[name])
