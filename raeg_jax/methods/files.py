"""The images that a method made of a split, in memory and on disk."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from raeg_jax.evaluation.programs import png_roundtrip
from raeg_jax.files import whole_file
from raeg_jax.methods.method import Result


@dataclasses.dataclass(frozen=True, eq=False)
class ProtectedFiles:
    """The protected images of a split, without those for which the method failed.

    Attributes:
      kept: int64 [n], indices of the protected images' originals in the split.
      images: uint8 [n, H, W, 3], as the files have them.
      unmarked: uint8 [n, H, W, 3], before hiding; empty unless `collect` was called with `whole`.
      adversarial: uint8 [n, H, W, 3], what the attack found; empty in the same case.
      in_pixels: bool [n], whether the file carries its payload in its pixels.
      payloads: uint8, all payloads one after the other.
      sizes: int64 [n], bytes of each payload.
      failures: str [m], why the others have no file.
      seconds: float scalar, time that protecting an image took, without compilation.
      aim: float scalar, `Method.aim` in decibels.
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
        """Returns the payload of protected image `index`, 0 to n - 1."""
        start = int(self.sizes[:index].sum())
        return self.payloads[start : start + int(self.sizes[index])].tobytes()

    def save(self, path: pathlib.Path) -> None:
        """Writes a `.npz` file atomically; makes its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.savez(file, **vars(self))


def load(path: pathlib.Path) -> ProtectedFiles:
    """Reads what `ProtectedFiles.save` wrote."""
    with np.load(path) as arrays:
        return ProtectedFiles(**arrays)


def collect(
    results: Sequence[Result], shape: Sequence[int], seconds: float, aim: float, whole: bool
) -> ProtectedFiles:
    """Collects the results of a split, with the pixels as PNG files give them back.

    Args:
      results: of each image.
      shape: of all images, [H, W, 3].
      seconds: see `ProtectedFiles`.
      aim: see `ProtectedFiles`.
      whole: collect `unmarked` and `adversarial` images, too.
    """
    kept = [index for index, result in enumerate(results) if not result.failure]
    protected = [results[index] for index in kept]
    complete = protected if whole else []

    def stack(images):
        return np.array(images, np.uint8).reshape(len(images), *shape)

    files = stack([result.file for result in protected])
    return ProtectedFiles(
        kept=np.array(kept, np.int64),
        images=png_roundtrip(files)[0] if kept else files,
        unmarked=stack([result.unmarked for result in complete]),
        adversarial=stack([result.adversarial for result in complete]),
        in_pixels=np.array([result.in_pixels for result in protected], bool),
        payloads=np.frombuffer(b"".join(result.blob for result in protected), np.uint8),
        sizes=np.array([len(result.blob) for result in protected], np.int64),
        failures=np.array([result.failure for result in results if result.failure], str),
        seconds=np.array(seconds),
        aim=np.array(aim),
    )
