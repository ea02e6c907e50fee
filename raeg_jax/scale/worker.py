"""What a worker does: it makes outputs without names, which only the driver gives them."""

import contextlib
import functools
import pathlib
import uuid
from collections.abc import Iterable, Sequence

from raeg_jax.cli.outputs import Output, Outputs, Target, Written, write_attempt
from raeg_jax.cli.pipeline import Operation, Pipeline
from raeg_jax.cli.record_source import MadeFile, RecordSource
from raeg_jax.cli.records import RecordFile
from raeg_jax.cli.report import Result
from raeg_jax.cli.scan import Paths, SourceImage


class AttemptOutputs(Outputs):
    """Writes outputs under names that no other attempt has, and keeps what is written.

    Args:
      targets: where the outputs will go, by names of their sources.
      staging: folder of what is unfinished.

    Attributes:
      written: outputs that are on disk.
    """

    def __init__(self, targets: dict[str, Target], staging: pathlib.Path):
        self._targets, self._staging = targets, staging
        self.written: list[Written] = []

    def begin(self, image: SourceImage) -> Target:
        """See `Outputs`."""
        return self._targets[image.name]

    def write(self, image: SourceImage, target: Target, output: Output) -> Written:
        """See `Outputs`."""
        staged = self._staging / f"{uuid.uuid4().hex}{target.path.suffix}"
        return write_attempt(staged, target, output)

    def commit(self, written: Sequence[Written]) -> list[Result]:
        """Keeps outputs for the driver, which enters them into the manifest."""
        self.written += written
        return []


class Worker:
    """Holds a generator and compiled programs; several threads may call its methods.

    Args:
      operation: done to each image.
      paths: of source and outputs.
      batch_size: images at a time.
    """

    def __init__(self, operation: Operation, paths: Paths, batch_size: int):
        self._operation, self._paths, self._batch_size = operation, paths, batch_size

    def start(self) -> None:
        """Loads what the operation needs.

        Raises:
          UserError: see `Recipe.made`.
        """
        self._operation.batch_size  # noqa: B018 (makes the operation)

    def convert(
        self, images: Sequence[tuple[SourceImage, Target]], staging: pathlib.Path
    ) -> tuple[list[Result], list[Written]]:
        """Makes the outputs of images.

        Args:
          images: with the targets of their outputs.
          staging: folder of what is unfinished.

        Returns:
          the results of images that failed, and the outputs of the others.
        """
        outputs = AttemptOutputs({image.name: target for image, target in images}, staging)
        return self._run([image for image, _ in images], outputs), outputs.written

    def make_file(
        self, file: RecordFile, target: Target, staging: pathlib.Path
    ) -> tuple[list[Result], MadeFile]:
        """Makes a record file.

        Args:
          file: of which it is made.
          target: where it will go.
          staging: folder of what is unfinished.

        Returns:
          the results of all examples, and the file.
        """
        results: list[Result] = []

        def run(images: Iterable[SourceImage], outputs: Outputs) -> None:
            for result in self._run(images, outputs):
                results.append(result)
                outputs.record(result)

        folder = staging / uuid.uuid4().hex
        folder.mkdir()
        return results, self._source.make_file(file, target, folder, run)

    @functools.cached_property
    def _source(self) -> RecordSource:
        from raeg_jax.cli.commands import open_source

        source = open_source(self._paths)
        assert isinstance(source, RecordSource)
        return source

    def _run(self, images: Iterable[SourceImage], outputs: Outputs) -> list[Result]:
        pipeline = Pipeline(images, self._operation, outputs, self._batch_size)
        with contextlib.closing(pipeline):
            return list(pipeline)
