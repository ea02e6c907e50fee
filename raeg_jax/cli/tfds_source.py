"""A TFDS data set as a source of images: shard by shard, into another data set."""

import pathlib
from collections.abc import Callable, Sequence

from raeg_jax.cli.outputs import FolderOutputs
from raeg_jax.cli.record_source import RecordSource
from raeg_jax.cli.report import log
from raeg_jax.cli.scan import Paths
from raeg_jax.cli.sources import Originals
from raeg_jax.cli.tfds_dataset import TfdsDataset, TfdsExample, open_records
from raeg_jax.cli.tfds_output import TfdsDescription
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile


class TfdsSource(RecordSource):
    """A data set of TFDS.

    Args:
      paths: of source and outputs.

    Raises:
      UserError: it isn't a data set whose images can be protected, or another format than PNG was
        asked for.
    """

    _dataset: TfdsDataset

    def __init__(self, paths: Paths):
        super().__init__(paths, TfdsDataset(paths.source))

    def originals(self, given: str) -> Originals:
        """Finds the examples' originals in another data set."""
        return TfdsOriginals(self._dataset, given)

    def label_of(
        self, labels: str | None, class_names: Sequence[str]
    ) -> Callable[[TfdsExample], int | None]:
        """Classes are those of a label feature, where the generator has them all."""
        if labels == "folders":
            raise UserError(
                f"--labels folders is impossible: {self._dataset.folder} is a data set, whose "
                "labels count by themselves; leave it out, or give none"
            )
        features = [
            name
            for name, classes in self._dataset.labels.items()
            if set(class_names).issuperset(classes)
        ]
        if labels == "none" or len(features) != 1:
            return lambda example: None
        (feature,) = features
        log(f"classes by the feature {feature}: all are the generator's")
        classes = self._dataset.labels[feature]

        def label_of(example: TfdsExample) -> int | None:
            value = example.label(feature)
            # TFDS's for an unknown class.
            if value == -1:
                return None
            if not 0 <= value < len(classes):
                raise UserError(
                    f"{example.source} has {feature} {value}, and there are {len(classes)} "
                    "classes: give --labels none"
                )
            return class_names.index(classes[value])

        return label_of

    def describe(self, outputs: FolderOutputs, recovered: bool) -> TfdsDescription:
        """See `RecordSource`."""
        return TfdsDescription(outputs, self._out, self._dataset, recovered)


class TfdsOriginals(Originals):
    """A data set as it was before protection.

    Args:
      protected: the data set whose originals these are.
      given: the folder of the originals.

    Raises:
      UserError: it isn't a data set, or has other examples.
    """

    def __init__(self, protected: TfdsDataset, given: str):
        self.path = pathlib.Path(given)
        dataset = TfdsDataset(self.path)
        if dataset.lengths != protected.lengths:
            raise UserError(
                f"{given} has {dataset.lengths} examples, and {protected.folder} "
                f"{protected.lengths}, so which belong together isn't known: name its original"
            )
        self._dataset = dataset
        self._serialised = {split: open_records(*paths) for split, paths in dataset.paths.items()}

    def cost(self, image: TfdsExample) -> int:
        """See `Originals`."""
        return self._original(image).cost()

    def read(self, image: TfdsExample) -> tuple[ImageFile, ...]:
        """Reads the example of the same split and number."""
        return (self._original(image).read(),)

    def _original(self, image: TfdsExample) -> TfdsExample:
        return self._dataset.example(self._serialised[image.split], image.split, image.number)
