"""Protecting pictures: the operation of `raeg protect`."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from raeg_jax.cli.outputs import Output
from raeg_jax.cli.pipeline import Loaded, Operation
from raeg_jax.cli.scan import SourceImage
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile
from raeg_jax.image_file.write import lost_metadata
from raeg_jax.payload.errors import NotAPayloadError, PayloadError, TamperedPixelsError
from raeg_jax.payload.payload import SourceMode
from raeg_jax.payload.seal import find_payload, read_public_header

if TYPE_CHECKING:
    from raeg_jax.methods.tool import ToolProtector
    from raeg_jax.protection.protect import Protected, Protector

_MODES = {
    ("rgb", False): SourceMode.RGB,
    ("grey", False): SourceMode.GREY,
    ("rgb", True): SourceMode.RGBA,
    ("grey", True): SourceMode.GREY_ALPHA,
}


@dataclasses.dataclass(frozen=True)
class Protection(Operation):
    """Protects pictures.

    Attributes:
      protector: protects pixels.
      label_of: the class of an image, or None where the generator's targets are to say what they
        see in it.
      strip: leave out metadata.
    """

    protector: Protector | ToolProtector
    label_of: Callable[[SourceImage], int | None]
    strip: bool = False

    def read(self, image: SourceImage) -> Loaded:
        """Reads an original."""
        label = self.label_of(image)
        picture = image.read()
        _check_unprotected(picture, image)
        return Loaded(image, picture, label)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """See `Operation`."""
        return self.protector.shape(height, width)

    def transform(self, batch: Sequence[Loaded]) -> Sequence[Protected | UserError]:
        """Protects pixels."""
        return self.protector.protect(
            [loaded.picture.pixels for loaded in batch],
            [loaded.label for loaded in batch],
            [_MODES[loaded.picture.mode, loaded.picture.alpha is not None] for loaded in batch],
            [loaded.picture.orientation for loaded in batch],
        )

    def output(self, loaded: Loaded, value: Protected, path: pathlib.Path) -> Output:
        """Returns a protected picture, which is upright and has colours."""
        if not value.in_pixels and path.suffix.lower() != ".png":
            raise UserError(
                f"{loaded.image.source} has no room for the payload in its pixels, and a "
                f"{path.suffix} file none beside them: use --format png"
            )
        psnr = float(value.psnr)
        return Output(
            dataclasses.replace(loaded.picture, pixels=value.pixels, mode="rgb"),
            loaded.picture.notes + (() if self.strip else lost_metadata(loaded.picture, path)),
            {
                "payload": "pixels" if value.in_pixels else "chunk",
                # JSON knows no infinity.
                "psnr": round(psnr, 3) if math.isfinite(psnr) else None,
            },
            {"strip": self.strip, "payload_chunk": None if value.in_pixels else value.blob},
        )


def _check_unprotected(picture: ImageFile, image: SourceImage) -> None:
    """Refuses a protected image: a payload beside its pixels would be lost."""
    try:
        read_public_header(find_payload(picture).blob)
    except (TamperedPixelsError, NotAPayloadError):
        # One in 65,536 images looks as if it had been changed.
        return
    except PayloadError:
        pass
    raise UserError(f"{image.source} is protected already: give the original, or recover it first")
