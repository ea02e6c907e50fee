"""Recovering originals from protected picture files."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from raeg_jax.image_file import samples
from raeg_jax.image_file.read import ImageFile
from raeg_jax.image_file.write import lost_metadata
from raeg_jax.payload.errors import NotAPayloadError, TamperedPixelsError
from raeg_jax.payload.payload import SourceMode
from raeg_jax.tool.outcome import Outcome
from raeg_jax.tool.outputs import Outputs
from raeg_jax.tool.steps import Begun, Loaded, begin
from raeg_jax.tool.walk import Job

_GREY = (SourceMode.GREY, SourceMode.GREY_ALPHA)
_ALPHA = (SourceMode.RGBA, SourceMode.GREY_ALPHA)
OPAQUE = (
    "it has no alpha channel, as WebP leaves out one that is opaque everywhere: so is the "
    "recovered image's"
)
# What a turned image may look like: as if it had never been protected, or changed.
_MAYBE_TURNED = (NotAPayloadError, TamperedPixelsError)


class Restored(NamedTuple):
    """A recovered picture.

    Attributes:
      picture: upright.
      notes: on what differs from the original's file.
      recovered: the `codec.recover.Recovered` in it.
    """

    picture: ImageFile
    notes: tuple[str, ...]
    recovered: Any


@dataclasses.dataclass(frozen=True)
class Recovering:
    """The steps of recovering, see `steps.Steps`.

    Attributes:
      recoverer: as `codec.recover.Recoverer`.
      outputs: where recovered files go.
    """

    recoverer: object
    outputs: Outputs

    def begin(self, job: Job) -> Begun | Outcome:
        """Finds the place of the output."""
        return begin(job, self.outputs)

    def read(self, begun: Begun) -> Loaded:
        """Reads a protected file."""
        return Loaded(begun, begun.job.read())

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Of tiles."""
        return self.recoverer.shape(height, width)

    def transform(self, loaded: Sequence[Loaded]):
        """Recovers."""
        return recover(self.recoverer, [one.picture for one in loaded])

    def write(self, loaded: Loaded, result: Restored):
        """Writes an original, whose raster lies as in its file."""
        found = result.recovered
        return self.outputs.write(
            loaded.begun.target,
            result.picture,
            result.notes + lost_metadata(result.picture, loaded.begun.target.path),
            {"payload": "pixels" if found.in_pixels else "chunk"},
            orientation=found.orientation,
        )

    def keep(self, written):
        """Finishes files."""
        return self.outputs.keep(written)


def recover(recoverer, pictures: Sequence[ImageFile]) -> list[Restored | Exception]:
    """Recovers pictures; errors stand for those that can't be.

    A viewer may have told a protected file since then how it is to be turned, and then it was
    turned when it was read. So what does not come back is tried as its raster is stored.
    """
    results = _recover(recoverer, pictures)
    again = [
        index
        for index, (picture, result) in enumerate(zip(pictures, results, strict=True))
        if picture.orientation != samples.UPRIGHT and isinstance(result, _MAYBE_TURNED)
    ]
    stored = [pictures[index].as_stored() for index in again]
    for index, result in zip(again, _recover(recoverer, stored), strict=True):
        # With another key it is found, too, and that is what is wrong.
        if not isinstance(result, _MAYBE_TURNED):
            results[index] = result
    return results


def _recover(recoverer, pictures: Sequence[ImageFile]) -> list[Restored | Exception]:
    results = recoverer.recover(
        [picture.pixels for picture in pictures], [picture.payload_chunk for picture in pictures]
    )
    return [
        result if isinstance(result, Exception) else _restored(picture, result)
        for picture, result in zip(pictures, results, strict=True)
    ]


def _restored(protected: ImageFile, result) -> Restored:
    """Puts together a recovered picture.

    Args:
      protected: what it was recovered from, whose alpha and metadata it has.
      result: a `codec.recover.Recovered`.
    """
    alpha, notes = protected.alpha, protected.notes
    if alpha is None and result.mode in _ALPHA:
        alpha, notes = np.full(result.pixels.shape[:2], 255, np.uint8), (*notes, OPAQUE)
    mode = "grey" if result.mode in _GREY else "rgb"
    picture = dataclasses.replace(protected, pixels=result.pixels, alpha=alpha, mode=mode)
    return Restored(picture, notes, result)
