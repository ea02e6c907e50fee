"""A data set in record files as a source of images: file by file, into another of its kind."""

import contextlib
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from raeg_jax.cli.manifest import NAME, Manifest, open_manifest
from raeg_jax.cli.outputs import FolderOutputs, Outputs, Target, folder_outputs
from raeg_jax.cli.pipeline import Operation, Runner
from raeg_jax.cli.record_outputs import RecordOutputs
from raeg_jax.cli.records import Description, Example, RecordDataset, RecordFile
from raeg_jax.cli.report import Result, Status
from raeg_jax.cli.scan import DEFAULT_SUFFIX, Paths
from raeg_jax.cli.sources import Originals, Source
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile


class RecordSource(Source):
    """A data set in record files.

    An example that fails is left out, and reported again by every run that finds its record file
    finished. A record file that lost all of its examples isn't written, and then the data set isn't
    finished.

    Args:
      paths: of source and outputs.
      dataset: the source.

    Raises:
      UserError: another format than PNG was asked for.

    Attributes:
      files: that this run works on.
    """

    format = DEFAULT_SUFFIX[1:]
    resumes = "the same command resumes after the last whole record file"

    def __init__(self, paths: Paths, dataset: RecordDataset[Any]):
        if paths.suffix != DEFAULT_SUFFIX:
            raise UserError(
                f"{paths.source} is a data set, whose images are written as PNG: leave --format out"
            )
        self._dataset, self._out = dataset, paths.out
        self._source, self._overwrite = paths.source, paths.overwrite
        self.files = dataset.files
        self.all_failures = str(paths.out / NAME)

    @property
    def total(self) -> int | None:  # type: ignore[override]
        """See `Source`."""
        lengths = [file.length for file in self.files]
        return None if None in lengths else sum(length or 0 for length in lengths)

    def label_of(
        self, labels: str | None, class_names: Sequence[str]
    ) -> Callable[[Any], int | None]:
        """Classes are those of the data set, where the generator has them all."""
        if labels == "folders":
            raise UserError(
                f"--labels folders is impossible: {self._dataset.folder} is a data set, whose "
                "labels count by themselves; leave it out, or give none"
            )
        by_dataset = None if labels == "none" else self._dataset.label_of(class_names)
        return by_dataset or (lambda example: None)

    def originals(self, given: str) -> Originals:
        """Finds the examples' originals in another data set of the same kind."""
        return RecordOriginals(self._dataset, given)

    def describe(self, outputs: FolderOutputs, recovered: bool) -> Description | None:
        """Plans what the data set's folder has beside record files; None for nothing.

        Args:
          outputs: gives the files their names.
          recovered: from a protected source; else it is protected.

        Raises:
          UserError: files of others have their names.
        """
        del outputs, recovered
        return None

    def look(self, operation: Operation, outputs: Outputs, runner: Runner) -> None:
        """See `Source`."""
        for file in self.files:
            examples = self._examples(file, outputs, runner)
            if examples is not None:
                runner.run(examples, operation, outputs)

    def convert(self, operation: Operation, settings: Mapping[str, Any], runner: Runner) -> None:
        """See `Source`."""
        recovered = settings["command"] == "recover"
        with (
            open_manifest(self._out, settings) as manifest,
            folder_outputs(manifest, self._source, "", self._overwrite) as outputs,
        ):
            description = self.describe(outputs, recovered)
            # All are checked before anything is written.
            for file in self.files:
                outputs.may_replace(file.name, file.name)
            whole = True
            for file in self.files:
                try:
                    target = outputs.target(file.path, file.name, file.name)
                except UserError as error:
                    runner.add(Result(file.name, Status.FAILED, str(error)), outputs)
                    whole = False
                    continue
                if target is None:
                    _add_finished(file, manifest, runner)
                    continue
                if description:
                    description.withdraw()
                whole &= self._convert_file(file, target, operation, outputs, runner)
            if description and whole:
                for result in description.write():
                    if result.status is Status.FAILED:
                        runner.add(result, outputs)

    def _examples(
        self, file: RecordFile, outputs: Outputs, runner: Runner
    ) -> Iterator[Example] | None:
        """Opens a record file; a damaged one fails, and the run continues with the others."""
        try:
            return self._dataset.examples(file)
        except UserError as error:
            runner.add(Result(file.name, Status.FAILED, str(error)), outputs)
            return None

    def _convert_file(
        self,
        file: RecordFile,
        target: Target,
        operation: Operation,
        outputs: FolderOutputs,
        runner: Runner,
    ) -> bool:
        """Makes a record file; returns whether it is there."""
        examples = self._examples(file, outputs, runner)
        if examples is None:
            return False
        with contextlib.closing(RecordOutputs(outputs.staging, self._out)) as converted:
            runner.run(examples, operation, converted)
            if converted.left_out and not len(converted):
                for result in _failures(file, converted.left_out):
                    outputs.record(result)
                reason = f"{target.path} isn't written, as no example of it came through"
                runner.add(Result(file.name, Status.FAILED, reason), outputs)
                return False
            details = {"left_out": converted.left_out, "examples": len(converted)}
            staged = converted.finish(
                lambda path, examples: self._dataset.write(file, path, examples)
            )
            written = outputs.written(target, staged, details=details)
            (result,) = outputs.commit([written])
        if result.status is Status.FAILED:
            runner.add(result, outputs)
        return result.status is Status.DONE


class RecordOriginals(Originals):
    """A data set as it was before protection.

    Args:
      protected: the data set whose originals these are.
      given: where they are.

    Raises:
      UserError: it isn't a data set of the same kind, or has other examples.
    """

    def __init__(self, protected: RecordDataset[Any], given: str):
        self.path = pathlib.Path(given)
        self._dataset = type(protected)(self.path)
        if self._dataset.lengths != protected.lengths:
            raise UserError(
                f"{given} has {self._dataset.lengths} examples, and {protected.folder} "
                f"{protected.lengths}, so which belong together isn't known: name its original"
            )

    def cost(self, image: Example) -> int:
        """See `Originals`."""
        return self._dataset.original(image).cost()

    def read(self, image: Example) -> tuple[ImageFile, ...]:
        """See `Originals`."""
        return (self._dataset.original(image).read(),)


def _add_finished(file: RecordFile, manifest: Manifest, runner: Runner) -> None:
    """Counts the examples of a record file that an earlier run made."""
    entry = manifest.get(file.name)
    left_out = (entry and entry.left_out) or {}
    # Manifests of before had no number.
    examples = entry.examples if entry else None
    for _ in range((file.length or 0) - len(left_out) if examples is None else examples):
        runner.add(Result(file.name, Status.SKIPPED))
    for result in _failures(file, left_out):
        runner.add(result)


def _failures(file: RecordFile, left_out: Mapping[str, str]) -> Iterable[Result]:
    for number, reason in left_out.items():
        yield Result(f"{file.group}/{number}", Status.FAILED, reason)
