"""Protecting pictures: the operation of `raeg protect`."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

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


class _Done(NamedTuple):
    """A protected image, and which of the generator's targets read it as before, by name."""

    protected: Protected
    kept: Mapping[str, bool]


@dataclasses.dataclass(frozen=True)
class Protection(Operation[_Done]):
    """Protects pictures.

    Attributes:
      protector: protects pixels.
      label_of: the class of an image, or None where the generator's targets are to say what they
        see in it.
      strip: leave out metadata.
      readings: of images by the generator's targets, by name and `TOGETHER`; None where the
        generator has none.
    """

    protector: Protector | ToolProtector
    label_of: Callable[[SourceImage], int | None]
    strip: bool = False
    readings: Callable[[Sequence[np.ndarray]], Mapping[str, np.ndarray]] | None = None

    def read(self, image: SourceImage) -> Loaded:
        """Reads an original."""
        label = self.label_of(image)
        picture = image.read()
        _check_unprotected(picture, image)
        return Loaded(image, picture, label)

    @property
    def batch_size(self) -> int:
        """See `Operation`."""
        return self.protector.batch_size

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """See `Operation`."""
        return self.protector.shape(height, width)

    def transform(self, batch: Sequence[Loaded]) -> Sequence[_Done | UserError]:
        """Protects pixels, and has the generator's targets read what became of them."""
        originals = [loaded.picture.pixels for loaded in batch]
        results = self.protector.protect(
            originals,
            [loaded.label for loaded in batch],
            [_MODES[loaded.picture.mode, loaded.picture.alpha is not None] for loaded in batch],
            [loaded.picture.orientation for loaded in batch],
        )
        pairs = [
            (original, result.pixels)
            for original, result in zip(originals, results, strict=True)
            if not isinstance(result, UserError)
        ]
        kept = iter(self._kept(pairs))
        return [
            result if isinstance(result, UserError) else _Done(result, next(kept))
            for result in results
        ]

    def _kept(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[dict[str, bool]]:
        """Which targets read a protected image as they read its original, of each pair."""
        kept: list[dict[str, bool]] = [{} for _ in pairs]
        if self.readings and pairs:
            # In one pass: both share batches.
            images = [image for pair in pairs for image in pair]
            for name, classes in self.readings(images).items():
                for each, before, after in zip(kept, classes[::2], classes[1::2], strict=True):
                    each[name] = bool(before == after)
        return kept

    def output(self, loaded: Loaded, value: _Done, path: pathlib.Path) -> Output:
        """Returns a protected picture, which is upright and has colours."""
        protected, kept = value
        if not protected.in_pixels and path.suffix.lower() != ".png":
            raise UserError(
                f"{loaded.image.source} has no room for the payload in its pixels, and a "
                f"{path.suffix} file none beside them: use --format png"
            )
        psnr = float(protected.psnr)
        return Output(
            dataclasses.replace(loaded.picture, pixels=protected.pixels, mode="rgb"),
            loaded.picture.notes + (() if self.strip else lost_metadata(loaded.picture, path)),
            {
                "payload": "pixels" if protected.in_pixels else "chunk",
                # JSON knows no infinity.
                "psnr": round(psnr, 3) if math.isfinite(psnr) else None,
                **({"targets": kept} if kept else {}),
            },
            {"strip": self.strip, "payload_chunk": None if protected.in_pixels else protected.blob},
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
