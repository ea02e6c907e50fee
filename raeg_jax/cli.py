"""The command `raeg`: protecting and recovering image files and data sets.

Exit status: 0 all went well; 1 some images failed, or no more could be written; 2 a mistake in
what was asked for; 130 Ctrl-C.
"""

import argparse
import functools
import importlib
import pathlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from raeg_jax import __version__, launch
from raeg_jax.errors import UserError
from raeg_jax.files import check_local, printable
from raeg_jax.launch import INTERRUPTED, MISTAKE
from raeg_jax.methods import transform
from raeg_jax.payload import key as key_lib
from raeg_jax.tool import codec, commands, labels
from raeg_jax.tool.inspection import inspect
from raeg_jax.tool.lines import tell
from raeg_jax.tool.run import FAILED, StoppedError

_END = "docs/tool.md tells more."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: the command and its arguments; those of the process by default.

    Returns:
      the exit status.
    """
    launch.open_streams()
    for stream in (sys.stdout, sys.stderr):
        # Names of files may hold anything.
        stream.reconfigure(errors="backslashreplace")
    launch.keep_interrupts()
    try:
        options = _parser().parse_args(argv)
        for value in vars(options).values():
            if isinstance(value, str):
                check_local(value)
        return options.run(options)
    except UserError as error:
        return _stop(f"error: {error}", MISTAKE)
    except StoppedError as error:
        return _stop(str(error), error.status)
    except KeyboardInterrupt:
        return _stop("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Who reads our lines, such as `head`, has enough of them.
        return FAILED


def _stop(message: str, status: int) -> int:
    print(printable(message), file=sys.stderr)
    return status


def _launch(program: str, options: argparse.Namespace) -> NoReturn:
    # Imported here, as each program defines flags, which other commands don't have.
    main_of_program = importlib.import_module(f"raeg_jax.tool.{program}").main
    launch.run(main_of_program, [f"raeg {options.command}", *options.flags])


def _keygen(options: argparse.Namespace) -> int:
    key = key_lib.generate_key()
    key_lib.write_key(options.keyfile, key)
    tell(
        f"key {key.id} is in {options.keyfile}: keep it secret and keep a copy, nothing else "
        "brings images back"
    )
    return 0


def _export(options: argparse.Namespace) -> int:
    bundle = codec.export(
        options.workdir,
        options.generator,
        checkpoint=options.checkpoint,
        others=options.classifier,
        stages=options.stages and options.stages.split(","),
    )
    stages = " and ".join(bundle.config.generator.stages)
    where = "any machine" if bundle.portable else "the same kind of machine only"
    tell(
        f"generator {bundle.id.hex()} ({stages}; recovers on {where}) is in {options.generator}: "
        "keep a copy, images can't be recovered without it"
    )
    told, warnings_ = codec.effect(options.workdir, bundle.config, options.checkpoint)
    for line in told:
        tell(line)
    for line in warnings_:
        print(f"warning: {line}", file=sys.stderr)
    return 0


def _inspect(options: argparse.Namespace) -> int:
    key = key_lib.read_key(options.key) if options.key else None
    for name, text in inspect(pathlib.Path(options.file), key).items():
        tell(f"{name + ':':24}{text}")
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Tells a mistake in one line."""
        self.exit(MISTAKE, f"error: {message}; see `{self.prog} --help`\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "raeg",
        description="Turns images into protected ones, and back again bit for bit; trains the "
        "generators that do so, and measures them.",
        epilog=f"`raeg COMMAND --help` tells about a command. {_END}",
    )
    parser.add_argument("--version", action="version", version=f"raeg {__version__}")
    commands_of = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, run, summary: str, more: str = "", **settings) -> argparse.ArgumentParser:
        text = f"{summary[0].upper()}{summary[1:]}. {more}"
        command = commands_of.add_parser(
            name, help=summary, description=text, epilog=_END, **settings
        )
        command.set_defaults(run=run, command=name)
        return command

    # These have absl's flags, such as --config.seed=1, which argparse leaves as they are where
    # options of its own begin with another sign.
    for name, program, summary in (
        ("train", "train", "fit a generator to a data set"),
        ("eval", "evaluate", "measure a trained generator, or compare methods"),
    ):
        run = functools.partial(_launch, program)
        add(name, run, summary, prefix_chars="\0", add_help=False).add_argument("flags", nargs="*")

    keygen = add("keygen", _keygen, "make a key", "A key that is there is never replaced.")
    keygen.add_argument("keyfile", metavar="KEYFILE", help="the new file")

    export = add("export", _export, "make a generator file of a training run")
    export.add_argument("workdir", metavar="WORKDIR", help="folder of the run of train.py")
    export.add_argument("generator", metavar="GENERATOR", help="the new file")
    export.add_argument("--checkpoint", default="latest", help="latest (default), best or a step")
    export.add_argument("--stages", help="such as learned,gradient; default: those of the run")
    export.add_argument(
        "--classifier",
        metavar="NAME",
        action="append",
        default=[],
        help="take this classifier of the run too, for `raeg verify`; may be given several times",
    )

    protect = add(
        "protect",
        commands.protect,
        "protect images",
        "Sub-folders and names stay, suffixes become those of the format. A run that was stopped "
        "goes on with the same command.",
    )
    _add_files(protect, "OUT", "folder of the protected images, or name of a single one")
    protect.add_argument("--strip", action="store_true", help="leave out EXIF, XMP and profiles")
    protect.add_argument(
        "--labels",
        choices=labels.WANTED,
        help="folders: each image's first folder is the name of its class; none: its class is what "
        "the generator's targets see in it; default: folders, or a feature of a data set, where "
        "all are names of classes",
    )
    protect.add_argument(
        "--tries",
        metavar="K",
        type=_count,
        default=1,
        help="make so many protected images of each (1) and keep the one that misleads the "
        "generator's classifiers most; for generators with a secret token",
    )

    protect.add_argument(
        "--method",
        choices=(codec.GENERATOR, *transform.NAMES),
        default=codec.GENERATOR,
        help="rae and rit, which articles compare RAEG with, attack the generator's classifiers "
        "(default: raeg, the generator)",
    )
    protect.add_argument(
        "--psnr",
        metavar="DB",
        type=float,
        help="of files of rae and rit (default: the generator's)",
    )

    recover = add(
        "recover",
        commands.recover,
        "recover originals of protected images",
        "Each is bit for bit the original, or an error says why not.",
    )
    _add_files(recover, "OUT", "folder of the recovered images, or name of a single one")

    verify = add(
        "verify",
        commands.verify,
        "recover in memory, and compare",
        "Tells which images come back exactly, and what the generator's classifiers see.",
    )
    _add_files(verify)
    verify.add_argument(
        "--originals", metavar="DIR", help="compare with these files too, not only with the hash"
    )

    look = add("inspect", _inspect, "show what a protected image tells")
    look.add_argument("file", metavar="FILE", help="a protected image")
    look.add_argument("--key", metavar="K", help="key file; shows what is locked, too")
    return parser


def _add_files(command: argparse.ArgumentParser, out: str = "", help_on_out: str = "") -> None:
    command.add_argument(
        "source", metavar="SOURCE", help="an image, a folder of images, or a TFDS data set's folder"
    )
    if out:
        command.add_argument("out", metavar=out, help=help_on_out)
        command.add_argument("--format", help="png (default), webp or tiff")
        command.add_argument("--overwrite", action="store_true", help="replace what is in OUT")
    command.add_argument("--key", metavar="K", required=True, help="key file")
    command.add_argument(
        "--generator", metavar="G", help="generator file; default: the one that comes with raeg-jax"
    )
    command.add_argument(
        "--batch-size", metavar="N", type=_count, default=16, help="images at a time (16)"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} isn't a number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
