"""Recovering originals: the operation of `raeg recover`."""

import dataclasses
import pathlib
from collections.abc import Sequence

from raeg_jax.cli.outputs import Output
from raeg_jax.cli.pipeline import Loaded, Operation
from raeg_jax.cli.scan import SourceImage
from raeg_jax.image_file.write import lost_metadata
from raeg_jax.payload.errors import PayloadError
from raeg_jax.protection.restore import PixelRecoverer, Restored, restore


@dataclasses.dataclass(frozen=True)
class Recovery(Operation[Restored]):
    """Recovers the originals of protected pictures.

    Attributes:
      recoverer: recovers pixels, and compares their hash.
    """

    recoverer: PixelRecoverer

    def read(self, image: SourceImage) -> Loaded:
        """Reads a protected picture."""
        return Loaded(image, image.read())

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """See `Operation`."""
        return self.recoverer.shape(height, width)

    def transform(self, batch: Sequence[Loaded]) -> Sequence[Restored | PayloadError]:
        """Recovers pictures."""
        return restore(self.recoverer, [loaded.picture for loaded in batch])

    def output(self, loaded: Loaded, value: Restored, path: pathlib.Path) -> Output:
        """Returns an original, whose raster lies as in its file."""
        recovered = value.recovered
        return Output(
            value.picture,
            value.notes + lost_metadata(value.picture, path),
            {"payload": "pixels" if recovered.in_pixels else "chunk"},
            {"orientation": recovered.orientation},
        )
