"""What each command does: arguments are checked first, then everything else is loaded."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from raeg_jax.cli import inspect as inspect_lib
from raeg_jax.cli import operations, scan
from raeg_jax.cli.engine import Engine, open_engine, usable
from raeg_jax.cli.generators import (
    check_generators,
    find_generator,
    make_readers,
    open_generator,
    open_generators,
)
from raeg_jax.cli.pipeline import Operation
from raeg_jax.cli.record_source import RecordSource
from raeg_jax.cli.report import Report, Status, echo, log
from raeg_jax.cli.runner import Runner
from raeg_jax.cli.scan import Paths, SourceImage
from raeg_jax.cli.sources import FileSource, Source
from raeg_jax.cli.verify import Verification, VerifiedLines
from raeg_jax.compilation import ProgressBar
from raeg_jax.config import command_line
from raeg_jax.errors import UserError
from raeg_jax.payload import key as key_lib
from raeg_jax.payload.key import Key
from raeg_jax.scale import shard as shard_lib
from raeg_jax.scale.shard import Shard

if TYPE_CHECKING:
    from raeg_jax.protection.loaded_generator import LoadedGenerator


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What the commands that work on images have in common.

    Attributes:
      source: an image, a folder of images, or a TFDS data set's folder.
      key: the key file.
      generator: the generator file, or the name of one that comes with the package; by default
        the package's for protecting, and each image's own of the package for the rest.
      batch_size: images at a time.
      shard: of the source that is worked on, such as '3/16'; None for all of it.
    """

    source: str
    key: str
    generator: str | None
    batch_size: int
    shard: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertOptions(ImageOptions):
    """Options of `raeg recover`.

    Attributes:
      out: folder of the outputs, or name of a single one.
      format: of the outputs; by default that of `out`, or PNG.
      overwrite: replace what is in `out`.
      engine: of `engine.ENGINES`, or None for this process.
      address: of a Ray cluster; None for one of this machine alone.
      workers: their number; None for as many as suit the cluster.
    """

    out: str
    format: str | None
    overwrite: bool
    engine: str | None
    address: str | None
    workers: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtectOptions(ConvertOptions):
    """Options of `raeg protect`.

    Attributes:
      strip: leave out EXIF, XMP and profiles.
      labels: of `sources.LABELS`, or None.
      tries: protected images made of each, of which the best is taken.
      method: of `operations.METHODS`.
      psnr: of the files, in decibels; None for that of the generator.
    """

    strip: bool
    labels: str | None
    tries: int
    method: str
    psnr: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions(ImageOptions):
    """Options of `raeg verify`.

    Attributes:
      originals: where originals are, to be compared with.
      reader: files of models that read the images, see `evaluation.readers`.
      preprocess: what the ONNX models among them expect.
    """

    originals: str | None
    reader: Sequence[str]
    preprocess: str


def protect(options: ProtectOptions) -> int:
    """Protects images; returns the exit status.

    Raises:
      UserError: a mistake in the options.
      StoppedError: the run ended early.
    """
    _check_method(options)
    options = usable(options)
    paths, source, key = _check_files(options)
    with open_engine(options, paths) as engine:
        generator = open_generator(find_generator(options.generator))
        labels = _usable_labels(options.labels, generator)
        label_of = source.label_of(labels, generator.class_names)
        settings = {
            "strip": options.strip,
            "labels": labels or "auto",
            "tries": options.tries,
        }
        if options.method != operations.GENERATOR:
            settings["method"] = options.method
        if options.method != operations.GENERATOR or options.psnr is not None:
            settings["psnr"] = options.psnr
        head = _head("protect", source, key, generator.id.hex()) | settings
        operation = engine.protection(options, key, generator, label_of)
        return _convert(options, source, engine, operation, head)


