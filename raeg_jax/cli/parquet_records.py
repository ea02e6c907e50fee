"""Parquet files with images as a data set in record files: rows keep all other columns."""

import bisect
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from raeg_jax.cli.records import (
    Example,
    RecordDataset,
    RecordFile,
    feature_labels,
    record_files,
    text_labels,
)
from raeg_jax.cli.scan import DEFAULT_SUFFIX
from raeg_jax.data.parquet_images import LABEL, ParquetImages, Row, open_parquet, without_mode
from raeg_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class ParquetExample(Example):
    """A row of a parquet file.

    Attributes:
      row: its image.
      value: returns its value of a label column.
    """

    row: Row
    value: Callable[[str], Any]

    def image(self) -> bytes:
        """See `Example`."""
        if not self.row.image:
            raise UserError(f"{self.source} has no bytes of an image: put them in, or take it out")
        return self.row.image

    def with_image(self, image: bytes) -> bytes:
        """Returns the image alone: all else is taken from the source once the file is written."""
        return image


class ParquetDataset(RecordDataset[ParquetExample]):
    """A folder of parquet files, or a single one; all have the columns of the first.

    Args:
      source: the folder or the file.

    Raises:
      UserError: there is none, or they have no images.
    """

    def __init__(self, source: pathlib.Path):
        self.folder, files = record_files(source, ".parquet")
        self._images = {file.name: open_parquet(file.path) for file in files}
        self.files = [
            dataclasses.replace(file, length=len(self._images[file.name])) for file in files
        ]
        # Threads ask for rows of one row group after the other.
        self._group_rows = functools.lru_cache(maxsize=2)(_group_rows)
        self._values = functools.lru_cache(maxsize=2)(ParquetImages.values)

    def examples(self, file: RecordFile) -> Iterator[ParquetExample]:
        """See `RecordDataset`."""
        return (self._example(file, row) for row in self._images[file.name].rows())

    def write(
        self, file: RecordFile, path: pathlib.Path, examples: Iterator[tuple[int, bytes]]
    ) -> None:
        """See `RecordDataset`."""
        images = self._images[file.name]
        images.write(path, examples, DEFAULT_SUFFIX, without_mode(images.schema, images.column))

    def label_of(self, class_names: Sequence[str]) -> Callable[[ParquetExample], int | None] | None:
        """Classes are those of a `ClassLabel` column, else what a column `label` says."""
        first, *others = self._images.values()
        features = {
            name: classes
            for name, classes in first.labels.items()
            if all(other.labels.get(name) == classes for other in others)
        }
        if features:
            return feature_labels(features, lambda row, name: row.value(name), class_names)
        if not all(LABEL in images.schema.names for images in self._images.values()):
            return None
        return text_labels(
            map(str, self._values(first, LABEL)),
            lambda row: str(row.value(LABEL)),
            class_names,
            self.files[0].name,
        )

    def original(self, protected: ParquetExample) -> ParquetExample:
        """Finds the row of the same number in the file of the same name."""
        file = next(f for f in self.files if f.group == protected.name.rpartition("/")[0])
        images, number = self._images[file.name], protected.number
        group = bisect.bisect_right(images.first_rows, number) - 1
        rows = self._group_rows(images, group)
        return self._example(file, rows[number - images.first_rows[group]])

    def _example(self, file: RecordFile, row: Row) -> ParquetExample:
        images = self._images[file.name]
        name = f"{file.group}/{row.number}"
        return ParquetExample(
            f"{file.path}, row {row.number},",
            name,
            f"{name}{DEFAULT_SUFFIX}",
            row.number,
            row,
            lambda column: self._values(images, column)[row.number],
        )


def _group_rows(images: ParquetImages, group: int) -> list[Row]:
    return list(images.rows([group]))
