"""Protecting picture files."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile
from raeg_jax.image_file.write import lost_metadata
from raeg_jax.payload.errors import NotAPayloadError, PayloadError, TamperedPixelsError
from raeg_jax.payload.payload import SourceMode
from raeg_jax.payload.seal import read_public_header
from raeg_jax.tool.outcome import Outcome
from raeg_jax.tool.outputs import Outputs
from raeg_jax.tool.payloads import find
from raeg_jax.tool.steps import Begun, Loaded, begin
from raeg_jax.tool.walk import Job

_MODES = {
    ("rgb", False): SourceMode.RGB,
    ("grey", False): SourceMode.GREY,
    ("rgb", True): SourceMode.RGBA,
    ("grey", True): SourceMode.GREY_ALPHA,
}


@dataclasses.dataclass(frozen=True)
class Protecting:
    """The steps of protecting, see `steps.Steps`.

    Attributes:
      protector: as `codec.protect.Protector`.
      outputs: where protected files go.
      label_of: the class of an image, or None where the generator's targets are to say what they
        see in it.
      strip: leave out metadata.
    """

    protector: object
    outputs: Outputs
    label_of: Callable[[Job], int | None]
    strip: bool = False

    def begin(self, job: Job) -> Begun | Outcome:
        """Finds the place of the output."""
        return begin(job, self.outputs)

    def read(self, begun: Begun) -> Loaded:
        """Reads an original."""
        label = self.label_of(begun.job)
        picture = begun.job.read()
        _check_unprotected(picture, begun.job)
        return Loaded(begun, picture, label)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Of tiles."""
        return self.protector.shape(height, width)

    def transform(self, loaded: Sequence[Loaded]):
        """Protects."""
        return self.protector.protect(
            [one.picture.pixels for one in loaded],
            [one.label for one in loaded],
            [_MODES[one.picture.mode, one.picture.alpha is not None] for one in loaded],
            [one.picture.orientation for one in loaded],
        )

    def write(self, loaded: Loaded, result):
        """Writes a protected file, which is upright and has colours."""
        suffix = loaded.begun.target.path.suffix
        if not result.in_pixels and suffix.lower() != ".png":
            raise UserError(
                f"{loaded.job.source} has no room for the payload in its pixels, and a {suffix} "
                "file none beside them: use --format png"
            )
        psnr = float(result.psnr)
        return self.outputs.write(
            loaded.begun.target,
            dataclasses.replace(loaded.picture, pixels=result.pixels, mode="rgb"),
            loaded.picture.notes
            + (() if self.strip else lost_metadata(loaded.picture, loaded.begun.target.path)),
            {
                "payload": "pixels" if result.in_pixels else "chunk",
                # JSON knows no infinity.
                "psnr": round(psnr, 3) if math.isfinite(psnr) else None,
            },
            strip=self.strip,
            payload_chunk=None if result.in_pixels else result.blob,
        )

    def keep(self, written):
        """Finishes files."""
        return self.outputs.keep(written)


def _check_unprotected(picture: ImageFile, job: Job) -> None:
    """Stops at a protected image: a payload beside its pixels would be lost."""
    try:
        read_public_header(find(picture).blob)
    except (TamperedPixelsError, NotAPayloadError):
        # One in 65,536 images looks as if it had been changed.
        return
    except PayloadError:
        pass
    raise UserError(f"{job.source} is protected already: give the original, or recover it first")
