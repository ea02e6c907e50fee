"""Data sets whose images lie in record files, many in each: what all kinds have in common."""

import abc
import dataclasses
import io
import pathlib
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from raeg_jax.cli.scan import SourceImage
from raeg_jax.image_file.read import ImageFile, decode_image_file, pixel_cost


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """One record file.

    Attributes:
      path: of the file.
      name: relative to the data set, '/' between folders; the output has it, too.
      group: what its examples' names begin with: a split, or the file's own name.
      first: number of its first example in the group.
      length: number of its examples; None where only reading the file tells.
    """

    path: pathlib.Path
    name: str
    group: str
    first: int = 0
    length: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Example(SourceImage):
    """An example with its image; any thread may call any method.

    Attributes:
      number: in its group.
    """

    number: int

    def cost(self) -> int:
        """See `SourceImage`."""
        return pixel_cost(io.BytesIO(self.image()))

    def read(self) -> ImageFile:
        """Decodes the image."""
        return decode_image_file(self.image(), str(self.source))

    def image(self) -> bytes:
        """Returns the image file.

        Raises:
          UserError: there is none, or there are several, or the example can't be read.
        """
        raise NotImplementedError

    def with_image(self, image: bytes) -> bytes:
        """Returns what the example is written from: all but the image as it was.

        Args:
          image: the PNG that it gets.
        """
        raise NotImplementedError


E = TypeVar("E", bound=Example)


class RecordDataset(abc.ABC, Generic[E]):
    """A data set in record files.

    Attributes:
      folder: of the data set.
      files: in order.
    """

    folder: pathlib.Path
    files: list[RecordFile]

    @abc.abstractmethod
    def examples(self, file: RecordFile) -> Iterator[E]:
        """Opens a record file.

        Raises:
          UserError: it is damaged; the examples themselves raise none.
        """

    @abc.abstractmethod
    def write(
        self, file: RecordFile, path: pathlib.Path, examples: Iterator[tuple[int, bytes]]
    ) -> None:
        """Writes a record file of the same kind.

        Args:
          file: of which it was made.
          path: of the new file.
          examples: (number, what `Example.with_image` returned), by numbers.

        Raises:
          OSError, RuntimeError, ValueError: it can't be written.
        """


class Description(abc.ABC):
    """The files of a data set beside its record files; without them it isn't one."""

    @abc.abstractmethod
    def withdraw(self) -> None:
        """Makes the folder no data set, while it isn't whole."""

    @abc.abstractmethod
    def write(self) -> list[Any]:
        """Writes the files for the record files that are there; returns their `Result`s."""
