"""Checkpoints that a kill, a full disk or a user damaged: named, and the one before is used."""

import shutil

import jax
import pytest

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.workdir import checkpoint_folder
from raeg_jax.workdir.checkpoint import FOLDER, Checkpoints
from raeg_jax.workdir.unfinished import UnfinishedCheckpoint
from tests.workdir.test_checkpoint import POSITION, assert_equal_states, make_state

SETTINGS = base.get_config().train
ORIGIN = {"seed": 0}


def spoil_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_all(path):
    path.write_bytes(b"")


DAMAGES = {"half": spoil_half, "empty": spoil_all, "removed": lambda path: path.unlink()}


def save_generator(folder):
    with Checkpoints(folder, SETTINGS) as checkpoints:
        for step in (1, 2):
            metrics = {SETTINGS.best_metric: 0.5} if step == 1 else None
            checkpoints.save(make_state(step), POSITION, base.get_config(), metrics)


def load_generator(folder, writable):
    with Checkpoints(folder, SETTINGS, writable) as checkpoints:
        checkpoints.meta()
        return checkpoints.restore(make_state())[0]


def save_classifier(folder):
    with UnfinishedCheckpoint(folder, ORIGIN) as checkpoint:
        for step in (1, 2):
            checkpoint.save(step, make_state(step), POSITION)


def load_classifier(folder, writable):
    with UnfinishedCheckpoint(folder, ORIGIN) as checkpoint:
        return checkpoint.restore(make_state())[1]


GENERATOR = save_generator, load_generator, FOLDER, True
READING = save_generator, load_generator, FOLDER, False
CLASSIFIER = save_classifier, load_classifier, "unfinished", True


@pytest.mark.parametrize(
    ("damage", "case"),
    [
        ("half", GENERATOR),
        ("removed", GENERATOR),
        ("half", READING),
        ("removed", CLASSIFIER),
        pytest.param("empty", GENERATOR, marks=pytest.mark.slow),
        pytest.param("empty", READING, marks=pytest.mark.slow),
        pytest.param("removed", READING, marks=pytest.mark.slow),
        pytest.param("empty", CLASSIFIER, marks=pytest.mark.slow),
        pytest.param("half", CLASSIFIER, marks=pytest.mark.slow),
    ],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(
    tmp_path, capsys, damage, case
):
    save, load, name, writable = case
    save(tmp_path / "whole")
    newest = tmp_path / "whole" / name / "2"
    files = sorted(path.relative_to(newest) for path in newest.rglob("*") if path.is_file())
    damaged = 0
    for number, file in enumerate(files):
        shutil.copytree(tmp_path / "whole", folder := tmp_path / str(number))
        DAMAGES[damage](folder / name / "2" / file)
        state = load(folder, writable)
        message = capsys.readouterr().err
        if message:
            damaged += 1
            assert message.count("\n") == 1, (file, message)
            assert "can't be read" in message
            assert message.endswith("the checkpoint of step 1 is used instead\n")
        # Some files say nothing that is needed.
        assert_equal_states(jax.device_get(state), make_state(1 if message else 2))
        assert (folder / name / "2").is_dir() == (not message or not writable), file
    assert damaged >= 4


@pytest.mark.parametrize("writable", [True, False])
def test_damage_to_all_is_named_and_left_as_it_is(tmp_path, writable):
    save_generator(tmp_path)
    for path in (tmp_path / FOLDER).glob("*/state/_METADATA"):
        path.unlink()
    message = r"checkpoints/1 can't be read .* and there is none before it: restore it, or remove"
    with pytest.raises(UserError, match=message):
        load_generator(tmp_path, writable)
    assert (tmp_path / FOLDER / "1").is_dir()


def test_damage_to_a_chosen_checkpoint_is_named(tmp_path):
    save_generator(tmp_path)
    (tmp_path / FOLDER / "1" / "meta" / "metadata").write_text("{")
    with Checkpoints(tmp_path, SETTINGS, writable=False) as checkpoints:
        for which in ("best", 1):
            with pytest.raises(UserError, match=r"checkpoints/1 can't be read"):
                checkpoints.meta(which)
        assert checkpoints.resolve("latest") == 2


def test_half_removed_checkpoints_do_no_harm(tmp_path, capsys):
    """Orbax deletes file by file: an older version may have been killed meanwhile."""
    save_classifier(tmp_path)
    older = tmp_path / "unfinished" / "1"
    shutil.rmtree(older / "origin")
    (older / "_CHECKPOINT_METADATA").unlink()
    assert_equal_states(load_classifier(tmp_path, True), make_state(2))
    assert capsys.readouterr().err == ""


def test_a_classifier_without_a_whole_checkpoint_starts_afresh(tmp_path, capsys):
    save_classifier(tmp_path)
    for path in (tmp_path / "unfinished").glob("*/state/_METADATA"):
        path.write_bytes(b"")
    with UnfinishedCheckpoint(tmp_path, ORIGIN) as checkpoint:
        assert checkpoint.restore(make_state()) is None
        checkpoint.save(1, make_state(1), POSITION)
        assert checkpoint.restore(make_state())[0] == 1
    assert capsys.readouterr().err.endswith("; this training starts afresh\n")


def test_a_checkpoint_is_renamed_before_it_is_removed(tmp_path, monkeypatch):
    """So that a kill leaves whole ones."""
    removed = []

    def remove(path, **options):
        if path.is_dir():
            removed.extend(sorted(str(p.relative_to(tmp_path)) for p in path.iterdir()))

    monkeypatch.setattr(checkpoint_folder.shutil, "rmtree", remove)
    with UnfinishedCheckpoint(tmp_path, ORIGIN) as checkpoint:
        for step in (1, 2, 3):
            checkpoint.save(step, make_state(step), POSITION)
    assert removed == ["unfinished/removed/1"]
    assert not (tmp_path / "unfinished" / "1").exists()


def test_checkpoints_that_training_removes_meanwhile_are_not_missed(tmp_path, capsys):
    settings = base.get_config().train
    settings.keep_last = 1
    with Checkpoints(tmp_path, settings) as training:
        training.save(make_state(1), POSITION, base.get_config())
        with Checkpoints(tmp_path, settings, writable=False) as reading:
            training.save(make_state(2), POSITION, base.get_config())
            assert reading.steps() == [1]
            assert_equal_states(jax.device_get(reading.restore(make_state())[0]), make_state(2))
    assert capsys.readouterr().err == ""


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / FOLDER).touch()
    for writable in (True, False):
        with pytest.raises(UserError, match=r"checkpoints is a file where the folder"):
            Checkpoints(tmp_path, SETTINGS, writable)


@pytest.mark.parametrize("kind", [MemoryError, jax.errors.JaxRuntimeError])
def test_full_memory_is_no_damage(kind):
    with pytest.raises(kind), checkpoint_folder.reading("a checkpoint"):
        raise kind("RESOURCE_EXHAUSTED: Out of memory allocating 1073741824 bytes.")
