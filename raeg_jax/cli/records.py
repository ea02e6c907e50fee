"""Data sets whose images lie in record files, many in each: what all kinds have in common."""

import abc
import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from raeg_jax.cli.report import log
from raeg_jax.cli.scan import SourceImage, find_files
from raeg_jax.errors import UserError
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

    Args:
      source: its folder, or a record file alone.

    Raises:
      UserError: it isn't such a data set, or one whose images can't be protected.

    Attributes:
      folder: of the data set.
      files: in order.
    """

    folder: pathlib.Path
    files: list[RecordFile]

    @abc.abstractmethod
    def __init__(self, source: pathlib.Path):
        pass

    @property
    def lengths(self) -> dict[str, int | None]:
        """Number of examples by group; None where only reading the files tells."""
        return {file.group: file.length for file in self.files}

    @abc.abstractmethod
    def examples(self, file: RecordFile) -> Iterator[E]:
        """Yields the examples of a record file.

        Raises:
          UserError: it is damaged; perhaps as late as an example is asked for.
        """

    @abc.abstractmethod
    def label_of(self, class_names: Sequence[str]) -> Callable[[E], int | None] | None:
        """Returns what gives an example's label; None where the data set's classes don't fit.

        Args:
          class_names: of the generator, by label.
        """

    @abc.abstractmethod
    def original(self, protected: E) -> E:
        """Finds the example of which one of another data set was made; any thread may call it.

        Raises:
          UserError: it isn't there.
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


def record_files(source: pathlib.Path, suffix: str) -> tuple[pathlib.Path, list[RecordFile]]:
    """Lists the record files of a folder, or a single one; returns their folder, too.

    Raises:
      UserError: there is none.
    """
    single = source.is_file()
    folder = source.parent if single else source
    names = [source.name] if single else find_files(source, suffix)
    if not all(name.endswith(suffix) for name in names) or not names:
        raise UserError(f"there is no {suffix} in {source}: name a folder with some")
    return folder, [RecordFile(folder / name, name, name) for name in names]


def feature_labels(
    features: Mapping[str, Sequence[str]],
    value_of: Callable[[E, str], int | None],
    class_names: Sequence[str],
) -> Callable[[E], int | None] | None:
    """Returns what gives the label of an example by the only feature whose classes fit.

    Args:
      features: by name, the classes of each.
      value_of: returns an example's value of a feature.
      class_names: of the generator, by label.

    Returns:
      None where no feature, or more than one, has only classes of the generator.
    """
    fitting = [name for name, own in features.items() if set(class_names).issuperset(own)]
    if len(fitting) != 1:
        return None
    (feature,) = fitting
    log(f"classes by the feature {feature}: all are the generator's")
    own = features[feature]

    def label_of(example: E) -> int | None:
        value = value_of(example, feature)
        # -1 is that of an unknown class.
        if value is None or value == -1:
            return None
        if not 0 <= value < len(own):
            raise UserError(
                f"{example.source} has {feature} {value}, and there are {len(own)} classes: give "
                "--labels none"
            )
        return class_names.index(own[value])

    return label_of


def text_labels(
    texts: Iterable[str | None],
    text_of: Callable[[E], str | None],
    class_names: Sequence[str],
    first: str,
) -> Callable[[E], int | None] | None:
    """Returns what gives the label of an example whose class is called as one of the generator.

    Args:
      texts: what the examples of the first record file call their classes: these decide whether
        the data set's classes count.
      text_of: returns what an example calls its class.
      class_names: of the generator, by label.
      first: name of the first record file.

    Returns:
      None where not all of these are classes of the generator.
    """
    labels = {name: label for label, name in enumerate(class_names)}
    try:
        found = set(texts)
    except UserError:
        # The run reports what can't be read.
        return None
    if not found or not labels.keys() >= found:
        return None
    log(f"classes by {first}: all in it are the generator's")

    def label_of(example: E) -> int:
        text = text_of(example)
        if text not in labels:
            raise UserError(
                f"{example.source} has the class {text}, which the generator doesn't know: give "
                "--labels none"
            )
        return labels[text]

    return label_of


class Description(abc.ABC):
    """The files of a data set beside its record files; without them it isn't one."""

    @abc.abstractmethod
    def withdraw(self) -> None:
        """Makes the folder no data set, while it isn't whole."""

    @abc.abstractmethod
    def write(self) -> list[Any]:
        """Writes the files for the record files that are there; returns their `Result`s."""
