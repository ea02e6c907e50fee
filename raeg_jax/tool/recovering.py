"""Recovering originals from protected picture files."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from raeg_jax.codec.payload import SourceMode
from raeg_jax.codec.picture import Picture
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
        return recover(self.recoverer, loaded)

    def write(self, loaded: Loaded, result):
        """Writes an original, whose raster lies as in its file."""
        picture, notes = restored(loaded.picture, result)
        return self.outputs.write(
            loaded.begun.target,
            picture,
            notes,
            {"payload": "pixels" if result.in_pixels else "chunk"},
            orientation=result.orientation,
        )

    def keep(self, written):
        """Finishes files."""
        return self.outputs.keep(written)


def recover(recoverer, loaded: Sequence[Loaded]):
    """Recovers pictures; errors stand for those that can't be."""
    return recoverer.recover(
        [one.picture.pixels for one in loaded], [one.picture.payload_chunk for one in loaded]
    )


def restored(protected: Picture, result) -> tuple[Picture, tuple[str, ...]]:
    """Puts together a recovered picture.

    Args:
      protected: what it was recovered from, whose alpha and metadata it has.
      result: a `codec.recover.Recovered`.

    Returns:
      the picture, upright, and notes.
    """
    alpha, notes = protected.alpha, protected.notes
    if alpha is None and result.mode in _ALPHA:
        alpha, notes = np.full(result.pixels.shape[:2], 255, np.uint8), (*notes, OPAQUE)
    mode = "grey" if result.mode in _GREY else "rgb"
    picture = dataclasses.replace(protected, pixels=result.pixels, alpha=alpha, mode=mode)
    return picture, notes
