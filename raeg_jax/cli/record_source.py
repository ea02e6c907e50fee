"""A data set in record files as a source of images: file by file, into another of its kind."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from raeg_jax.cli.manifest import Manifest, manifest_path
from raeg_jax.cli.outputs import FolderOutputs, Outputs, Target, Written, describe_written
from raeg_jax.cli.pipeline import Operation
from raeg_jax.cli.record_outputs import RecordOutputs
from raeg_jax.cli.records import Description, Example, RecordDataset, RecordFile
from raeg_jax.cli.remote_outputs import open_outputs
from raeg_jax.cli.report import Result, Status
from raeg_jax.cli.runner import Runner
from raeg_jax.cli.scan import DEFAULT_SUFFIX, Paths
from raeg_jax.cli.sources import Originals, Source
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile
from raeg_jax.remote import RemotePath, locate


@dataclasses.dataclass(frozen=True)
class MadeFile:
    """A record file that hasn't got its name yet, or why there is none.

    Attributes:
      written: the file; None where there is none.
      left_out: where there is none, why its examples failed, by their numbers.
      reason: why there is none.
    """

    written: Written | None = None
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reason: str = ""


# In the head of a shard's manifest, the source's folder, as merging describes the outputs by it.
DATA_SET = "data_set"


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
        self._dataset, self._paths = dataset, paths
        self._out, self._shard = paths.out, paths.shard
        here = paths.source if isinstance(paths.source, RemotePath) else paths.source.absolute()
        self._about = {DATA_SET: str(here)} if paths.shard else {}
        self.files = paths.shard.among(dataset.files) if paths.shard else dataset.files
        self.all_failures = str(manifest_path(paths.out, paths.shard))

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
            problems: list[str] = []
            runner.run(self._examples(file, problems), operation, outputs)
            for reason in problems:
                runner.add(Result(file.name, Status.FAILED, reason), outputs)

    def convert(self, operation: Operation, settings: Mapping[str, Any], runner: Runner) -> None:
        """See `Source`."""
        with self._opened(settings) as (manifest, outputs):
            description = self.describe(outputs, settings["command"] == "recover")
            # All are checked before anything is written.
            for file in self.files:
                outputs.may_replace(file.name, file.name)
            # Those of shards are described when they are merged.
            whole = self._convert_files(
                operation, manifest, outputs, runner, None if self._shard else description
            )
            if description and whole and not self._shard:
                for result in description.write():
                    if result.status is Status.FAILED:
                        runner.add(result, outputs)
            manifest.end(**runner.counts)

    def finish(self, settings: Mapping[str, Any]) -> str | None:
        """Describes a data set whose record files are there, as once its shards are merged.

        Args:
          settings: of the run, as its manifest has them.

        Returns:
          why it could not be described; None if all went well.
        """
        with self._opened(settings) as (_, outputs):
            description = self.describe(outputs, settings["command"] == "recover")
            for file in self.files:
                if target := outputs.target(file.path, file.name, file.name):
                    return f"{target.path} is missing"
            results = description.write() if description else []
            return next((r.reason for r in results if r.status is Status.FAILED), None)

    @contextlib.contextmanager
    def _opened(self, settings: Mapping[str, Any]) -> Iterator[tuple[Manifest, FolderOutputs]]:
        """Opens the output folder."""
        paths = dataclasses.replace(self._paths, suffix="")
        with open_outputs(paths, settings, self._about) as opened:
            yield opened

    def _convert_files(
        self,
        operation: Operation,
        manifest: Manifest,
        outputs: FolderOutputs,
        runner: Runner,
        description: Description | None,
    ) -> bool:
        """Makes record files; returns whether all are there.

        Args:
          operation: done to each image.
          manifest: of the output folder.
          outputs: give the files their names.
          runner: runs the images.
          description: of the data set, withdrawn before the first file is made.
        """
        whole = True

        def pending() -> Iterator[tuple[RecordFile, Target]]:
            nonlocal whole
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
                yield file, target

        for file, made in runner.make_files(self, pending(), operation, outputs.staging):
            whole &= _finish_file(file, made, outputs, runner)
        return whole

    def make_file(
        self,
        file: RecordFile,
        target: Target,
        staging: pathlib.Path,
        run: Callable[[Iterable[Example], Outputs], None],
    ) -> MadeFile:
        """Makes a record file that hasn't got its name.

        Args:
          file: of which it is made.
          target: where it will go.
          staging: a folder for what is unfinished.
          run: runs examples through an operation.
        """
        problems: list[str] = []
        with contextlib.closing(RecordOutputs(staging, self._out)) as converted:
            run(self._examples(file, problems), converted)
            if problems:
                return MadeFile(reason=problems[0])
            if converted.left_out and not len(converted):
                reason = f"{target.path} isn't written, as no example of it came through"
                return MadeFile(left_out=converted.left_out, reason=reason)
            details = {"left_out": converted.left_out, "examples": len(converted)}
            staged = converted.finish(
                lambda path, examples: self._dataset.write(file, path, examples)
            )
            return MadeFile(describe_written(target, staged, details=details))

    def _examples(self, file: RecordFile, problems: list[str]) -> Iterator[Example]:
        """Yields the examples of a record file.

        Args:
          file: where they are.
          problems: gets the reason why no more can be read: the run continues with other files.
        """
        try:
            yield from self._dataset.examples(file)
        except UserError as error:
            problems.append(str(error))


class RecordOriginals(Originals):
    """A data set as it was before protection.

    Args:
      protected: the data set whose originals these are.
      given: where they are.

    Raises:
      UserError: it isn't a data set of the same kind, or has other examples.
    """

    def __init__(self, protected: RecordDataset[Any], given: str):
        self.path = locate(given)
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


def _finish_file(file: RecordFile, made: MadeFile, outputs: FolderOutputs, runner: Runner) -> bool:
    """Gives a record file its name; returns whether it is there."""
    if made.written is None:
        for result in _failures(file, made.left_out):
            outputs.record(result)
        runner.add(Result(file.name, Status.FAILED, made.reason), outputs)
        return False
    (result,) = outputs.commit([made.written])
    if result.status is Status.FAILED:
        runner.add(result, outputs)
    return result.status is Status.DONE


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
