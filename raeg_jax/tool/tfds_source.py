"""A prepared TFDS data set: its images and what belongs to each, read without TensorFlow.

It is a folder `.../NAME[/CONFIG]/VERSION` with `dataset_info.json`, `features.json` and ArrayRecord
files, as `tfds.builder(..., file_format="array_record")` prepares it.
"""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.file_adapters import FileFormat

from raeg_jax.errors import UserError
from raeg_jax.tool.tfds_example import Example, Records, first_line, open_records

FEATURES = "features.json"
INFO = "dataset_info.json"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One record file.

    Attributes:
      path: of the file.
      split: which it belongs to.
      first: number of its first example in the split.
      length: number of its examples.
    """

    path: pathlib.Path
    split: str
    first: int
    length: int


class Dataset:
    """A prepared data set.

    Attributes:
      folder: of the version.
      builder: what TFDS reads it with.
      image: names of the image feature, from outside to inside.
      labels: classes of each label feature, by the name that it has in examples.
      shards: in order.
    """

    def __init__(self, folder: pathlib.Path):
        """Looks at what describes it; reads no images.

        Raises:
          UserError: it isn't such a data set, or one whose images can't be protected.
        """
        self.folder = folder
        for name in (INFO, FEATURES):
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder} has record files, but no {name}: let whatever prepares it end first"
                )
        try:
            self.builder = tfds.builder_from_directory(os.fspath(folder))
            self.shards = _shards(self.builder.info)
        except Exception as error:
            # TFDS raises almost anything on damaged files.
            raise UserError(
                f"{folder} can't be read as a data set ({first_line(error)}): prepare it again"
            ) from error
        if self.builder.info.file_format != FileFormat.ARRAY_RECORD:
            raise UserError(
                f"{folder} holds {self.builder.info.file_format.value} files, which can't be read "
                "without TensorFlow: convert it first, `tfds convert_format "
                f"--dataset_version_dir={folder} --out_file_format=array_record --out_dir=...`"
            )
        for shard in self.shards:
            if not shard.path.is_file():
                raise UserError(f"{shard.path} is missing: copy the data set again")
        self.image = self._find_image()
        self.labels = dict(self._find_labels())

    @property
    def lengths(self) -> dict[str, int]:
        """Number of examples by split."""
        return {name: split.num_examples for name, split in self.builder.info.splits.items()}

    @property
    def paths(self) -> dict[str, list[pathlib.Path]]:
        """Record files by split."""
        paths = collections.defaultdict(list)
        for shard in self.shards:
            paths[shard.split].append(shard.path)
        return paths

    def examples(self, shard: Shard) -> Iterator[Example]:
        """Opens a record file.

        Raises:
          UserError: it is damaged.
        """
        records = open_records(shard.path)
        if len(records) != shard.length:
            raise UserError(
                f"{shard.path} has {len(records)} examples, and {INFO} says {shard.length}: copy "
                "the data set again"
            )
        records = Records(records, self.folder, shard.split, shard.first, "/".join(self.image))
        return (Example(records, shard.first + index) for index in range(shard.length))

    def opened(self, split: str) -> Records:
        """Opens all record files of a split, which must have some.

        Raises:
          UserError: one can't be read.
        """
        records = open_records(*self.paths[split])
        return Records(records, self.folder, split, 0, "/".join(self.image))

    def _find_image(self) -> tuple[str, ...]:
        found = []
        for names, feature, many in _leaves(self.builder.info.features):
            # A label image is what an image is to be read as, like a label.
            if isinstance(feature, tfds.features.Image) and not isinstance(
                feature, tfds.features.LabeledImage
            ):
                found.append((names, feature, many))
        if len(found) != 1 or found[0][2]:
            named = ", ".join(sorted("/".join(names) for names, *_ in found)) or "none"
            raise UserError(
                f"{self.folder} must have one image an example, but its image features are: "
                f"{named}: export its images as files first"
            )
        (names, feature, _) = found[0]
        if feature.np_dtype != np.uint8:
            raise UserError(
                f"{self.folder} has images of {np.dtype(feature.np_dtype).name}: convert them to "
                "uint8 first"
            )
        return names

    def _find_labels(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for names, feature, many in _leaves(self.builder.info.features):
            if isinstance(feature, tfds.features.ClassLabel) and not many and feature.num_classes:
                yield "/".join(names), tuple(feature.names)


def _shards(info: tfds.core.DatasetInfo) -> list[Shard]:
    shards = []
    for split in info.splits.values():
        first = 0
        for path, length in zip(split.filepaths, split.shard_lengths, strict=True):
            shards.append(Shard(pathlib.Path(path), split.name, first, length))
            first += length
    return shards


def _leaves(feature, names: tuple[str, ...] = (), many: bool = False):
    """Yields (names, feature, whether an example may have several of it)."""
    if isinstance(feature, tfds.features.FeaturesDict):
        for name, inner in feature.items():
            yield from _leaves(inner, (*names, name), many)
    elif isinstance(feature, tfds.features.Sequence):
        yield from _leaves(feature.feature, names, many=True)
    else:
        yield names, feature, many
