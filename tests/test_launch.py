import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from raeg_jax.launch import command, keep_interrupts, open_streams

ROOT = pathlib.Path(__file__).parents[1]

PROGRAM = """
    import signal
    import sys
    sys.path.insert(0, {root!r})
    from raeg_jax import launch
    from raeg_jax.errors import UserError

    def main(config, workdir):
        if config.seed == 13:
            raise UserError("thirteen won't do")
        if config.seed == 14:
            raise KeyboardInterrupt
        if config.seed == 15:
            raise ZeroDivisionError
        if config.seed == 16:
            signal.raise_signal(signal.SIGTERM)
        if config.seed == 17:
            with open("/dev/full", "w") as file:
                file.write("x")
        print("ran", workdir, config.loss.target_psnr, config.generator.blocks, config.seed)

    launch.run(main)
"""

CONFIG = """
    from configs import base

    def get_config({arguments}):
        config = base.get_config()
        config.name = "mine"
        {more}
        return config
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A script and configs of a user's own."""
    folder = tmp_path_factory.mktemp("launch")
    (folder / "configs").mkdir()

    def write(name, text):
        (folder / name).write_text(textwrap.dedent(text))

    variants = "if variant not in ('', 'cpu'): raise ValueError(f'unknown variant {variant!r}')"
    write("program.py", PROGRAM.format(root=str(ROOT)))
    write("configs/plain.py", CONFIG.format(arguments="", more="config.seed = 1"))
    write("configs/neighbour.py", "from configs import plain\nget_config = plain.get_config\n")
    write("configs/variants.py", CONFIG.format(arguments="variant=''", more=variants))
    write("configs/buggy.py", CONFIG.format(arguments="", more="config.loss.kapa + 1"))
    write("configs/empty.py", "")
    return folder


