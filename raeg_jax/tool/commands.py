"""The commands that work on images: arguments checked first, then everything loaded."""

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from raeg_jax import compilation
from raeg_jax.errors import UserError
from raeg_jax.files import printable
from raeg_jax.payload.key import Key, read_key
from raeg_jax.protection import generator_file
from raeg_jax.tool import codec, places, walk
from raeg_jax.tool.files import Files
from raeg_jax.tool.lines import tell
from raeg_jax.tool.places import Places
from raeg_jax.tool.protecting import Protecting
from raeg_jax.tool.recovering import Recovering
from raeg_jax.tool.report import Report
from raeg_jax.tool.run import FAILED, Runner, progress_bar
from raeg_jax.tool.verifying import Verifying
from raeg_jax.tool.work import Work

# Makes from bundle, key and work what makes steps that write to some outputs.
_MakeSteps = Callable[[Any, Key, Work], Callable]


def protect(options: argparse.Namespace) -> int:
    """Runs `raeg protect`; returns the exit status."""
    compared = options.method != codec.GENERATOR
    if compared and options.tries > 1:
        raise UserError(f"--tries={options.tries} is for generators, not --method={options.method}")
    if options.psnr is not None and not 5 <= options.psnr <= 80:
        raise UserError(f"--psnr={options.psnr:g} is impossible: it must be 5 to 80 decibels")
    if options.psnr is not None and not compared:
        raise UserError(
            f"--psnr={options.psnr:g} is for --method=rae or rit: a generator has its own PSNR"
        )

    def make_steps(bundle, key, work):
        label_of = work.label_of(options.labels, bundle)
        size = options.batch_size
        if compared:
            protector = codec.compared(bundle, key, size, options.method, options.psnr)
        else:
            protector = codec.protector(bundle, key, size, options.tries)
        return lambda outputs: Protecting(protector, outputs, label_of, options.strip)

    own = {"strip": options.strip, "labels": options.labels or "auto", "tries": options.tries}
    if compared:
        own |= {"method": options.method, "psnr": options.psnr}
    return _convert(options, "protected", own, make_steps)


def recover(options: argparse.Namespace) -> int:
    """Runs `raeg recover`; returns the exit status."""

    def make_steps(bundle, key, work):
        recoverer = codec.recoverer(bundle, key, options.batch_size)
        return lambda outputs: Recovering(recoverer, outputs)

    return _convert(options, "recovered", {}, make_steps)


def verify(options: argparse.Namespace) -> int:
    """Runs `raeg verify`; returns the exit status."""
    source = places.existing(options.source)
    single = None if source.is_dir() else walk.Job(source, source.name, "")
    key, generator = _check(options)
    work = _work(Places(source, source, places.DEFAULT, single))
    originals = work.originals(options.originals) if options.originals else None
    bundle = _open_generator(generator)
    readers = codec.readers(bundle, options.batch_size) if bundle.classifiers else None
    steps = Verifying(codec.recoverer(bundle, key, options.batch_size), readers, originals)
    report = _report(work, "", options, "verified", functools.partial(work.look, steps))
    for line in steps.summary():
        tell(line)
    if not bundle.classifiers:
        _say(
            f"what classifiers see isn't told, as {generator} has none: `raeg export WORKDIR "
            "GENERATOR --classifier NAME` adds one of a run"
        )
    # Failures have had their lines.
    return _status(report)


def _convert(options, verb: str, own_settings: dict[str, Any], make_steps: _MakeSteps) -> int:
    suffix = places.suffix_of(options.format) if options.format else None
    where = places.check(options.source, options.out, suffix)
    key, generator = _check(options)
    work = _work(where)
    bundle = _open_generator(generator)
    settings = {
        "command": options.command,
        "generator": bundle.id.hex(),
        "key": key.id,
        "format": work.format,
        **own_settings,
    }
    steps_of = make_steps(bundle, key, work)
    do = functools.partial(work.convert, settings, options.overwrite, steps_of)
    report = _report(work, work.goes_on, options, verb, do)
    for line in report.failures_told(work.all_failures):
        _say(line)
    return _status(report)


def _check(options: argparse.Namespace) -> tuple[Key, pathlib.Path]:
    """Looks at what can be wrong before anything that takes long."""
    key = read_key(options.key)
    generator = pathlib.Path(options.generator or generator_file.default_path())
    codec.check_generator(generator)
    return key, generator


def _work(where: Places) -> Work:
    if places.is_dataset(where.source):
        # TFDS takes a second to import.
        from raeg_jax.tool.tfds_work import TfdsWork

        return TfdsWork(where)
    return Files(where)


def _open_generator(path: pathlib.Path):
    _say(f"loading the generator {path}…")
    compilation.keep_programs()
    return codec.open_generator(path)


def _report(work: Work, goes_on: str, options, verb: str, do: Callable[[Runner], None]) -> Report:
    """Lets something be done to all images, and tells how it went."""
    report = Report(work.total, goes_on)
    with progress_bar(verb, work.total) as bar:
        runner = Runner(report, bar, options.batch_size)
        try:
            do(runner)
        except UserError as error:
            if report.counts:
                raise runner.stopped(error) from error
            # Before anything was done it is a mistake in what was asked for.
            raise
    for note in report.notes:
        _say(f"note: {note}")
    tell(report.summary(verb))
    return report


def _status(report: Report) -> int:
    return FAILED if report.failed else 0


def _say(message: str) -> None:
    print(printable(message), file=sys.stderr)
