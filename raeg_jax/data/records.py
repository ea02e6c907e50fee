"""A split of a prepared data set as a sequence of records."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import tensorflow_datasets as tfds

from raeg_jax.data.builder import read_index
from raeg_jax.data.cache import reading_from


class Record(TypedDict):
    """An encoded image file (see `decode.to_rgb`), the number of its class and its name."""

    image: bytes
    label: int
    file_name: str


class Records(Sequence):
    """The records of a split, each read from disk when it is asked for.

    Instances can be sent to other processes and shared between threads. Damaged files raise
    UserError.

    Attributes:
      folder: the prepared data; small derived files may be written into it.
      split: 'train' or 'test'.
    """

    def __init__(self, folder: pathlib.Path, split: str):
        self.folder = pathlib.Path(folder)
        self.split = split

    @functools.cached_property
    def _index(self) -> list[tuple[str, int]]:
        return read_index(self.folder)[self.split]

    @functools.cached_property
    def _source(self):
        with reading_from(self.folder):
            builder = tfds.builder_from_directory(self.folder)
            # Bytes come out as they were written: TFDS would need OpenCV to decode them.
            decoders = {"image": tfds.decode.SkipDecoding()}
            return builder.as_data_source(split=self.split, decoders=decoders)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """The label of every record: int32 [N]."""
        return np.array([label for _, label in self._index], np.int32)

    @functools.cached_property
    def file_names(self) -> list[str]:
        """The file name of every record."""
        return [name for name, _ in self._index]

    def __len__(self) -> int:
        return len(self._index)

    # Slices, which nobody needs, are left out.
    def __getitem__(self, index: int) -> Record:  # type: ignore[override]
        index = range(len(self))[index]
        with reading_from(self.folder):
            record = self._source[index]
            return {
                "image": record["image"],
                "label": int(record["label"]),
                "file_name": record["file_name"].decode(),
            }

    def __getstate__(self) -> dict:
        # Without open files: the copy opens its own.
        return {"folder": self.folder, "split": self.split}

    def __repr__(self) -> str:
        return f"Records({str(self.folder)!r}, {self.split!r})"


@dataclasses.dataclass(frozen=True)
class Splits:
    """A data set ready for reading.

    Attributes:
      train: records to train on.
      test: records that training never sees.
      class_names: one a label.
      skipped: files left out of the data set, each with its reason.
      name: of the data set.
      fingerprint: 16 digits that change with the images, their labels and their split.
    """

    train: Sequence[Record]
    test: Sequence[Record]
    class_names: tuple[str, ...]
    skipped: tuple[str, ...]
    name: str
    fingerprint: str

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)