def launch(folder, *arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, str(folder / "program.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd or folder,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        ([], "ran runs/quickstart 36.0 (1, 1) 0\n"),
        (["--config=smoke", "--config.seed=1"], "ran runs/smoke 34.5 (1, 1) 1\n"),
        (["--config", "folder:cpu"], "ran runs/folder_cpu 34.0 (1, 1, 1) 0\n"),
    ],
)
def test_configs_of_the_package_are_found_by_name_from_anywhere(folder, tmp_path, arguments, ran):
    # Another project's package of that name, which `python -m raeg_jax` finds in its folder.
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise ImportError")
    result = launch(folder, *arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.stdout == ran, result.stderr


def test_configs_import_their_neighbours(folder, tmp_path):
    result = launch(folder, f"--config={folder}/configs/neighbour.py", cwd=tmp_path)
    assert result.stdout == "ran runs/mine 34.5 (1, 1, 1) 1\n", result.stderr


def test_settings_of_every_type_can_be_changed(folder):
    result = launch(
        folder,
        "--config=configs/variants.py:cpu",
        "--config.loss.target_psnr=36",
        "--config.generator.blocks=(2, 3)",
        "--config.seed",
        "7",
        "--workdir=/some/where",
    )
    assert result.stdout == "ran /some/where 36.0 (2, 3) 7\n", result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.x=1"], "--config.x: there is no such setting in"),
        (["--config.loss.target_psn=36"], "did you mean --config.loss.target_psnr"),
        (["--config.kappa=2"], "did you mean --config.loss.kappa?"),
        (["--config.loss=3"], "--config.loss is a group of settings"),
        (["--config.train.steps=many"], "--config.train.steps=many: invalid literal for int()"),
        (["--config.train.steps=1.5"], "--config.train.steps=1.5"),
        (["--config.train.steps"], "--config.train.steps"),
        (["--config=configs/none.py"], "there is no file 'configs/none.py'"),
        (["--config=none"], "none.py'; name it, or one of base, caltech101, celeba, "),
        (["--config=configs/plain.py:cpu"], "has no variants"),
        (["--config=quickstart:cpu"], "quickstart.py' has no variants"),
        (["--config=configs/variants.py:gpu"], "unknown variant 'gpu'"),
        (["--config=configs/empty.py"], "has no function get_config()"),
        (["--confg=x"], "'confg'. Did you mean: config"),
        (["stray"], "unexpected argument 'stray'"),
        (["--workdir=gs://bucket/run"], "gs://bucket/run is a URL, and only files and folders of"),
        (["--config.data.source=s3://b/photos"], "s3://b/photos is a URL"),
        (["--config.data.source=s3://b/a\nb"], r"s3://b/a\nb is a URL"),
        (["--config.seed=13"], "thirteen won't do"),
    ],
)
def test_mistakes_take_one_line_and_status_2(folder, arguments, message):
    result = launch(folder, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_ctrl_c_takes_one_line(folder):
    result = launch(folder, "--config.seed=14")
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


def test_sigterm_takes_one_line(folder):
    result = launch(folder, "--config.seed=16")
    assert result.returncode == 75
    assert result.stderr == "stopped by SIGTERM; the same command resumes\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
def test_a_full_disk_takes_one_line(folder):
    result = launch(folder, "--config.seed=17", "--workdir=runs/mine")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line == (
        "error: runs/mine can't be used (No space left on device): make room there; then the same "
        "command resumes"
    )


@pytest.mark.parametrize(
    ("argument", "error"),
    [("--config.seed=15", "ZeroDivisionError"), ("--config=configs/buggy.py", "kapa")],
)
def test_our_own_mistakes_keep_their_traceback(folder, argument, error):
    result = launch(folder, argument)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert error in result.stderr


def test_help_shows_the_flags(folder):
    result = launch(folder, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "  --config: one of base, caltech101, " in result.stdout
    assert "  --workdir: " in result.stdout


COMMANDS = [["train.py"], ["eval.py"], ["-m", "raeg_jax", "train"], ["-m", "raeg_jax", "eval"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_our_commands_is_all_of_their_flags(command):
    result = subprocess.run(
        [sys.executable, *command, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout.startswith(("Fits a ", "Measures a "))
    evaluates = "eval" in command[-1]
    shared = ["compile_cache", "config", "workdir"]
    flags = [*shared, *(["checkpoint", "method", "suite"] if evaluates else [])]
    assert re.findall(r"^  --(\w+): ", result.stdout, re.MULTILINE) == sorted(flags)


@pytest.mark.parametrize("command", COMMANDS)
def test_our_commands_name_mistakes_without_importing_jax(command):
    """So that a typing error is told at once."""
    command = [sys.executable, "-X", "importtime", *command, "--config.x=1"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 2
    assert "error: --config.x: there is no such setting" in result.stderr
    assert " jax\n" not in result.stderr


def test_scripts_without_a_config_tell_mistakes_in_one_line(folder):
    (folder / "script.py").write_text(
        textwrap.dedent(f"""
            import sys
            sys.path.insert(0, {str(ROOT)!r})
            from absl import flags
            from raeg_jax import launch
            from raeg_jax.errors import UserError

            _NUMBER = flags.DEFINE_integer("number", 1, "A number.")

            def main():
                if _NUMBER.value == 13:
                    raise UserError("thirteen won't do")
                print("number", _NUMBER.value)

            launch.run_without_config(main)
        """)
    )
    for argument, status, said in (
        ("--number=2", 0, ""),
        ("--number=13", 2, "error: thirteen won't do\n"),
        ("--number=x", 2, "error: flag --number=x: "),
        ("--nmber=2", 2, "error: Unknown command line flag 'nmber'"),
        ("more", 2, "error: unexpected argument 'more'; see --help\n"),
    ):
        command = [sys.executable, str(folder / "script.py"), argument]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert done.stderr.startswith(said)
        assert "Traceback" not in done.stderr
        assert done.stdout == ("number 2\n" if status == 0 else "")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["train.py", "--workdir=my runs"], "python train.py '--workdir=my runs'"),
        (["/env/bin/raeg", "train", "--config=smoke"], "raeg train --config=smoke"),
        (["/env/raeg_jax/__main__.py", "eval"], "raeg eval"),
    ],
)
def test_the_command_can_be_typed_again(monkeypatch, argv, told):
    monkeypatch.setattr("sys.argv", argv)
    assert command() == told


def test_ctrl_c_is_not_lost_where_python_ignores_errors(monkeypatch):
    class Odd:
        def __del__(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    keep_interrupts.__wrapped__()

    def run():
        Odd()
        time.sleep(30)

    # A process in the background may have been started with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run()
    finally:
        signal.signal(signal.SIGINT, before)


def test_closed_streams_lead_nowhere(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    open_streams()
    with sys.stderr as stream:
        print("lost", file=stream)
        assert not stream.isatty()
