"""The command line itself; the other tests have what the commands do."""

import json
import os
import subprocess
import sys

import pytest

from configs import smoke
from raeg_jax import cli
from raeg_jax.cli import export as export_lib
from raeg_jax.cli import parser
from raeg_jax.payload.key import read_key
from tests.cli import documented, fake_codec

COMMANDS = ("keygen", "export", "protect", "recover", "verify", "inspect", "weights")


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_help_names_all_commands_and_each_has_its_own(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name in COMMANDS:
        assert f"\n    {name} " in out
        status, own, _ = run(capsys, name, "--help")
        assert status == 0
        assert own.startswith(f"usage: raeg {name} ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("paint",), "invalid choice: 'paint'"),
        (("protect", "a", "b"), "the following arguments are required: --key"),
        (("protect", "a", "b", "--batch-size", "0"), "0 isn't a number from 1 on"),
        (("protect", "a", "b", "--tries", "many"), "many isn't a number from 1 on"),
        (("protect", "a", "b", "--labels", "all"), "invalid choice: 'all'"),
        (("recover", "a", "b", "--strip"), "the following arguments are required"),
    ],
)
def test_mistakes_are_reported_in_one_line(capsys, arguments, message):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "out", "--key", "gs://bucket/out"),
        ("protect", "photos", "out", "--key", "k", "--generator", "gs://bucket/out"),
        ("inspect", "gs://bucket/out"),
        ("keygen", "gs://bucket/out"),
        ("export", "gs://bucket/out", "generator"),
        ("export", "run", "gs://bucket/out"),
    ],
)
def test_places_elsewhere_are_refused(capsys, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    documented.check("a key, generator or run on another machine", status, err)
    assert (out, os.listdir()) == ("", [])


def test_keygen_makes_a_key_once(capsys, tmp_path):
    status, out, _ = run(capsys, "keygen", tmp_path / "owner.key")
    key = read_key(tmp_path / "owner.key")
    assert (status, out.split()[:2]) == (0, ["key", key.id])
    status, _, err = run(capsys, "keygen", tmp_path / "owner.key")
    assert status == 2
    assert "owner.key exists, and a key is never replaced" in err
    assert read_key(tmp_path / "owner.key") == key


def test_export_hands_its_arguments_on(capsys, monkeypatch):
    given = []

    def export(*arguments):
        given.extend(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(export_lib, "export", export)
    arguments = ["--checkpoint", "best", "--stages", "learned,gradient"]
    more = ["--classifier", "vgg_small", "--classifier", "resnet_small"]
    status, _, err = run(capsys, "export", "RUN", "FILE", *arguments, *more)
    classifiers = ["vgg_small", "resnet_small"]
    assert given == ["RUN", "FILE", "best", classifiers, ["learned", "gradient"]]
    assert (status, err) == (130, "interrupted\n")


def test_export_tells_what_the_generator_does(capsys, monkeypatch):
    bundle = fake_codec.Bundle()
    bundle.config, bundle.portable = smoke.get_config(), True
    monkeypatch.setattr(export_lib, "export", lambda *_, **__: bundle)
    monkeypatch.setattr(
        export_lib, "effect", lambda *given: ([f"{given[0]}, {given[2]}"], ["hardly"])
    )
    status, out, err = run(capsys, "export", "RUN", "FILE", "--checkpoint", "best")
    assert (status, err) == (0, "warning: hardly\n")
    first, second = out.splitlines()
    assert first.startswith(f"generator {b'fakefake'.hex()} (learned; recovers on any machine) is")
    assert second == "RUN, best"


def test_jax_is_not_imported_before_arguments_are_checked(tmp_path):
    key, generator = tmp_path / "key", tmp_path / "generator"
    cli.main(["keygen", str(key)])
    generator.write_text("not a generator")
    (tmp_path / "photos").mkdir()
    commands = [
        ["protect", "nowhere", "out", "--key", key, "--generator", generator],
        ["recover", tmp_path / "photos", "out", "--key", key, "--generator", generator],
        ["inspect", generator],
        ["--help"],
    ]
    script = (
        "import json, sys; from raeg_jax import cli\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    cli.main(arguments)\n"
        "    assert 'jax' not in sys.modules, arguments"
    )
    subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands, default=str)],
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.DEVNULL,
    )


def test_ctrl_c_at_the_start_shows_no_traceback(capsys, monkeypatch):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(parser, "run", interrupted)
    assert run(capsys, "--help") == (130, "", "interrupted\n")


def test_a_working_folder_that_is_gone_is_reported(capsys, monkeypatch, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    status, _, err = run(capsys, "protect", tmp_path / "photos", "out", "--key", "key")
    assert (status, err) == (2, "error: the current folder was deleted: change to another one\n")


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    """As `raeg inspect ... | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        ended = keygen_to(stream, tmp_path)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
def test_output_to_a_full_disk_is_reported(tmp_path):
    with open("/dev/full", "w") as stream:
        ended = keygen_to(stream, tmp_path)
    documented.check("standard output on a full disk", ended.returncode, ended.stderr)
    assert ended.stderr.count("\n") == 1


def keygen_to(stream, folder):
    # Buffered, as it is for everybody else.
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": ""}
    return subprocess.run(
        [sys.executable, "-m", "raeg_jax", "keygen", folder / "key"],
        stdout=stream,
        stderr=subprocess.PIPE,
        check=False,
        env=environment,
        text=True,
    )
