"""Units of experiments that do many things with the same files."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from raeg_jax.comparison.compared import Compared, Make
from raeg_jax.experiments.store import Unit


def of_files(
    experiment: str,
    make: Make,
    methods: Iterable[str],
    names: Iterable[str],
    cost: float,
    measure: Callable[[Compared, str], Mapping[str, Any]],
) -> Iterator[Unit]:
    """A unit for each method and name, with the files at `config.comparison.psnr`.

    Args:
      experiment: its name.
      make: makes what is compared.
      methods: whose files.
      names: of what is done with them.
      cost: of a unit, see there.
      measure: does it.
    """
    settings = make.subject.config.comparison
    for method in methods:
        for name in names:
            yield Unit(
                f"{experiment}/{method}-{name}",
                cost,
                lambda method=method, name=name: measure(make(method, settings.psnr), name),
                make.depends(method, settings.psnr) | {"images": settings.images},
            )
