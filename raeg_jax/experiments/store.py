"""Results of experiments, a JSON file each, so that a suite that was stopped resumes."""

import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from raeg_jax.files import check_free_space, json_bytes, write_whole

# What a store's origin says of the generator and of the classifiers that it attacks.
OF_GENERATOR = (
    "step",
    "published",
    "patterns",
    "settings.generator",
    "settings.classifiers.heads",
    "settings.classifiers.targets",
    "settings.classifiers.held_out",
)


class Unit(NamedTuple):
    """A part of an experiment that is measured without interruption.

    Attributes:
      name: such as 'pirates/raeg-densenet_small-0', the experiment first; also the file's name.
      cost: seconds that it takes, roughly, above 0; only the ratio to those of other units counts.
      measure: measures it; the result is what JSON can hold.
      depends: the settings that the result depends on, beside the store's origin.
      ignores: dotted names in the store's origin that it does not depend on.
    """

    name: str
    cost: float
    measure: Callable[[], Mapping[str, Any]]
    depends: Mapping[str, Any]
    ignores: tuple[str, ...] = ()


class Store:
    """Results of units in a folder.

    A result of another generator, other data, settings or versions counts as missing.

    Attributes:
      folder: of the results.
    """

    def __init__(self, folder: pathlib.Path, origin: Mapping[str, Any]):
        """Opens the folder, which is made if it isn't there.

        Args:
          folder: of the results.
          origin: all that results depend on, as JSON holds it.

        Raises:
          OSError: the folder can't be written, or is full.
        """
        self.folder = folder
        self._origin = origin
        folder.mkdir(parents=True, exist_ok=True)
        check_free_space(folder)

    def find(self, unit: Unit) -> dict[str, Any] | None:
        """What a unit's file holds, such as `result` and `seconds`; None where it is missing."""
        try:
            entry = json.loads(self._path(unit).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        is_valid = isinstance(entry, dict) and entry.get("origin") == self._origin_of(unit)
        return entry if is_valid else None

    def measure(self, unit: Unit) -> dict[str, Any]:
        """Measures a unit and writes its file, in place of an older one."""
        started = time.perf_counter()
        result = dict(unit.measure())
        entry = {
            "unit": unit.name,
            "result": result,
            "seconds": time.perf_counter() - started,
            "origin": self._origin_of(unit),
        }
        path = self._path(unit)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json_bytes(entry))
        return entry

    def _origin_of(self, unit: Unit) -> dict[str, Any]:
        # As JSON reads it: tuples are lists there.
        origin = json.loads(json.dumps({**self._origin, "depends": dict(unit.depends)}))
        for name in unit.ignores:
            *groups, last = name.split(".")
            tree = functools.reduce(lambda each, group: each.get(group, {}), groups, origin)
            tree.pop(last, None)
        return origin

    def _path(self, unit: Unit) -> pathlib.Path:
        return self.folder / f"{unit.name}.json"
