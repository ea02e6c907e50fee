"""The command line that training and evaluation share, and that of scripts without a config.

`--config` is a Python file with `get_config()` or the name of one of `CONFIGS`,
`--config.a.b=value` changes one of its settings, `--workdir` is the folder of the run. A user's
mistake ends in one line and exit status 2.
"""

import _thread
import difflib
import functools
import importlib.util
import inspect
import os
import pathlib
import re
import shlex
import signal
import sys
import threading
import types
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from raeg_jax import compilation
from raeg_jax.errors import UserError
from raeg_jax.files import check_local, explaining, printable

# STOPPED is EX_TEMPFAIL of sysexits.h: a signal stopped the run, the same command resumes it.
MISTAKE, STOPPED, INTERRUPTED = 2, 75, 130

# An installed package has configs/ inside (setup.py), a clone has the folder beside the package.
_INSIDE = pathlib.Path(__file__).with_name("configs")
CONFIGS = _INSIDE if _INSIDE.is_dir() else _INSIDE.parents[1] / "configs"
_DEFAULT = "quickstart"

_CONFIG = re.compile(r"--?config(?:=(.*))?$")
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")
_AGAIN_SECONDS = 0.05
_OVERRIDING = "--config.name=value changes a setting."


def run(
    main: Callable[[ConfigDict, pathlib.Path], None], argv: Sequence[str] | None = None
) -> None:
    """Parses the command line and calls `main(config, workdir)`; does not return.

    Args:
      main: the program; its module may define further flags with `absl.flags`, and the module's
        docstring is what `--help` prints before the flags.
      argv: the command's name and its arguments; those of the process by default.
    """
    open_streams()

    def parse(argv: list[str]) -> list[str]:
        try:
            return _parse(argv, main.__module__)
        except (flags.Error, UserError) as error:
            _stop(f"error: {error}", MISTAKE)

    def start() -> None:
        # At absl's default level Orbax tells every file it opens.
        logging.set_verbosity(logging.WARNING)
        config = flags.FLAGS.config
        settings = config.get("data", {})
        cache_dir = settings.get("cache_dir", "")
        for path in (flags.FLAGS.workdir, cache_dir, settings.get("source", "")):
            check_local(path)
        compilation.keep_programs(cache_dir, flags.FLAGS.compile_cache)
        workdir = pathlib.Path(flags.FLAGS.workdir or f"runs/{config.name}")
        with explaining(workdir):
            main(config, workdir)

    app.run(lambda rest: _call(start, rest), argv and list(argv), flags_parser=parse)


