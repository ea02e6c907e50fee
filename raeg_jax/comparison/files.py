"""What a contender made of a split, as it is kept on disk."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from raeg_jax.comparison.contender import Made
from raeg_jax.evaluation.roundtrip import png_roundtrip
from raeg_jax.files import whole_file


@dataclasses.dataclass(frozen=True, eq=False)
class Files:
    """Images [n] are those of which there is a file.

    Attributes:
      kept: int [n], numbers of these among the originals.
      images: uint8 [n, H, W, 3], as the files have them.
      unmarked: uint8 [n, H, W, 3], before hiding; none where only files were wanted.
      adversarial: uint8 [n, H, W, 3], what the attack found; the same.
      in_pixels: bool [n], the payload is in the file.
      payloads: uint8, the payloads one after the other, of `sizes` bytes each.
      sizes: int [n].
      failures: why there is no file of the others.
      seconds: that an image took, without compilation.
      aim: of the contender.
    """

    kept: np.ndarray
    images: np.ndarray
    unmarked: np.ndarray
    adversarial: np.ndarray
    in_pixels: np.ndarray
    payloads: np.ndarray
    sizes: np.ndarray
    failures: np.ndarray
    seconds: np.ndarray
    aim: np.ndarray

    def blob(self, index: int) -> bytes:
        """The payload of an image."""
        start = int(self.sizes[:index].sum())
        return self.payloads[start : start + int(self.sizes[index])].tobytes()

    def save(self, path: pathlib.Path) -> None:
        """Writes all of it, or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.savez(file, **vars(self))


def load(path: pathlib.Path) -> Files:
    """Reads what `Files.save` wrote."""
    with np.load(path) as kept:
        return Files(**kept)


def collect(
    made: Sequence[Made], shape: Sequence[int], seconds: float, aim: float, whole: bool
) -> Files:
    """Puts together what became of images.

    Args:
      made: of each image.
      shape: of all images, [H, W, 3].
      seconds: see `Files`.
      aim: see `Files`.
      whole: keep what files were made from, too.
    """
    kept = [index for index, one in enumerate(made) if not one.failure]
    good = [made[index] for index in kept]

    def stack(images):
        return np.stack(images) if images else np.zeros((0, *shape), np.uint8)

    files = stack([one.file for one in good])
    before = good if whole else []
    return Files(
        kept=np.array(kept, np.int64),
        images=png_roundtrip(files)[0] if good else files,
        unmarked=stack([one.unmarked for one in before]),
        adversarial=stack([one.adversarial for one in before]),
        in_pixels=np.array([one.in_pixels for one in good], bool),
        payloads=np.frombuffer(b"".join(one.blob for one in good), np.uint8),
        sizes=np.array([len(one.blob) for one in good], np.int64),
        failures=np.array([one.failure for one in made if one.failure], str),
        seconds=np.array(seconds),
        aim=np.array(aim),
    )
