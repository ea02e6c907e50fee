"""The command line that training, evaluation and benchmarks share.

`--config` is a Python file with `get_config()` or the name of a file in `CONFIGS`,
`--config.a.b=value` changes one of its settings, `--workdir` is the folder of the run. An error
of the user ends the process with one line and exit status 2.
"""

import difflib
import importlib.util
import inspect
import pathlib
import re
import runpy
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from raeg_jax.compilation import enable_cache
from raeg_jax.config.run_config import flatten
from raeg_jax.errors import UserError
from raeg_jax.files import check_local, translate_write_errors
from raeg_jax.process import command_errors

# An installed package has configs/ inside (setup.py), a clone has the folder beside the package.
_INSTALLED = pathlib.Path(__file__).parents[1] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "configs"
_DEFAULT = "quickstart"

_CONFIG = re.compile(r"--?config(?:=(.*))?$")
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")
_OVERRIDE_HELP = "--config.name=value changes a setting."


def base_config() -> ConfigDict:
    """The settings of configs/base.py."""
    return runpy.run_path(str(CONFIGS / "base.py"))["get_config"]()


def photograph_settings() -> dict[str, Any]:
    """The settings of a gradient stage that sees whole photographs, of configs/base.py."""
    return dict(runpy.run_path(str(CONFIGS / "base.py"))["PHOTOGRAPHS"])


def run(
    main: Callable[[ConfigDict, pathlib.Path], None], argv: Sequence[str] | None = None
) -> None:
    """Parses the command line and calls `main(config, workdir)`; does not return.

    Args:
      main: the program; its module may define further flags with `absl.flags`, and the module's
        docstring is what `--help` prints before the flags.
      argv: the command's name and its arguments; those of the process by default.
    """

    def start() -> None:
        # At absl's default level Orbax logs every file that it opens.
        logging.set_verbosity(logging.WARNING)
        config = flags.FLAGS.config
        data = config.get("data", {})
        cache_dir = data.get("cache_dir", "")
        weights = config.get("classifiers", {}).get("weights", "")
        for path in (flags.FLAGS.workdir, cache_dir, data.get("source", ""), weights):
            check_local(path)
        enable_cache(cache_dir, flags.FLAGS.compile_cache)
        workdir = pathlib.Path(flags.FLAGS.workdir or f"runs/{config.name}")
        with translate_write_errors(workdir):
            main(config, workdir)

    _run(start, lambda argv: _parse(argv, main.__module__), argv)


def run_without_config(main: Callable[[], None]) -> None:
    """Parses the command line of a script that has only its own flags, and calls `main()`.

    Errors of the user end the process as in `run`; does not return.
    """
    _run(main, flags.FLAGS)


def _run(
    main: Callable[[], None],
    parse: Callable[[list[str]], list[str]],
    argv: Sequence[str] | None = None,
) -> None:
    def parse_flags(argv: list[str]) -> list[str]:
        try:
            arguments = parse(argv)
        except flags.Error as error:
            raise UserError(str(error)) from error
        if arguments[1:]:
            raise UserError(f"unexpected argument {arguments[1]!r}; see --help")
        return arguments

    with command_errors():
        app.run(lambda _: main(), list(argv) if argv else None, flags_parser=parse_flags)


def _parse(argv: list[str], module: str) -> list[str]:
    """As `flags.FLAGS(argv)`, with errors that name what is wrong and a help for one module."""
    argv, config = _with_path(argv)
    flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config.name> if not given.")
    flags.DEFINE_string(
        "compile_cache",
        "",
        "Folder of compiled programs, or 'off'; $RAEG_COMPILE_CACHE or a part of the folder of "
        "prepared data if not given.",
    )
    if {"-h", "--help"} & set(argv):
        text = f"{_choices()}; or a Python file. {_OVERRIDE_HELP}"
        flags.DEFINE_string("config", _DEFAULT, text)
        print(_help(module))
        sys.exit()
    _check_config(argv, config)
    # The definition parses the overrides already where the default config is used.
    config_flags.DEFINE_config_file("config", _path(_DEFAULT), _OVERRIDE_HELP, sys_argv=argv)
    return flags.FLAGS(argv)


