"""What defences make of each contender's files."""

from collections.abc import Iterator
from typing import Any

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.comparison.compared import Compared, Make
from raeg_jax.comparison.quality import SPLIT
from raeg_jax.comparison.units import of_files
from raeg_jax.experiments import defending
from raeg_jax.experiments.store import Unit


def units(make: Make, methods: tuple[str, ...], settings) -> Iterator[Unit]:
    """Each defence against each method."""
    return of_files("defences", make, methods, DEFENCES, 20.0, measure)


def measure(compared: Compared, name: str) -> dict[str, Any]:
    """As `experiments.defending.measure`, with the method's name; nothing of no files."""
    result = {"method": compared.method, "defence": name}
    if not len(compared.protected(SPLIT).kept):
        return result | {"classifiers": {}, "psnr": None}
    return result | defending.measure(compared, name, DEFENCES[name])
