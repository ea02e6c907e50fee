"""Examples of a TFDS data set in its record files: images with what belongs to them.

Records are serialised `tf.train.Example`s. They are taken apart and put together as such: what
isn't the image stays as it was, bit for bit.
"""

import dataclasses
import io
import os
import pathlib
from collections.abc import Sequence

from array_record.python.array_record_data_source import ArrayRecordDataSource
from tensorflow_datasets.proto import tf_example_pb2

from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, decode_image_file
from raeg_jax.tool.room import room_of


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Open record files that follow each other.

    Attributes:
      serialised: one an example; for any thread.
      folder: of the data set, for messages.
      split: which they belong to.
      first: number of the first in its split.
      image: name of the image feature in examples.
    """

    serialised: Sequence[bytes]
    folder: pathlib.Path
    split: str
    first: int
    image: str


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One of them; it has what a `walk.Job` has.

    Attributes:
      records: which it is among.
      number: in its split.
    """

    records: Records
    number: int

    @property
    def name(self) -> str:
        """Its name in reports."""
        return f"{self.records.split}/{self.number}"

    @property
    def source(self) -> str:
        """Its name in messages."""
        return f"{self.records.folder}, example {self.number} of {self.records.split},"

    def room(self) -> int:
        """How much of it reading takes, see `room.room_of`."""
        return room_of(io.BytesIO(self._image()))

    def read(self) -> ImageFile:
        """Decodes the image."""
        return decode_image_file(self._image(), self.source)

    def label(self, feature: str) -> int:
        """Returns the value of a label feature."""
        return self._only(self._parsed().features.feature[feature].int64_list.value, feature)

    def with_image(self, image: bytes) -> bytes:
        """Returns the example, serialised, with another image file."""
        parsed = self._parsed()
        parsed.features.feature[self.records.image].bytes_list.value[:] = [image]
        return parsed.SerializeToString(deterministic=True)

    def _image(self) -> bytes:
        name = self.records.image
        return self._only(self._parsed().features.feature[name].bytes_list.value, name)

    def _parsed(self):
        try:
            record = self.records.serialised[self.number - self.records.first]
            return tf_example_pb2.Example.FromString(record)
        except Exception as error:
            raise UserError(
                f"{self.source} can't be read ({first_line(error)}): copy the data set again"
            ) from error

    def _only(self, values, feature):
        if len(values) != 1:
            raise UserError(
                f"{self.source} has {len(values)} values of {feature}, not one: prepare the data "
                "set again"
            )
        return values[0]


def open_records(*paths: pathlib.Path) -> Sequence[bytes]:
    """Opens record files, one after the other; for any thread.

    Raises:
      UserError: one can't be read.
    """
    try:
        return ArrayRecordDataSource([os.fspath(path) for path in paths])
    except Exception as error:
        raise UserError(
            f"{paths[0]} can't be read ({first_line(error)}): copy the data set again"
        ) from error


def first_line(error: Exception) -> str:
    """What an error of TFDS, often a long story, says first."""
    return (str(error) or type(error).__name__).splitlines()[0]