def _help(module: str) -> str:
    values = flags.FLAGS
    # absl knows the main module by the name of its file.
    name = sys.argv[0] if module == "__main__" else module
    for flag in ("workdir", "compile_cache", "config"):
        values.register_key_flag_for_module(name, values[flag])
    _, _, lines = values.module_help(name).split("\n", 2)  # without the module's name
    return f"{sys.modules[module].__doc__ or ''}\nFlags:\n{lines}"


def _with_path(argv: Sequence[str]) -> tuple[list[str], str]:
    """Replaces a name of `CONFIGS`: --config=celeba:cpu by --config=.../celeba.py:cpu.

    Returns:
      the arguments, and the path and variant of the config.
    """
    argv, config = list(argv), _path(_DEFAULT)
    for i, argument in enumerate(argv[1:], 1):
        if match := _CONFIG.match(argument):
            if match[1] is not None:
                config = _path(match[1])
                argv[i] = f"--config={config}"
            elif i + 1 < len(argv):
                config = argv[i + 1] = _path(argv[i + 1])
    return argv, config


def _path(value: str) -> str:
    name, colon, variant = value.partition(":")
    return f"{CONFIGS / name}.py{colon}{variant}" if name.isidentifier() else value


def _choices() -> str:
    names = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.py")))
    return f"one of {names}, which are in {CONFIGS}"


def _check_config(argv: Sequence[str], config: str) -> None:
    """Checks that the config is there and that it has every setting that is overridden.

    ml_collections raises AttributeError, KeyError, TypeError or OSError for these, which can't be
    told from mistakes inside the config file, whose traceback its author needs.

    Raises:
      UserError: there is no such file or setting.
    """
    path, *variant = config.split(":", 1)
    if not pathlib.Path(path).is_file():
        raise UserError(f"--config: there is no file {path!r}; name it, or {_choices()}")
    names = list(flatten(_load(path, variant).to_dict()))
    for argument in argv[1:]:
        if match := _OVERRIDE.match(argument):
            _check_name(match[1], names, path)


def _load(path: str, variant: list[str]) -> ConfigDict:
    spec = importlib.util.spec_from_file_location("raeg_config", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config: {path!r} is not a Python file")
    # Configs import others as configs.<name>: their neighbours, and those of the package. A package
    # of that name elsewhere on sys.path, as other projects have, must not come before.
    configs = types.ModuleType("configs")
    configs.__path__ = [str(pathlib.Path(path).resolve().parent), str(CONFIGS)]
    sys.modules["configs"] = configs
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    get_config = getattr(module, "get_config", None)
    if get_config is None:
        raise UserError(f"--config: {path!r} has no function get_config()")
    try:
        inspect.signature(get_config).bind(*variant)
    except TypeError as error:
        raise UserError(
            f"--config: {path!r} has no variants, so nothing may follow it after ':', "
            f"but there is {variant[0]!r}"
            if variant
            else f"--config: {path!r} needs a variant, as in --config={path}:variant"
        ) from error
    try:
        return get_config(*variant)
    except ValueError as error:
        if not variant:
            raise
        raise UserError(f"--config={path}:{variant[0]}: {error}") from error


def _check_name(name: str, names: Sequence[str], path: str) -> None:
    """Raises UserError unless `name`, such as 'loss.kappa', is one of the names in a config."""
    if name in names:
        return
    members = [other for other in names if other.startswith(name + ".")]
    if members:
        raise UserError(f"--config.{name} is a group of settings: set --config.{members[0]} alone")
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or [
        other for other in names if other.rpartition(".")[2] == name.rpartition(".")[2]
    ]
    hint = f"; did you mean {' or '.join('--config.' + other for other in close)}?" if close else ""
    raise UserError(f"--config.{name}: there is no such setting in {path}{hint}")
