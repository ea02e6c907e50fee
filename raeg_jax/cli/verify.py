"""Recovering in memory: do all originals come back, and what do classifiers predict?"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import tqdm

from raeg_jax.cli.outputs import Output, Outputs, Target
from raeg_jax.cli.pipeline import Loaded, Operation
from raeg_jax.cli.report import Result, Status, echo
from raeg_jax.cli.scan import SourceImage
from raeg_jax.cli.sources import Originals
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, same_samples
from raeg_jax.protection.restore import PixelRecoverer, Restored, restore

if TYPE_CHECKING:
    from raeg_jax.evaluation.readers import Reader


class _Verified(NamedTuple):
    """A recovered picture, and by reader its predictions, such as {"protected": "ibis"}."""

    restored: Restored
    predictions: dict[str, dict[str, str]]


@dataclasses.dataclass(frozen=True)
class Verification(Operation[_Verified]):
    """Recovers pictures, and compares them with their originals.

    Attributes:
      recoverer: recovers pixels, and compares their hash.
      readers_of: by the id of a picture's generator, readers of it by name.
      originals: None where none were given.
    """

    recoverer: PixelRecoverer
    readers_of: Callable[[bytes], Mapping[str, Reader]]
    originals: Originals | None

    def cost(self, image: SourceImage) -> int:
        """Of a protected file, and of its original."""
        return image.cost() + (self.originals.cost(image) if self.originals else 0)

    def read(self, image: SourceImage) -> Loaded:
        """Reads a protected file, and its original."""
        originals = self.originals.read(image) if self.originals else ()
        return Loaded(image, image.read(), originals=originals)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """See `Operation`."""
        return self.recoverer.shape(height, width)

    def transform(self, batch: Sequence[Loaded]) -> Sequence[_Verified | Exception]:
        """Recovers pictures, and has all of them classified."""
        results = restore(self.recoverer, [loaded.picture for loaded in batch])
        values = [
            result if isinstance(result, Exception) else _Verified(result, {}) for result in results
        ]
        groups = collections.defaultdict(list)
        for value, loaded in zip(values, batch, strict=True):
            if isinstance(value, _Verified):
                groups[value.restored.recovered.generator_id].append((value, loaded))
        for generator_id, pairs in groups.items():
            self._classify(pairs, self.readers_of(generator_id))
        return values

    def _classify(
        self, pairs: Sequence[tuple[_Verified, Loaded]], readers: Mapping[str, Reader]
    ) -> None:
        """Adds the predictions of all pictures of each pair."""
        if not readers:
            return
        pictures = {
            "protected": [loaded.picture for _, loaded in pairs],
            "recovered": [value.restored.picture for value, _ in pairs],
        }
        if self.originals:
            originals = [_original(v.restored.picture, loaded.originals) for v, loaded in pairs]
            pictures = {"original": originals, **pictures}
        for kind, of_kind in pictures.items():
            pixels = [picture.pixels for picture in of_kind]
            for name, reader in readers.items():
                for (value, _), class_name in zip(pairs, reader.predict(pixels), strict=True):
                    value.predictions.setdefault(name, {})[kind] = class_name

    def output(self, loaded: Loaded, value: _Verified, path: pathlib.Path) -> Output:
        """Compares with the original."""
        picture, notes, recovered = value.restored
        if self.originals and not any(same_samples(picture, one) for one in loaded.originals):
            raise UserError(
                f"{loaded.image.source} is recovered as it was protected, but the original given "
                f"differs: has {loaded.image.name} been changed in {self.originals.path}?"
            )
        payload = "pixels" if recovered.in_pixels else "chunk"
        return Output(picture, notes, {"payload": payload, "predictions": value.predictions})


class VerifiedLines(Outputs):
    """Prints a line for each image, and writes nothing.

    Attributes:
      counts: by reader, number of images that it read.
      changed: by reader, number of those that it reads otherwise once they are recovered, which
        makes them the originals bit for bit.
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.changed: collections.Counter[str] = collections.Counter()

    def begin(self, image: SourceImage) -> Target:
        """See `Outputs`."""
        return Target(image.name, pathlib.Path(image.name))

    def write(self, image: SourceImage, target: Target, output: Output) -> Result:
        """Writes nothing."""
        return Result(image.name, notes=output.notes, details=output.details)

    def record(self, result: Result) -> None:
        """Prints a line."""
        if result.status is Status.FAILED:
            _print(f"FAILED  {result.reason}")
            return
        parts = [f"exact   {result.name}"]
        predictions: Mapping[str, Mapping[str, str]] = result.details["predictions"]
        for name, classes in predictions.items():
            parts.append(f"{name}: " + ", ".join(f"{kind} {c}" for kind, c in classes.items()))
            self.counts[name] += 1
            self.changed[name] += classes["protected"] != classes["recovered"]
        _print("; ".join(parts))

    def summary(self) -> list[str]:
        """Returns a line for each reader."""
        return [
            f"{name} reads {self.changed[name]} of {count} protected images otherwise than the "
            "originals"
            for name, count in self.counts.items()
        ]


def _original(recovered: ImageFile, originals: Sequence[ImageFile]) -> ImageFile:
    """Returns the picture that is equal, or any."""
    return next((one for one in originals if same_samples(recovered, one)), originals[0])


def _print(line: str) -> None:
    # The bar is cleared first, and drawn again below the line.
    with tqdm.tqdm.external_write_mode(sys.stdout):
        echo(line)
