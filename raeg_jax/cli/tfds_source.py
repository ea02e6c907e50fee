"""A TFDS data set as a source of images: shard by shard, into another data set."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from raeg_jax.cli.manifest import NAME, open_manifest
from raeg_jax.cli.outputs import FolderOutputs, Outputs, Target, folder_outputs
from raeg_jax.cli.pipeline import Operation, Runner
from raeg_jax.cli.report import Result, Status, log
from raeg_jax.cli.scan import DEFAULT_SUFFIX, Paths
from raeg_jax.cli.sources import Originals, Source
from raeg_jax.cli.tfds_dataset import Dataset, Example, Shard, open_records
from raeg_jax.cli.tfds_output import Description, ShardOutputs
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile


class TfdsSource(Source):
    """A data set.

    An example that fails is left out, and reported again by every run that finds its shard
    finished. A shard that lost all of its examples isn't written, and then the data set isn't
    finished.

    Args:
      paths: of source and outputs.

    Raises:
      UserError: it isn't a data set whose images can be protected, or another format than PNG was
        asked for.
    """

    format = DEFAULT_SUFFIX[1:]
    resumes = "the same command resumes after the last whole shard"

    def __init__(self, paths: Paths):
        if paths.suffix != DEFAULT_SUFFIX:
            raise UserError(
                f"{paths.source} is a data set, whose images are written as PNG: leave --format out"
            )
        self._dataset, self._out = Dataset(paths.source), paths.out
        self._overwrite = paths.overwrite
        self.total = sum(self._dataset.lengths.values())
        self.all_failures = str(paths.out / NAME)

    def originals(self, given: str) -> Originals:
        """Finds the examples' originals in another data set."""
        return TfdsOriginals(self._dataset, given)

    def label_of(
        self, labels: str | None, class_names: Sequence[str]
    ) -> Callable[[Example], int | None]:
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

        def label_of(example: Example) -> int | None:
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

    def look(self, operation: Operation, outputs: Outputs, runner: Runner) -> None:
        """See `Source`."""
        for shard in self._dataset.shards:
            examples = self._examples(shard, outputs, runner)
            if examples is not None:
                runner.run(examples, operation, outputs)

    def convert(self, operation: Operation, settings: Mapping[str, Any], runner: Runner) -> None:
        """See `Source`."""
        recovered = settings["command"] == "recover"
        with (
            open_manifest(self._out, settings) as manifest,
            folder_outputs(manifest, self._dataset.folder, "", self._overwrite) as outputs,
        ):
            description = Description(outputs, self._out, self._dataset, recovered)
            targets = {
                shard: outputs.target(shard.path, shard.path.name, shard.path.name)
                for shard in self._dataset.shards
            }
            if any(targets.values()):
                description.withdraw()
            complete = True
            for shard, target in targets.items():
                if target is None:
                    entry = manifest.get(shard.path.name)
                    _add_finished(shard, (entry and entry.left_out) or {}, runner)
                else:
                    complete &= self._convert_shard(shard, target, operation, outputs, runner)
            if complete:
                for result in description.write():
                    if result.status is Status.FAILED:
                        runner.add(result, outputs)

    def _examples(self, shard: Shard, outputs: Outputs, runner: Runner) -> Iterator[Example] | None:
        """Opens a shard; a damaged one fails, and the run continues with the others."""
        try:
            return self._dataset.examples(shard)
        except UserError as error:
            runner.add(Result(shard.path.name, Status.FAILED, str(error)), outputs)
            return None

    def _convert_shard(
        self,
        shard: Shard,
        target: Target,
        operation: Operation,
        outputs: FolderOutputs,
        runner: Runner,
    ) -> bool:
        """Makes a shard; returns whether it is there."""
        examples = self._examples(shard, outputs, runner)
        if examples is None:
            return False
        with contextlib.closing(ShardOutputs(outputs.staging, self._out)) as converted:
            runner.run(examples, operation, converted)
            if shard.length and not len(converted):
                for number, reason in converted.left_out.items():
                    outputs.record(_failed(shard, number, reason))
                reason = f"{target.path} isn't written, as no example of it came through"
                runner.add(Result(shard.path.name, Status.FAILED, reason), outputs)
                return False
            details = {"left_out": converted.left_out}
            written = outputs.written(target, converted.finish(), details=details)
            (result,) = outputs.commit([written])
        if result.status is Status.FAILED:
            runner.add(result, outputs)
        return result.status is Status.DONE


def _add_finished(shard: Shard, left_out: Mapping[str, str], runner: Runner) -> None:
    """Counts the examples of a shard that an earlier run made."""
    for _ in range(shard.length - len(left_out)):
        runner.add(Result(shard.path.name, Status.SKIPPED))
    for number, reason in left_out.items():
        runner.add(_failed(shard, number, reason))


def _failed(shard: Shard, number: str, reason: str) -> Result:
    return Result(f"{shard.split}/{number}", Status.FAILED, reason)


class TfdsOriginals(Originals):
    """A data set as it was before protection.

    Args:
      protected: the data set whose originals these are.
      given: the folder of the originals.

    Raises:
      UserError: it isn't a data set, or has other examples.
    """

    def __init__(self, protected: Dataset, given: str):
        self.path = pathlib.Path(given)
        dataset = Dataset(self.path)
        if dataset.lengths != protected.lengths:
            raise UserError(
                f"{given} has {dataset.lengths} examples, and {protected.folder} "
                f"{protected.lengths}, so which belong together isn't known: name its original"
            )
        self._dataset = dataset
        self._serialised = {split: open_records(*paths) for split, paths in dataset.paths.items()}

    def cost(self, image: Example) -> int:
        """See `Originals`."""
        return self._original(image).cost()

    def read(self, image: Example) -> tuple[ImageFile, ...]:
        """Reads the example of the same split and number."""
        return (self._original(image).read(),)

    def _original(self, image: Example) -> Example:
        return self._dataset.example(self._serialised[image.split], image.split, image.number)
