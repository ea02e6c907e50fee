"""The arguments of the command `raeg`."""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from raeg_jax import __version__
from raeg_jax.cli import commands, operations
from raeg_jax.cli.engine import ENGINES
from raeg_jax.cli.report import FAILED, StoppedError, log
from raeg_jax.cli.sources import LABELS
from raeg_jax.files import check_local
from raeg_jax.process import EXIT_USER_ERROR
from raeg_jax.protection.shipped import DEFAULT, SHIPPED

_END = "docs/tool.md has more."


def run(argv: Sequence[str] | None) -> int:
    """Parses arguments and runs a command; see `raeg_jax.cli.main`."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files may hold anything. Tests have streams of their own, with this method.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    arguments = vars(_parser().parse_args(argv))
    # Images may be elsewhere.
    anywhere = {"source", "out", "originals"} if "source" in arguments else set()
    for name, value in arguments.items():
        if isinstance(value, str) and name not in anywhere:
            check_local(value)
    command: Callable[..., int] = arguments.pop("run")
    try:
        return command(**arguments)
    except StoppedError as error:
        log(str(error))
        return error.status
    except BrokenPipeError:
        # Whoever reads standard output, such as `head`, has enough of it.
        return FAILED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Prints a mistake in one line."""
        self.exit(EXIT_USER_ERROR, f"error: {message}; see `{self.prog} --help`\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "raeg",
        description="Turns images into protected ones, and back again bit for bit; trains the "
        "generators that do so, and measures them.",
        epilog=f"`raeg COMMAND --help` has the options of a command. {_END}",
    )
    parser.add_argument("--version", action="version", version=f"raeg {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(
        name: str,
        run: Callable[..., int],
        summary: str,
        more: str = "",
        among: Any = subparsers,
        **settings: Any,
    ) -> argparse.ArgumentParser:
        text = f"{summary[0].upper()}{summary[1:]}. {more}"
        command = among.add_parser(name, help=summary, description=text, epilog=_END, **settings)
        command.set_defaults(run=run)
        return command

    # These have absl's flags, such as --config.seed=1, which argparse leaves as they are where
    # options of its own begin with another sign.
    for name, program, summary in (
        ("train", "train", "fit a generator to a data set"),
        ("eval", "evaluate", "measure a trained generator, or compare methods"),
    ):
        launch_it = functools.partial(commands.launch_program, name, program)
        flags = add(name, launch_it, summary, prefix_chars="\0", add_help=False)
        flags.add_argument("flags", nargs="*")

    keygen = add("keygen", commands.keygen, "make a key", "A key that is there is never replaced.")
    keygen.add_argument("keyfile", metavar="KEYFILE", help="the new file")

    export = add("export", commands.export, "make a generator file of a training run")
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
        _with_options(commands.protect, commands.ProtectOptions),
        "protect images",
        "Sub-folders and names stay, suffixes become those of the format. The same command resumes "
        "a run that was stopped.",
    )
    _add_image_options(protect, "folder of the protected images, or name of a single one", True)
    protect.add_argument("--strip", action="store_true", help="leave out EXIF, XMP and profiles")
    protect.add_argument(
        "--labels",
        choices=LABELS,
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
        choices=operations.METHODS,
        default=operations.GENERATOR,
        help="rae and rit, which articles compare RAEG with, attack the generator's classifiers "
        "(default: raeg, the generator)",
    )
    protect.add_argument(
        "--psnr",
        metavar="DB",
        type=float,
        help="of the files, where the generator sees whole photographs, as that of the package "
        "does, or the method is rae or rit (default: the generator's own)",
    )

    recover = add(
        "recover",
        _with_options(commands.recover, commands.ConvertOptions),
        "recover originals of protected images",
        "Each is bit for bit the original, or an error says why not.",
    )
    _add_image_options(recover, "folder of the recovered images, or name of a single one")

    verify = add(
        "verify",
        _with_options(commands.verify, commands.VerifyOptions),
        "recover in memory, and compare",
        "Says which images come back exactly, and what the generator's classifiers and models of "
        "yours see.",
    )
    _add_image_options(verify)
    verify.add_argument(
        "--originals", metavar="DIR", help="compare with these files too, not only with the hash"
    )
    verify.add_argument(
        "--reader",
        metavar="FILE",
        action="append",
        default=[],
        help="ask this model too what it reads: FILE.onnx, or FILE.safetensors that `raeg weights "
        "import` made; may be given several times",
    )
    _add_preprocess_option(verify, "these, and the crop that an ONNX model's file says")

    merge = add(
        "merge",
        commands.merge,
        "make one output folder of the shards in it",
        "Checks that all shards of --shard i/N are there and have ended, and every output.",
    )
    merge.add_argument("folder", metavar="OUT", help="the shards' output folder")

    inspect = add("inspect", commands.inspect, "show what a protected image or a generator holds")
    inspect.add_argument("file", metavar="FILE", help="a protected image, or a generator file")
    inspect.add_argument("--key", metavar="K", help="key file; shows what is locked, too")

    weights = subparsers.add_parser(
        "weights", help="published weights of classifiers", epilog=_END
    ).add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    weights_import = add(
        "import",
        commands.import_weights,
        "make a file of published weights of a state dict of torchvision or timm",
        "Such a file is a classifier for training, evaluation and `raeg verify`.",
        among=weights,
    )
    weights_import.add_argument("architecture", metavar="NAME", help="such as efficientnet_lite0")
    weights_import.add_argument(
        "file", metavar="FILE", help=".safetensors; .pth, .pt and .bin need PyTorch"
    )
    weights_import.add_argument("out", metavar="OUT", help="the new file, NAME.safetensors")
    _add_preprocess_option(weights_import, "as published for the architecture")
    weights_import.add_argument(
        "--int8",
        action="store_true",
        help="round the kernels to 8 bits: OUT and generators against it take a quarter of the "
        "bytes",
    )
    return parser


