"""The commands that work on images: arguments checked first, then everything loaded."""

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator

from raeg_jax.codec.key import Key, read_key
from raeg_jax.errors import UserError
from raeg_jax.tool import codec, places, walk
from raeg_jax.tool.manifest import NAME, opened
from raeg_jax.tool.originals import Originals
from raeg_jax.tool.outcome import Outcome, Status
from raeg_jax.tool.outputs import Outputs, SingleOutput, folder_outputs
from raeg_jax.tool.places import Places
from raeg_jax.tool.protecting import Protecting
from raeg_jax.tool.recovering import Recovering
from raeg_jax.tool.report import Report, counted
from raeg_jax.tool.run import FAILED, progress_bar, run
from raeg_jax.tool.verifying import Verifying

LABELS = ("folders", "none")


def protect(options: argparse.Namespace) -> int:
    """Runs `raeg protect`; returns the exit status."""
    where = places.check(options.source, options.out, _suffix(options))
    key, found = _check(options, where.source)
    bundle = _open_generator(options.generator)
    settings = {
        "command": "protect",
        "generator": bundle.id.hex(),
        "key": key.id,
        "format": where.suffix[1:],
        "strip": options.strip,
        "labels": options.labels or "auto",
    }
    names, optional = _class_names(options.labels, found, bundle)
    protector = codec.protector(bundle, key, options.batch_size)
    with _outputs(where, settings, options.overwrite) as outputs:
        steps = Protecting(protector, outputs, names, optional, options.strip)
        report = _work(where, found, steps, options.batch_size, "protected", outputs.tell)
    return _end(report, where)


def recover(options: argparse.Namespace) -> int:
    """Runs `raeg recover`; returns the exit status."""
    where = places.check(options.source, options.out, _suffix(options))
    key, found = _check(options, where.source)
    bundle = _open_generator(options.generator)
    settings = {
        "command": "recover",
        "generator": bundle.id.hex(),
        "key": key.id,
        "format": where.suffix[1:],
    }
    recoverer = codec.recoverer(bundle, key, options.batch_size)
    with _outputs(where, settings, options.overwrite) as outputs:
        steps = Recovering(recoverer, outputs)
        report = _work(where, found, steps, options.batch_size, "recovered", outputs.tell)
    return _end(report, where)


def verify(options: argparse.Namespace) -> int:
    """Runs `raeg verify`; returns the exit status."""
    source = places.existing(options.source)
    originals = Originals(source, options.originals) if options.originals else None
    key, found = _check(options, source)
    bundle = _open_generator(options.generator)
    single = None if source.is_dir() else walk.Job(source, source.name, "")
    where = Places(source, source, places.DEFAULT, single)
    readers = codec.readers(bundle, options.batch_size) if bundle.classifiers else None
    steps = Verifying(codec.recoverer(bundle, key, options.batch_size), readers, originals)
    report = _work(where, found, steps, options.batch_size, "verified", steps.tell)
    for line in steps.summary():
        print(line)
    # Failures have had their lines.
    return _status(report)


def _suffix(options: argparse.Namespace) -> str | None:
    return places.suffix_of(options.format) if options.format else None


def _check(options: argparse.Namespace, source: pathlib.Path) -> tuple[Key, walk.Survey]:
    """Looks at what can be wrong before anything that takes long."""
    key = read_key(options.key)
    codec.check_generator(options.generator)
    return key, _survey(source)


def _survey(source: pathlib.Path) -> walk.Survey:
    if not source.is_dir():
        return walk.Survey(images=1, folders={""})
    found = walk.survey(source)
    others = f"{counted(found.others, 'other file')}, such as {', '.join(found.examples)}"
    if not found.images and not found.unreadable:
        raise UserError(
            f"there are no images in {source}"
            + (f", only {others}" if found.others else "")
            + ": name a folder with images"
        )
    if found.others:
        _say(f"not images by their names, left out: {others}")
    return found


def _open_generator(path: str):
    _say(f"loading {path}…")
    return codec.open_generator(path)


def _class_names(labels: str | None, found: walk.Survey, bundle) -> tuple[tuple[str, ...], bool]:
    """Returns the classes to be found in folders' names, and whether images may be in none."""
    folders = found.folders - {""}
    if labels == "folders":
        return bundle.class_names, False
    if labels is None and folders and folders <= set(bundle.class_names):
        _say(f"classes by folders: all {len(folders)} have names of the generator's classes")
        return bundle.class_names, True
    return (), True


@contextlib.contextmanager
def _outputs(where: Places, settings: dict, overwrite: bool) -> Iterator[Outputs]:
    if where.single:
        yield SingleOutput(where.out, overwrite)
        return
    with (
        opened(where.out, settings) as manifest,
        folder_outputs(manifest, where.suffix, overwrite) as outputs,
    ):
        yield outputs


def _work(
    where: Places,
    found: walk.Survey,
    steps,
    batch: int,
    verb: str,
    tell: Callable[[Outcome], None],
) -> Report:
    report = Report(found.images, goes_on=where.out != where.source and not where.single)
    for folder, reason in found.unreadable:
        outcome = Outcome(folder, Status.FAILED, f"the folder {folder} can't be read ({reason})")
        report.add(outcome)
        tell(outcome)
    with progress_bar(verb, found.images) as bar:
        run(where.jobs(), steps, batch, report, bar, tell)
    for note in report.notes:
        _say(f"note: {note}")
    print(report.summary(verb))
    return report


def _end(report: Report, where: Places) -> int:
    for line in report.failures_told("" if where.single else str(where.out / NAME)):
        _say(line)
    return _status(report)


def _status(report: Report) -> int:
    return FAILED if report.failed else 0


def _say(message: str) -> None:
    print(message, file=sys.stderr)
