"""A prepared TFDS data set: its images and what belongs to each, read without TensorFlow.

It is a folder `.../NAME[/CONFIG]/VERSION` with `dataset_info.json`, `features.json` and ArrayRecord
files, as `tfds.builder(..., file_format="array_record")` prepares it. Records are serialised
`tf.train.Example`s. They are taken apart and put together as such: what isn't the image stays as it
was, bit for bit.
"""

import collections
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tensorflow_datasets.core.file_adapters import ADAPTER_FOR_FORMAT, FileFormat
from tensorflow_datasets.proto import tf_example_pb2

from raeg_jax.cli.records import Example, RecordDataset, RecordFile, feature_labels
from raeg_jax.errors import UserError

FEATURES = "features.json"
INFO = "dataset_info.json"


@dataclasses.dataclass(frozen=True, eq=False)
class TfdsExample(Example):
    """An example of a data set of TFDS.

    Attributes:
      record: reads it, serialised; any thread may do so.
      split: which it belongs to.
      feature: name of the image feature.
    """

    record: Callable[[], bytes]
    split: str
    feature: str

    def label(self, feature: str) -> int:
        """Returns the value of a label feature."""
        return self._only(self._parsed().features.feature[feature].int64_list.value, feature)

    def with_image(self, image: bytes) -> bytes:
        """Returns the example, serialised, with another image file; see `Example`."""
        parsed = self._parsed()
        parsed.features.feature[self.feature].bytes_list.value[:] = [image]
        return parsed.SerializeToString(deterministic=True)

    def image(self) -> bytes:
        """See `Example`."""
        return self._only(
            self._parsed().features.feature[self.feature].bytes_list.value, self.feature
        )

    def _parsed(self) -> Any:
        try:
            return tf_example_pb2.Example.FromString(self.record())
        except Exception as error:
            raise UserError(
                f"{self.source} can't be read ({_first_line(error)}): copy the data set again"
            ) from error

    def _only(self, values: Sequence[Any], feature: str) -> Any:
        if len(values) != 1:
            raise UserError(
                f"{self.source} has {len(values)} values of {feature}, not one: prepare the data "
                "set again"
            )
        return values[0]


