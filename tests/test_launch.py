import pathlib
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[1]

PROGRAM = """
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
        print("ran", workdir, config.loss.target_psnr, config.generator.blocks, config.seed)

    launch.run(main, __file__)
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
    """A script with configs beside it."""
    folder = tmp_path_factory.mktemp("launch")
    (folder / "configs").mkdir()

    def write(name, text):
        (folder / name).write_text(textwrap.dedent(text))

    variants = "if variant not in ('', 'cpu'): raise ValueError(f'unknown variant {variant!r}')"
    write("program.py", PROGRAM.format(root=str(ROOT)))
    write("configs/quickstart.py", CONFIG.format(arguments="", more="config.seed = 1"))
    write("configs/variants.py", CONFIG.format(arguments="variant=''", more=variants))
    write("configs/buggy.py", CONFIG.format(arguments="", more="config.loss.kapa + 1"))
    write("configs/empty.py", "")
    return folder


def launch(folder, *arguments, cwd=None):
    command = [sys.executable, str(folder / "program.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd or folder, check=False)


def test_default_is_the_quickstart_beside_the_script(folder, tmp_path):
    result = launch(folder, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ran runs/mine ")
    assert result.stdout.endswith(" 1\n")


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
        (["--config=configs/quickstart.py:cpu"], "has no variants"),
        (["--config=configs/variants.py:gpu"], "unknown variant 'gpu'"),
        (["--config=configs/empty.py"], "has no function get_config()"),
        (["--confg=x"], "'confg'. Did you mean: config"),
        (["stray"], "unexpected argument 'stray'"),
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
    assert "--workdir" in result.stdout + result.stderr
    assert "--config" in result.stdout + result.stderr


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_our_scripts_name_mistakes_without_importing_jax(script):
    """So that a typing error is told at once."""
    command = [sys.executable, "-X", "importtime", script, "--config.x=1"]
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
