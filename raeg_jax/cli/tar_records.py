"""WebDataset tars as a data set in record files: samples keep all but their images."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence

from raeg_jax.cli.records import Example, RecordDataset, RecordFile, record_files, text_labels
from raeg_jax.cli.scan import DEFAULT_SUFFIX, SUFFIXES
from raeg_jax.data import tar_samples
from raeg_jax.data.tar_samples import Sample
from raeg_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class TarExample(Example):
    """A sample of a tar.

    Attributes:
      sample: where its members are.
      class_names: by number, of samples whose `cls` is one.
    """

    sample: Sample
    class_names: Sequence[str]

    def image(self) -> bytes:
        """See `Example`."""
        member = self.sample.image(SUFFIXES)
        return self._reading(tar_samples.read_member, self.sample.tar, member)

    def with_image(self, image: bytes) -> bytes:
        """Returns the sample's blocks of a tar, see `Example`."""
        member = self.sample.image(SUFFIXES)
        return self._reading(tar_samples.with_image, self.sample, member, image, DEFAULT_SUFFIX)

    def class_text(self) -> str | None:
        """Returns what the sample's class is called, if it says so."""
        return self._reading(self.sample.class_text, self.class_names)

    def _reading(self, read, *args):
        try:
            return read(*args)
        except OSError as error:
            raise UserError(
                f"{self.source} can't be read ({error}): copy the data set again"
            ) from error


class TarDataset(RecordDataset[TarExample]):
    """A folder of tars, or a single one.

    Args:
      source: the folder or the tar.

    Raises:
      UserError: there is none.
    """

    def __init__(self, source: pathlib.Path):
        self.folder, self.files = record_files(source, ".tar")
        self._by_group = {file.group: file for file in self.files}
        self._class_names = tar_samples.class_names_in(self.folder)
        # Threads ask for samples of one tar after the other.
        self._by_key = functools.lru_cache(maxsize=2)(_by_key)

    def examples(self, file: RecordFile) -> Iterator[TarExample]:
        """See `RecordDataset`."""
        for number, sample in enumerate(tar_samples.read_samples(file.path)):
            yield self._example(file, number, sample)

    def write(
        self, file: RecordFile, path: pathlib.Path, examples: Iterator[tuple[int, bytes]]
    ) -> None:
        """See `RecordDataset`."""
        tar_samples.write_tar(path, (blocks for _, blocks in examples))

    def label_of(self, class_names: Sequence[str]) -> Callable[[TarExample], int | None] | None:
        """Classes are what `cls` or `json` members say, by a `classnames.txt` if it is there."""
        first = self.files[0]
        texts = (example.class_text() for example in self.examples(first))
        return text_labels(texts, TarExample.class_text, class_names, first.name)

    def original(self, protected: TarExample) -> TarExample:
        """Finds the sample with the same key in the tar of the same name."""
        file = self._by_group[protected.name.rpartition("/")[0]]
        by_key = self._by_key(file.path)
        if protected.sample.key not in by_key:
            raise UserError(f"{protected.source} has no original in {file.path}: check --originals")
        return self._example(file, *by_key[protected.sample.key])

    def _example(self, file: RecordFile, number: int, sample: Sample) -> TarExample:
        name = f"{file.group}/{number}"
        return TarExample(
            str(sample), name, f"{name}{DEFAULT_SUFFIX}", number, sample, self._class_names
        )


def _by_key(tar: pathlib.Path) -> dict[str, tuple[int, Sample]]:
    samples = enumerate(tar_samples.read_samples(tar))
    return {sample.key: (number, sample) for number, sample in samples if not sample.repeated}