def run_without_config(main: Callable[[], None]) -> None:
    """Parses the command line of a script that has only its own flags, and calls `main()`.

    Mistakes end as in `run`; does not return.
    """
    open_streams()

    def parse(argv: list[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            _stop(f"error: {error}", MISTAKE)

    app.run(lambda rest: _call(main, rest), flags_parser=parse)


def command() -> str:
    """The shell command that started this process."""
    program, *arguments = sys.argv
    # `python -m raeg_jax` is the same program as `raeg`.
    is_tool = pathlib.Path(program).stem in ("raeg", "__main__")
    return shlex.join([*(["raeg"] if is_tool else ["python", program]), *arguments])


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it; whatever takes care of Ctrl-C takes care of it too."""


def open_streams() -> None:
    """Lets standard streams that were closed at the start lead nowhere.

    Python has None for them, and the next file that is opened would get their number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _signal_main_thread(number: int) -> None:
    if hasattr(signal, "pthread_kill"):
        # Ends waiting, too.
        signal.pthread_kill(threading.main_thread().ident, number)
    else:
        _thread.interrupt_main(number)


@functools.cache
def keep_interrupts() -> None:
    """Sends Ctrl-C and SIGTERM again where Python ignores what they raise.

    It does so in callbacks of its garbage collector, of which JAX has one, and in `__del__`: the
    run would go on to its end.
    """
    before = sys.unraisablehook

    def hook(unraisable):
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            return before(unraisable)
        terminated = issubclass(unraisable.exc_type, _Terminated)
        number = signal.SIGTERM if terminated else signal.SIGINT
        # At once, it would be ignored again.
        threading.Timer(_AGAIN_SECONDS, _signal_main_thread, [number]).start()

    sys.unraisablehook = hook


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


def _call(main: Callable[[], None], rest: list[str]) -> None:
    keep_interrupts()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if rest[1:]:
            raise UserError(f"unexpected argument {rest[1]!r}; see --help")
        main()
    except UserError as error:
        _stop(f"error: {error}", MISTAKE)
    except _Terminated:
        _stop("stopped by SIGTERM; the same command resumes", STOPPED)
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED)


def _stop(message: str, status: int) -> None:
    print(printable(message), file=sys.stderr)
    sys.exit(status)


def _parse(argv: list[str], module: str) -> list[str]:
    """As `flags.FLAGS(argv)`, with errors that name what is wrong and a help for one module."""
    argv = _with_paths(argv)
    values = flags.FLAGS
    flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config.name> if not given.")
    flags.DEFINE_string(
        "compile_cache",
        "",
        "Folder of compiled programs, or 'off'; $RAEG_COMPILE_CACHE or a part of the folder of "
        "prepared data if not given.",
    )
    if {"-h", "--help"} & set(argv):
        flags.DEFINE_string("config", _DEFAULT, f"{_choices()}; or a Python file. {_OVERRIDING}")
        print(_help(module))
        sys.exit()
    _check_config(argv)
    # The definition parses the overrides already where the default config is used.
    config_flags.DEFINE_config_file("config", _path(_DEFAULT), _OVERRIDING, sys_argv=argv)
    return values(argv)


def _help(module: str) -> str:
    values = flags.FLAGS
    # absl knows the main module by the name of its file.
    name = sys.argv[0] if module == "__main__" else module
    for flag in ("workdir", "compile_cache", "config"):
        values.register_key_flag_for_module(name, values[flag])
    _, _, lines = values.module_help(name).split("\n", 2)  # without the module's name
    return f"{sys.modules[module].__doc__ or ''}\nFlags:\n{lines}"


def _with_paths(argv: list[str]) -> list[str]:
    """Replaces names of `CONFIGS` by paths: --config=celeba:cpu by --config=.../celeba.py:cpu."""
    found = list(argv)
    for i, arg in enumerate(argv[1:], 1):
        if given := _CONFIG.match(arg):
            if given[1] is not None:
                found[i] = f"--config={_path(given[1])}"
            elif i + 1 < len(argv):
                found[i + 1] = _path(argv[i + 1])
    return found


def _path(value: str) -> str:
    name, colon, variant = value.partition(":")
    return f"{CONFIGS / name}.py{colon}{variant}" if name.isidentifier() else value


def _choices() -> str:
    names = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.py")))
    return f"one of {names}, which are in {CONFIGS}"


def _check_config(argv: list[str]) -> None:
    """Raises UserError for a config that isn't there or an override it has no place for.

    ml_collections raises AttributeError, KeyError, TypeError or OSError for these, which can't be
    told from mistakes inside the config file, whose traceback its author needs.
    """
    path, variant = _path(_DEFAULT), []
    for i, arg in enumerate(argv[1:], 1):
        if given := _CONFIG.match(arg):
            value = given[1] if given[1] is not None else "".join(argv[i + 1 : i + 2])
            path, *variant = value.split(":", 1)
    if not pathlib.Path(path).is_file():
        raise UserError(f"--config: there is no file {path!r}; name it, or {_choices()}")
    config = _load(path, variant)
    for arg in argv[1:]:
        if given := _OVERRIDE.match(arg):
            _check_name(given[1], config, path)


def _load(path: str, variant: list[str]) -> ConfigDict:
    spec = importlib.util.spec_from_file_location("raeg_config", path)
    if spec is None:
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
