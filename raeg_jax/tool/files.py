"""Work on image files: a folder of them, or a single one."""

import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator

from raeg_jax.errors import UserError
from raeg_jax.files import printable
from raeg_jax.tool import labels, places, walk
from raeg_jax.tool.manifest import NAME, opened
from raeg_jax.tool.originals import Originals
from raeg_jax.tool.outcome import Outcome, Status
from raeg_jax.tool.outputs import Outputs, SingleOutput, folder_outputs
from raeg_jax.tool.places import Places
from raeg_jax.tool.report import counted
from raeg_jax.tool.run import Runner


class Files:
    """See `work.Work`."""

    def __init__(self, where: Places):
        """Counts the images.

        Raises:
          UserError: there are none.
        """
        self._where = where
        self._found = walk.Survey(images=1, folders={""}) if where.single else _survey(where.source)
        self.total = self._found.images
        self.format = where.suffix[1:]
        self.goes_on = "" if where.single else "the same command goes on from there"
        self.all_failures = "" if where.single else str(where.out / NAME)

    def originals(self, given: str) -> Originals:
        """Finds the images' originals in a folder."""
        return Originals(self._where.source, given)

    def label_of(self, wanted: str | None, bundle) -> Callable[[walk.Job], int | None]:
        """Classes are folders' names."""
        folders = self._found.folders - {""}
        if wanted == "folders":
            return labels.ByFolder(bundle.class_names, optional=False)
        if wanted is None and folders and folders <= set(bundle.class_names):
            print(
                f"classes by folders: all {len(folders)} have names of the generator's classes",
                file=sys.stderr,
            )
            return labels.ByFolder(bundle.class_names, optional=True)
        return labels.unknown

    def look(self, steps, runner: Runner) -> None:
        """Takes all files through steps that write nothing."""
        self._note_unreadable(runner, steps.tell)
        runner.run(self._where.jobs(), steps, steps.tell)

    def convert(self, settings, overwrite: bool, steps_of, runner: Runner) -> None:
        """Takes all files through steps that write files."""
        with self._outputs(settings, overwrite) as (outputs, jobs):
            self._note_unreadable(runner, outputs.tell)
            runner.run(jobs, steps_of(outputs), outputs.tell)

    def _note_unreadable(self, runner: Runner, tell: Callable[[Outcome], None]) -> None:
        for folder, reason in self._found.unreadable:
            reason = f"the folder {folder} can't be read ({reason})"
            runner.note(Outcome(folder, Status.FAILED, reason), tell)

    @contextlib.contextmanager
    def _outputs(self, settings, overwrite) -> Iterator[tuple[Outputs, Iterator[walk.Job]]]:
        where = self._where
        if where.single:
            yield SingleOutput(where.out, overwrite), where.jobs()
            return
        with (
            opened(where.out, settings) as manifest,
            folder_outputs(manifest, where.source, where.suffix, overwrite) as outputs,
        ):
            yield outputs, where.jobs(manifest.ignores_case)


def _survey(source: pathlib.Path) -> walk.Survey:
    found = walk.survey(source)
    others = f"{counted(found.others, 'other file')}, such as {', '.join(found.examples)}"
    if not found.images and not found.unreadable:
        if inner := places.find_dataset(source):
            raise UserError(
                f"{source} holds data sets, and is none itself: name one, such as {inner}"
            )
        raise UserError(
            f"there are no images in {source}"
            + (f", only {others}" if found.others else "")
            + ": name a folder with images"
        )
    if found.others:
        print(printable(f"not images by their names, left out: {others}"), file=sys.stderr)
    return found
