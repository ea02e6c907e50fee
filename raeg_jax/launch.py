"""The command line that `train.py` and `eval.py` share, and that of scripts without a config.

`--config` is a Python file with `get_config()`, `--config.a.b=value` changes one of its settings,
`--workdir` is the folder of the run. A user's mistake ends in one line and exit status 2.
"""

import difflib
import importlib.util
import inspect
import pathlib
import re
import sys
from collections.abc import Callable

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from raeg_jax.errors import UserError

MISTAKE, INTERRUPTED = 2, 130

_CONFIG = re.compile(r"--?config(?:=(.*))?$")
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")


def run(main: Callable[[ConfigDict, pathlib.Path], None], script: str) -> None:
    """Parses the command line and calls `main(config, workdir)`; does not return.

    Args:
      main: the program; further flags it defines itself with `absl.flags` before.
      script: the script's `__file__`. The default config is `configs/quickstart.py` beside it.
    """
    root = pathlib.Path(script).resolve().parent
    default = root / "configs" / "quickstart.py"
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))  # configs import each other as configs.<name>

    def parse(argv: list[str]) -> list[str]:
        try:
            return _parse(argv, default)
        except (flags.Error, UserError) as error:
            _stop(f"error: {error}", MISTAKE)

    def start() -> None:
        # At absl's default level Orbax tells every file it opens.
        logging.set_verbosity(logging.WARNING)
        config = flags.FLAGS.config
        main(config, pathlib.Path(flags.FLAGS.workdir or f"runs/{config.name}"))

    app.run(lambda rest: _call(start, rest), flags_parser=parse)


def run_without_config(main: Callable[[], None]) -> None:
    """Parses the command line of a script that has only its own flags, and calls `main()`.

    Mistakes end as in `run`; does not return.
    """

    def parse(argv: list[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            _stop(f"error: {error}", MISTAKE)

    app.run(lambda rest: _call(main, rest), flags_parser=parse)


def _call(main: Callable[[], None], rest: list[str]) -> None:
    try:
        if rest[1:]:
            raise UserError(f"unexpected argument {rest[1]!r}; see --help")
        main()
    except UserError as error:
        _stop(f"error: {error}", MISTAKE)
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED)


def _stop(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)


def _parse(argv: list[str], default: pathlib.Path) -> list[str]:
    """As `flags.FLAGS(argv)`, with errors that name what is wrong."""
    _check_config(argv, default)
    values = flags.FLAGS
    flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config.name> if not given.")
    # The definition parses the overrides already where the default config is used.
    config_flags.DEFINE_config_file(
        "config", str(default), "Python file of the settings; --config.name=value changes one."
    )
    for name in ("workdir", "config"):  # so that --help of the script shows them
        values.register_key_flag_for_module(argv[0], values[name])
    return values(argv)


def _check_config(argv: list[str], default: pathlib.Path) -> None:
    """Raises UserError for a config that isn't there or an override it has no place for.

    ml_collections raises AttributeError, KeyError, TypeError or OSError for these, which can't be
    told from mistakes inside the config file, whose traceback its author needs.
    """
    path, variant = str(default), []
    for i, arg in enumerate(argv[1:], 1):
        if given := _CONFIG.match(arg):
            value = given[1] if given[1] is not None else "".join(argv[i + 1 : i + 2])
            path, *variant = value.split(":", 1)
    if not pathlib.Path(path).is_file():
        there = ", ".join(sorted(file.name for file in default.parent.glob("*.py")))
        raise UserError(f"--config: there is no file {path!r}; {default.parent} has {there}")
    config = _load(path, variant)
    for arg in argv[1:]:
        if given := _OVERRIDE.match(arg):
            _check_name(given[1], config, path)


def _load(path: str, variant: list[str]) -> ConfigDict:
    spec = importlib.util.spec_from_file_location("raeg_config", path)
    if spec is None:
        raise UserError(f"--config: {path!r} is not a Python file")
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


def _check_name(name: str, config: ConfigDict, path: str) -> None:
    """Raises UserError unless `name`, such as 'loss.kappa', is a single setting."""
    names = _names(config)
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


def _names(config: ConfigDict, prefix: str = "") -> list[str]:
    names = []
    for name, value in config.items():
        is_group = isinstance(value, ConfigDict)
        names += _names(value, f"{prefix}{name}.") if is_group else [prefix + name]
    return names