def recover(options: ConvertOptions) -> int:
    """Recovers originals; returns the exit status.

    Raises:
      UserError: a mistake in the options.
      StoppedError: the run ended early.
    """
    options = usable(options)
    paths, source, key = _check_files(options)
    with open_engine(options, paths) as engine:
        generators = open_generators(options.generator)
        head = _head("recover", source, key, generators.setting)
        operation = engine.recovery(options, key, generators)
        return _convert(options, source, engine, operation, head)


def verify(options: VerifyOptions) -> int:
    """Recovers images in memory, and compares them; returns the exit status.

    Raises:
      UserError: a mistake in the options.
      StoppedError: the run ended early.
    """
    path = scan.existing(options.source)
    several = path.is_dir() or path.suffix in scan.RECORDS
    single = None if several else SourceImage(path, path.name, "")
    key = key_lib.read_key(options.key)
    check_generators(options.generator)
    source = open_source(Paths(path, path, single=single, shard=_shard(options)))
    originals = source.originals(options.originals) if options.originals else None
    generators = open_generators(options.generator)
    readers_of = make_readers(generators, options.reader, options.preprocess)
    recoverer = generators.recoverer(key, options.batch_size)
    operation, lines = Verification(recoverer, readers_of, originals), VerifiedLines()
    look = functools.partial(source.look, operation, lines)
    # Failures have had their lines.
    make_runner = functools.partial(Engine().runner, operation, batch_size=options.batch_size)
    report = _run(look, make_runner, "verified", source.total, "")
    for line in lines.summary():
        echo(line)
    if report.counts[Status.DONE] and not lines.counts:
        log(
            f"what classifiers see isn't reported, as {generators.shown} none: `raeg export "
            "WORKDIR GENERATOR --classifier NAME` adds one of a run, and --reader FILE asks "
            "another model"
        )
    return report.status


def merge(folder: str) -> int:
    """Makes one manifest of those of all shards; returns the exit status."""
    from raeg_jax.scale.merge import merge_shards

    return merge_shards(pathlib.Path(folder))


def keygen(keyfile: str) -> int:
    """Makes a key; returns the exit status."""
    key = key_lib.generate_key()
    key_lib.write_key(keyfile, key)
    echo(
        f"key {key.id} is in {keyfile}: keep it secret and keep a copy, nothing else brings images "
        "back"
    )
    return 0


def export(
    workdir: str, generator: str, checkpoint: str, stages: str | None, classifier: Sequence[str]
) -> int:
    """Writes a generator file; see `export.export` for the arguments; returns the exit status."""
    from raeg_jax.cli import export as export_lib

    loaded = export_lib.export(
        workdir, generator, checkpoint, classifier, stages.split(",") if stages else None
    )
    names = " and ".join(loaded.config.generator.stages)
    machines = "any machine" if loaded.portable else "the same kind of machine only"
    echo(
        f"generator {loaded.id.hex()} ({names}; recovers on {machines}) is in {generator}: "
        "keep a copy, images can't be recovered without it"
    )
    lines, warnings = export_lib.effect(workdir, loaded.config, checkpoint)
    for line in (*inspect_lib.classifier_lines(loaded), *lines):
        echo(line)
    for line in warnings:
        log(f"warning: {line}")
    return 0


def inspect(file: str, key: str | None) -> int:
    """Prints what a protected file holds; returns the exit status."""
    lines = inspect_lib.inspect(pathlib.Path(file), key_lib.read_key(key) if key else None)
    for name, text in lines.items():
        echo(f"{name + ':':24}{text}")
    return 0


def import_weights(architecture: str, file: str, out: str, preprocess: str, int8: bool) -> int:
    """Makes a file of published weights; see `torch_file.import_weights`; returns the status."""
    from raeg_jax.networks import torch_file

    network = torch_file.import_weights(architecture, file, out, preprocess, int8)
    echo(
        f"{network.architecture} of {network.num_classes:,} classes is in {out}; it takes "
        f"photographs with {network.preprocessing}"
    )
    return 0