class TfdsDataset(RecordDataset[TfdsExample]):
    """A prepared data set.

    Args:
      source: the folder of the version.

    Raises:
      UserError: it isn't such a data set, or one whose images can't be protected.

    Attributes:
      folder: of the version.
      builder: what TFDS reads it with.
      image: names of the image feature, from outside to inside.
      labels: classes of each label feature, by the name that it has in examples.
      files: in order.
    """

    def __init__(self, source: pathlib.Path):
        self.folder = folder = source
        for name in (INFO, FEATURES):
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder} has record files, but no {name}: let whatever prepares it end first"
                )
        try:
            self.builder = tfds.builder_from_directory(os.fspath(folder))
            self.files = _files(self.builder.info)
        except Exception as error:
            # TFDS raises almost anything on damaged files.
            raise UserError(
                f"{folder} can't be read as a data set ({_first_line(error)}): prepare it again"
            ) from error
        if self.builder.info.file_format != FileFormat.ARRAY_RECORD:
            raise UserError(
                f"{folder} holds {self.builder.info.file_format.value} files, which can't be read "
                "without TensorFlow: convert it first, `tfds convert_format "
                f"--dataset_version_dir={folder} --out_file_format=array_record --out_dir=...`"
            )
        for file in self.files:
            if not file.path.is_file():
                raise UserError(f"{file.path} is missing: copy the data set again")
        self.image = self._find_image()
        self.labels = {
            "/".join(names): tuple(feature.names)
            for names, feature, several in _leaves(self.builder.info.features)
            if isinstance(feature, tfds.features.ClassLabel) and not several and feature.num_classes
        }

    @property
    def lengths(self) -> dict[str, int | None]:
        """Number of examples by split."""
        return {name: split.num_examples for name, split in self.builder.info.splits.items()}

    @property
    def paths(self) -> dict[str, list[pathlib.Path]]:
        """Record files by split."""
        paths = collections.defaultdict(list)
        for file in self.files:
            paths[file.group].append(file.path)
        return paths

    def examples(self, file: RecordFile) -> Iterator[TfdsExample]:
        """See `RecordDataset`."""
        serialised, length = open_records(file.path), file.length or 0
        if len(serialised) != length:
            raise UserError(
                f"{file.path} has {len(serialised)} examples, and {INFO} says {length}: "
                "copy the data set again"
            )
        numbers = range(file.first, file.first + length)
        return (self.example(serialised, file.group, number, file.first) for number in numbers)

    def label_of(self, class_names: Sequence[str]) -> Callable[[TfdsExample], int | None] | None:
        """Classes are those of a label feature, where the generator has them all."""
        return feature_labels(self.labels, TfdsExample.label, class_names)

    def original(self, protected: TfdsExample) -> TfdsExample:
        """Finds the example of the same split and number."""
        return self.example(self._serialised[protected.split], protected.split, protected.number)

    @functools.cached_property
    def _serialised(self) -> dict[str, Sequence[bytes]]:
        return {split: open_records(*paths) for split, paths in self.paths.items()}

    def write(
        self, file: RecordFile, path: pathlib.Path, examples: Iterator[tuple[int, bytes]]
    ) -> None:
        """See `RecordDataset`."""
        count = 0

        def counted() -> Iterator[tuple[int, bytes]]:
            nonlocal count
            for example in examples:
                count += 1
                yield example

        ADAPTER_FOR_FORMAT[FileFormat.ARRAY_RECORD].write_examples(path, counted())
        written = len(open_records(path))
        if written != count:
            raise ValueError(f"only {written} of {count} examples could be written")

    def example(
        self, serialised: Sequence[bytes], split: str, number: int, first: int = 0
    ) -> TfdsExample:
        """Returns an example of records that begin with the example `first` of a split."""
        return TfdsExample(
            source=f"{self.folder}, example {number} of {split},",
            name=f"{split}/{number}",
            output=f"{split}/{number}.png",
            record=functools.partial(serialised.__getitem__, number - first),
            split=split,
            number=number,
            feature="/".join(self.image),
        )

    def _find_image(self) -> tuple[str, ...]:
        images = [
            (names, feature, several)
            for names, feature, several in _leaves(self.builder.info.features)
            if isinstance(feature, tfds.features.Image)
            # A label image is a label, which protection must leave as it is.
            and not isinstance(feature, tfds.features.LabeledImage)
        ]
        if len(images) != 1 or images[0][2]:
            listed = ", ".join(sorted("/".join(names) for names, *_ in images)) or "none"
            raise UserError(
                f"{self.folder} must have one image an example, but its image features are: "
                f"{listed}: export its images as files first"
            )
        names, feature, _ = images[0]
        if feature.np_dtype != np.uint8:
            raise UserError(
                f"{self.folder} has images of {np.dtype(feature.np_dtype).name}: convert them to "
                "uint8 first"
            )
        return names


def open_records(*paths: pathlib.Path) -> Sequence[bytes]:
    """Opens record files, one after the other; for any thread.

    Raises:
      UserError: one can't be read.
    """
    try:
        return ArrayRecordDataSource([os.fspath(path) for path in paths])
    except Exception as error:
        raise UserError(
            f"{paths[0]} can't be read ({_first_line(error)}): copy the data set again"
        ) from error


def _files(info: tfds.core.DatasetInfo) -> list[RecordFile]:
    files = []
    for split in info.splits.values():
        first = 0
        for path, length in zip(split.filepaths, split.shard_lengths, strict=True):
            path = pathlib.Path(path)
            files.append(RecordFile(path, path.name, split.name, first, length))
            first += length
    return files


def _leaves(
    feature: Any, names: tuple[str, ...] = (), several: bool = False
) -> Iterator[tuple[tuple[str, ...], Any, bool]]:
    """Yields (names, feature, whether an example may have several of it)."""
    if isinstance(feature, tfds.features.FeaturesDict):
        for name, inner in feature.items():
            yield from _leaves(inner, (*names, name), several)
    elif isinstance(feature, tfds.features.Sequence):
        yield from _leaves(feature.feature, names, several=True)
    else:
        yield names, feature, several


def _first_line(error: Exception) -> str:
    """Returns the first line of an error of TFDS, whose messages are long."""
    return (str(error) or type(error).__name__).splitlines()[0]
