"""Finding the originals of a protected data set."""

import pathlib

from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile
from raeg_jax.tool.tfds_example import Example
from raeg_jax.tool.tfds_source import Dataset


class TfdsOriginals:
    """A data set as it was before protection."""

    def __init__(self, protected: Dataset, given: str):
        """Opens it.

        Raises:
          UserError: it isn't one, or has other examples.
        """
        self.path = pathlib.Path(given)
        dataset = Dataset(self.path)
        if dataset.lengths != protected.lengths:
            raise UserError(
                f"{given} has {dataset.lengths} examples, and {protected.folder} "
                f"{protected.lengths}, so which belong together isn't known: name its original"
            )
        self._records = {split: dataset.opened(split) for split in dataset.paths}

    def room(self, job: Example) -> int:
        """How much of it reading takes, see `room.room_of`."""
        return self._original(job).room()

    def read(self, job: Example) -> tuple[ImageFile]:
        """Reads the example of the same split and number."""
        return (self._original(job).read(),)

    def _original(self, job: Example) -> Example:
        return Example(self._records[job.records.split], job.number)
