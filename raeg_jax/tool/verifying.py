"""Recovering in memory: do all originals come back, and what do classifiers see?"""

import collections
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tqdm

from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, same_samples
from raeg_jax.tool import lines
from raeg_jax.tool.originals import Originals
from raeg_jax.tool.outcome import Outcome, Status
from raeg_jax.tool.recovering import Restored, recover
from raeg_jax.tool.steps import Begun, Loaded
from raeg_jax.tool.walk import Job


@dataclasses.dataclass(frozen=True, eq=False)
class Compared(Loaded):
    """A protected picture and what may be its original.

    Attributes:
      originals: empty where none were given.
    """

    originals: tuple[ImageFile, ...] = ()


class _Checked(NamedTuple):
    """A recovered picture, and by classifier what it sees before and after."""

    restored: Restored
    readings: Mapping[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class Verifying:
    """The steps of verifying, see `steps.Steps`; nothing is written.

    Attributes:
      recoverer: as `codec.recover.Recoverer`, which compares the hash.
      readers: as `tool.reading.Readers`, or None.
      originals: None where they aren't at hand.
      looked_at: by classifier, number of images that were read.
      misread: by classifier, number of those that it reads otherwise once they are recovered.
    """

    recoverer: Any
    readers: Any
    originals: Originals | None
    misread: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    looked_at: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def begin(self, job: Job) -> Begun:
        """Measures a protected file, and its original."""
        room = job.room()
        if self.originals is not None:
            room += self.originals.room(job)
        return Begun(job, None, room)

    def read(self, begun: Begun) -> Compared:
        """Reads a protected file, and its original."""
        originals = ()
        if self.originals is not None:
            originals = self.originals.read(begun.job)
        return Compared(begun, begun.job.read(), originals=originals)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Of tiles."""
        return self.recoverer.shape(height, width)

    def transform(self, loaded: Sequence[Compared]) -> list[_Checked | Exception]:
        """Recovers, and has all images read."""
        results = recover(self.recoverer, [one.picture for one in loaded])
        good = [i for i, result in enumerate(results) if not isinstance(result, Exception)]
        readings = [{} for _ in results]
        if self.readers and good:
            kinds = {
                "protected": [loaded[i].picture.pixels for i in good],
                "recovered": [results[i].picture.pixels for i in good],
            }
            if self.originals is not None:
                originals = [_original(results[i].picture, loaded[i].originals) for i in good]
                kinds = {"original": [one.pixels for one in originals], **kinds}
            for kind, images in kinds.items():
                for name, classes in self.readers.read(images).items():
                    for i, seen in zip(good, classes, strict=True):
                        readings[i].setdefault(name, {})[kind] = seen
        return [
            result if isinstance(result, Exception) else _Checked(result, seen)
            for result, seen in zip(results, readings, strict=True)
        ]

    def write(self, loaded: Compared, result: _Checked) -> Outcome:
        """Compares with the original."""
        picture, notes, recovered = result.restored
        if loaded.originals and not any(same_samples(picture, one) for one in loaded.originals):
            raise UserError(
                f"{loaded.job.source} is recovered as it was protected, but the original given "
                f"differs: has {loaded.job.name} been changed in {self.originals.path}?"
            )
        payload = "pixels" if recovered.in_pixels else "chunk"
        details = {"payload": payload, "readings": result.readings}
        return Outcome(loaded.job.name, notes=notes, details=details)

    def keep(self, written) -> list[Outcome]:
        """Has nothing to do."""
        return []

    def tell(self, outcome: Outcome) -> None:
        """Prints a line."""
        if outcome.status is Status.FAILED:
            _line(f"FAILED  {outcome.reason}")
            return
        parts = [f"exact   {outcome.name}"]
        for name, seen in outcome.details["readings"].items():
            parts.append(f"{name}: " + ", ".join(f"{kind} {what}" for kind, what in seen.items()))
            self.looked_at[name] += 1
            self.misread[name] += seen["protected"] != seen["recovered"]
        _line("; ".join(parts))

    def summary(self) -> list[str]:
        """Returns a line for each classifier."""
        return [
            f"{name} reads {self.misread[name]} of {count} protected images otherwise than the "
            "recovered ones"
            for name, count in self.looked_at.items()
        ]


def _original(recovered: ImageFile, originals: Sequence[ImageFile]) -> ImageFile:
    """The one that is equal, or any."""
    return next((one for one in originals if same_samples(recovered, one)), originals[0])


def _line(text: str) -> None:
    # The bar makes room for it.
    with tqdm.tqdm.external_write_mode(sys.stdout):
        lines.tell(text)