def _add_preprocess_option(command: argparse.ArgumentParser, default: str) -> None:
    """Adds `--preprocess`; `default` says what is taken for what it leaves out."""
    command.add_argument(
        "--preprocess",
        metavar="SPEC",
        default="",
        help="what the classifier expects of a photograph: its size, crop and scale, such as "
        "resize=256,crop=224,interpolation=bilinear,mean=123.675:116.28:103.53,"
        f"std=58.395:57.12:57.375, or some of these; default: {default}",
    )


def _with_options(command: Callable[[Any], int], options: type) -> Callable[..., int]:
    """Returns a function of keyword arguments that calls a command with its dataclass of them."""
    return lambda **arguments: command(options(**arguments))


def _add_image_options(
    command: argparse.ArgumentParser, out_help: str = "", protects: bool = False
) -> None:
    """Adds what `commands.ImageOptions` has and, with a help on OUT, `commands.ConvertOptions`."""
    command.add_argument(
        "source",
        metavar="SOURCE",
        help="an image, a folder of images, or a data set: TFDS's folder, tars of WebDataset, "
        "parquet files; may be a URL such as s3://BUCKET/FOLDER",
    )
    if out_help:
        command.add_argument("out", metavar="OUT", help=out_help)
        command.add_argument("--format", help="png (default), webp or tiff")
        command.add_argument("--overwrite", action="store_true", help="replace what is in OUT")
        command.add_argument(
            "--engine", choices=ENGINES, help="ray: images run on the workers of a Ray cluster"
        )
        command.add_argument(
            "--address",
            metavar="HOST:PORT",
            help="of the Ray cluster, or auto; default: one of this machine alone",
        )
        command.add_argument(
            "--workers",
            metavar="N",
            type=_count,
            help="of the Ray cluster (one for each GPU, or for every two cores)",
        )
    command.add_argument("--key", metavar="K", required=True, help="key file")
    command.add_argument(
        "--generator",
        metavar="G",
        help=f"generator file, or one that comes with raeg-jax ({', '.join(SHIPPED)}); default: "
        + (DEFAULT if protects else "of these the one that protected the image"),
    )
    command.add_argument(
        "--shard",
        metavar="I/N",
        help="work on the I-th of N shares of SOURCE only, while others do the rest"
        + ("; then `raeg merge OUT`" if out_help else ""),
    )
    command.add_argument(
        "--batch-size", metavar="N", type=_count, default=16, help="images at a time (16)"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} isn't a number from 1 on")
    return int(text)
