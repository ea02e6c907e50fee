import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[2]

PROGRAM = """
    import sys
    sys.path.insert(0, {root!r})
    from raeg_jax.config import command_line
    from raeg_jax.errors import UserError

    def main(config, workdir):
        if config.seed == 13:
            raise UserError("thirteen won't do")
        if config.seed == 14:
            raise ZeroDivisionError
        if config.seed == 15:
            with open("/dev/full", "w") as file:
                file.write("x")
        print("ran", workdir, config.loss.target_psnr, config.generator.blocks, config.seed)

    command_line.run(main)
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
    """A user's script and configs."""
    folder = tmp_path_factory.mktemp("command_line")
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


def run(folder, *arguments, cwd=None, **environment):
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
        (["--config=FOLDER/configs/neighbour.py"], "ran runs/mine 34.5 (1, 1, 1) 1\n"),
    ],
)
def test_configs_and_their_neighbours_are_found_from_anywhere(folder, tmp_path, arguments, ran):
    # Another project's package of that name, which `python -m raeg_jax` finds in its folder.
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise ImportError")
    arguments = [argument.replace("FOLDER", str(folder)) for argument in arguments]
    result = run(folder, *arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.stdout == ran, result.stderr


def test_settings_of_every_type_can_be_changed(folder):
    result = run(
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
        (["--config=none"], "none.py'; name it, or one of ablation, base, caltech101, "),
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
    result = run(folder, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
def test_a_full_disk_takes_one_line(folder):
    result = run(folder, "--config.seed=15", "--workdir=runs/mine")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line == (
        "error: runs/mine can't be used (No space left on device): make room there; then the same "
        "command resumes"
    )


@pytest.mark.parametrize(
    ("argument", "error"),
    [("--config.seed=14", "ZeroDivisionError"), ("--config=configs/buggy.py", "kapa")],
)
def test_our_own_mistakes_keep_their_traceback(folder, argument, error):
    result = run(folder, argument)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert error in result.stderr


def test_help_shows_the_flags(folder):
    result = run(folder, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "  --config: one of ablation, base, " in result.stdout
    assert "  --workdir: " in result.stdout


COMMANDS = [["train.py"], ["eval.py"], ["-m", "raeg_jax", "train"], ["-m", "raeg_jax", "eval"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_our_commands_is_all_of_their_flags(command):
    result = subprocess.run(
        [sys.executable, *command, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert result.stdout.startswith(("Fits a ", "Measures a "))
    evaluates = "eval" in command[-1]
    shared = ["compile_cache", "config", "workdir"]
    of_eval = ["checkpoint", "method", "preprocess", "reader", "suite"]
    flags = [*shared, *(of_eval if evaluates else [])]
    assert re.findall(r"^  --(\w+): ", result.stdout, re.MULTILINE) == sorted(flags)


@pytest.mark.parametrize("command", COMMANDS)
def test_our_commands_name_mistakes_without_importing_jax(command):
    """So that a typing error is told at once."""
    command = [sys.executable, "-X", "importtime", *command, "--config.x=1"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 2
    assert "error: --config.x: there is no such setting" in result.stderr
    assert " jax\n" not in result.stderr


def test_mistakes_of_scripts_without_a_config_take_one_line(folder):
    (folder / "script.py").write_text(
        textwrap.dedent(f"""
            import sys
            sys.path.insert(0, {str(ROOT)!r})
            from absl import flags
            from raeg_jax.config import command_line
            from raeg_jax.errors import UserError

            _NUMBER = flags.DEFINE_integer("number", 1, "A number.")

            def main():
                if _NUMBER.value == 13:
                    raise UserError("thirteen won't do")
                print("number", _NUMBER.value)

            command_line.run_without_config(main)
        """)
    )
    for argument, status, start in (
        ("--number=2", 0, ""),
        ("--number=13", 2, "error: thirteen won't do\n"),
        ("--nmber=2", 2, "error: Unknown command line flag 'nmber'"),
        ("more", 2, "error: unexpected argument 'more'; see --help\n"),
    ):
        command = [sys.executable, str(folder / "script.py"), argument]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert done.stderr.startswith(start)
        assert "Traceback" not in done.stderr
        assert done.stdout == ("number 2\n" if status == 0 else "")