def launch_program(command: str, program: str, flags: Sequence[str]) -> int:
    """Runs `train` or `evaluate`, which exit with the status.

    Args:
      command: of `raeg`.
      program: the module.
      flags: its arguments.
    """
    # Imported here, as each program defines flags, which other commands don't have.
    main = importlib.import_module(f"raeg_jax.cli.{program}").main
    command_line.run(main, [f"raeg {command}", *flags])
    return 0


def _check_method(options: ProtectOptions) -> None:
    compared = options.method != operations.GENERATOR
    if compared and options.tries > 1:
        raise UserError(f"--tries={options.tries} is for generators, not --method={options.method}")
    if options.psnr is not None and not 5 <= options.psnr <= 80:
        raise UserError(f"--psnr={options.psnr:g} is impossible: it must be 5 to 80 decibels")


def _usable_labels(labels: str | None, generator: LoadedGenerator) -> str | None:
    """--labels, for generators whose targets name the classes of images without the owner.

    Raises:
      UserError: the owner's classes are asked for.
    """
    if not generator.labels_are_readings:
        return labels
    if labels == "folders":
        raise UserError(
            "--labels=folders: this generator's targets are published classifiers with classes of "
            "their own, and the label of an image is what they read in it: leave --labels out"
        )
    log("labels: what the generator's published targets read in each image")
    return "none"


def open_source(paths: Paths) -> Source:
    """Opens a source of any kind."""
    if scan.is_dataset(paths.source):
        # TFDS takes a second to import, and the readers of data sets import JAX.
        from raeg_jax.cli.tfds_source import TfdsSource

        return TfdsSource(paths)
    suffix = scan.record_suffix(paths.source)
    if suffix == ".tar":
        from raeg_jax.cli.tar_records import TarDataset

        return RecordSource(paths, TarDataset(paths.source))
    if suffix == ".parquet":
        from raeg_jax.cli.parquet_records import ParquetDataset

        return RecordSource(paths, ParquetDataset(paths.source))
    return FileSource(paths)


def _shard(options: ImageOptions) -> Shard | None:
    return shard_lib.parse(options.shard) if options.shard is not None else None


def _check_files(options: ConvertOptions) -> tuple[Paths, Source, Key]:
    """Checks the arguments, then opens the source; the generator is only loaded after that."""
    paths = scan.check_paths(options.source, options.out, options.format, options.overwrite)
    paths = dataclasses.replace(paths, shard=_shard(options))
    key = key_lib.read_key(options.key)
    check_generators(options.generator)
    return paths, open_source(paths), key


def _head(command: str, source: Source, key: Key, generator: str) -> dict[str, Any]:
    """The settings that all manifests have."""
    return {"command": command, "generator": generator, "key": key.id, "format": source.format}


def _convert(
    options: ConvertOptions,
    source: Source,
    engine: Engine,
    operation: Operation,
    settings: dict[str, Any],
) -> int:
    """Runs all images through an operation that writes; returns the exit status."""
    convert = functools.partial(source.convert, operation, settings)
    make_runner = functools.partial(engine.runner, operation, batch_size=options.batch_size)
    report = _run(convert, make_runner, f"{settings['command']}ed", source.total, source.resumes)
    for line in report.failure_lines(source.all_failures):
        log(line)
    return report.status


def _run(
    work: Callable[[Runner], None],
    make_runner: Callable[..., contextlib.AbstractContextManager[Runner]],
    verb: str,
    total: int | None,
    resumes: str,
) -> Report:
    """Calls `work` with a runner, and prints the report."""
    # Only on a terminal.
    with ProgressBar(
        total=total,
        desc=verb,
        disable=None,
        dynamic_ncols=True,
        bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}",
    ) as bar:
        report = Report(total, resumes, bar)
        try:
            with make_runner(report=report) as runner:
                work(runner)
        except UserError as error:
            if report.counts:
                raise report.stopped(error) from error
            # Before anything was done it is a mistake in the options.
            raise
    for note in report.note_lines():
        log(f"note: {note}")
    for line in (report.summary(verb), *report.target_lines()):
        echo(line)
    return report
