import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import base
from raeg_jax import data
from raeg_jax.errors import UserError
from raeg_jax.networks import classifiers as classifiers_lib
from raeg_jax.training import classifier as classifier_lib
from raeg_jax.training import loop
from raeg_jax.training.logs import read_rows
from raeg_jax.workdir import classifiers, origin
from tests.networks import tiny_published
from tests.training.loop_toys import records, signal_at

COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])


class ToyNet(nn.Module):
    """Batch normalisation and two small layers, so that it compiles at once."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train):
        x = nn.Conv(8, (4, 4), strides=4)(images / 255)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.8)(x))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


def coloured(count, seed):
    """Images of three colours under noise; the class is the colour."""
    noise = np.random.RandomState(seed).randint(-40, 40, (count, 32, 32, 3))
    colours = COLOURS[np.arange(count) % 3][:, None, None]
    return records((colours + noise).clip(0, 255).astype(np.uint8), classes=3)


@pytest.fixture(scope="module")
def splits():
    return data.Splits(
        train=coloured(48, seed=0),
        test=coloured(25, seed=1),
        class_names=("red", "green", "blue"),
        skipped=(),
        name="colours",
        fingerprint="0123456789abcdef",
    )


@pytest.fixture(autouse=True, scope="module")
def toys():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("toy_a", "toy_b"):
            patch.setitem(classifiers_lib.CLASSIFIERS, name, lambda n, preprocessing: ToyNet(n))
        yield


def make_config():
    config = base.get_config()
    config.data.image_size = 32
    config.classifiers.update(
        targets=("toy_a",),
        held_out=("toy_b",),
        batch_size=16,
        steps=40,
        warmup_steps=4,
        learning_rate=0.05,
    )
    config.train.log_every = 15
    return config


@pytest.fixture
def config():
    return make_config()


@pytest.fixture(scope="module")
def fitted(splits, tmp_path_factory):
    """A workdir with toy_a, and its variables."""
    workdir = tmp_path_factory.mktemp("fitted")
    return workdir, classifier_lib.fit_classifier("toy_a", splits, make_config(), workdir)


@pytest.fixture
def workdir(fitted, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(fitted[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def assert_equal_trees(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_fitted_classifier_reads_unseen_images(config, splits, tmp_path, capsys):
    variables = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    images, labels, _ = data.arrays(splits.test, config.data)
    logits = ToyNet(3).apply(variables, jnp.asarray(images, jnp.float32), train=False)
    share = float(np.mean(np.argmax(logits, -1) == labels))
    assert share > 0.9
    accuracy = classifiers.clean_accuracies(("toy_a",), tmp_path)["toy_a"]
    np.testing.assert_allclose(accuracy["test"], share)
    assert accuracy["train"] > 0.9
    assert f"toy_a: accuracy on clean images {accuracy['train']:.3f}" in capsys.readouterr().out
    rows = read_rows(tmp_path / "classifiers" / "toy_a" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [15, 30, 40]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_a_watch_sees_the_classifier_now_and_then(config, splits, tmp_path):
    config.train.eval_every, seen = 25, []

    def watch(variables):
        assert set(variables) == {"params", "batch_stats"}
        seen.append(variables)
        return {"seen": len(seen)}

    fitted = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path, watch)
    rows = read_rows(tmp_path / "classifiers" / "toy_a" / "metrics.jsonl")
    assert [(row["step"], row["seen"]) for row in rows if "seen" in row] == [(25, 1), (40, 2)]
    assert_equal_trees(seen[-1], fitted)
    assert (
        np.abs(
            seen[0]["params"]["Dense_0"]["kernel"] - seen[1]["params"]["Dense_0"]["kernel"]
        ).max()
        > 0
    )


def test_all_are_trained_once_and_then_loaded(config, splits, tmp_path, monkeypatch):
    fitted, fit = [], classifier_lib.fit_classifier

    def counted(name, *args):
        fitted.append(name)
        return fit(name, *args)

    monkeypatch.setattr(classifier_lib, "fit_classifier", counted)
    first = classifier_lib.ensure_classifiers(config, splits, tmp_path)
    assert fitted == ["toy_a", "toy_b"]
    assert list(first) == fitted
    second = classifier_lib.ensure_classifiers(config, splits, tmp_path)
    third = classifiers.load_classifiers(config, splits, tmp_path)
    assert fitted == ["toy_a", "toy_b"]
    for name in first:
        assert_equal_trees(first[name][1], second[name][1])
        assert_equal_trees(first[name][1], third[name][1])
        assert third[name][0] == ToyNet(3)
    kernels = [first[name][1]["params"]["Dense_0"]["kernel"] for name in first]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_published_classifiers_are_not_trained(config, splits, tmp_path, monkeypatch, fitted):
    tiny_published.register(monkeypatch)
    network = tiny_published.write(tmp_path / "net.safetensors")
    monkeypatch.setattr(classifier_lib, "fit_classifier", lambda *args: fitted[1])
    config.classifiers.update(held_out=("net.safetensors",), weights=str(tmp_path))
    loaded = classifier_lib.ensure_classifiers(config, splits, tmp_path)
    assert list(loaded) == ["toy_a", "net.safetensors"]
    assert loaded["net.safetensors"][0] == network.module
    (tmp_path / "net.safetensors").unlink()
    tiny_published.write(tmp_path / "net.safetensors", seed=1)
    with pytest.raises(UserError, match=r"net\.safetensors isn't the file that the workdir's run"):
        classifier_lib.ensure_classifiers(config, splits, tmp_path)


def test_the_seed_decides(config, splits, fitted, tmp_path):
    again = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path / "again")
    assert_equal_trees(again, fitted[1])
    config.seed = 1
    other = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path / "other")
    difference = other["params"]["Dense_0"]["kernel"] - again["params"]["Dense_0"]["kernel"]
    assert np.abs(difference).max() > 1e-3


def test_an_unfinished_classifier_of_another_run_is_not_replaced(
    config, splits, tmp_path, monkeypatch
):
    stop_at(2, config, splits, tmp_path, monkeypatch)
    origin.check_same_run(config, splits, tmp_path)
    config.seed = 5
    with pytest.raises(UserError, match=r"holds another run: config\.seed was 0, is 5"):
        origin.check_same_run(config, splits, tmp_path)


def test_damaged_weights_are_named_and_trained_again(
    config, splits, workdir, fitted, capsys, monkeypatch
):
    config.classifiers.held_out = ()
    for path in (workdir / "classifiers" / "toy_a" / "variables").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    monkeypatch.setattr(classifier_lib, "fit_classifier", lambda *args: fitted[1])
    assert classifier_lib.ensure_classifiers(config, splits, workdir)["toy_a"][1] is fitted[1]
    assert "toy_a can't be read" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops(config, splits, tmp_path):
    config.classifiers.learning_rate = 1e38
    with pytest.raises(
        UserError, match=r"classifier toy_a: loss is nan at step \d+, .*; lower config\.classifiers"
    ):
        classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert not (tmp_path / "classifiers" / "toy_a" / origin.INFO).exists()


@pytest.mark.parametrize(("number", "at_step"), [(signal.SIGTERM, 7), (signal.SIGINT, 40)])
def test_stopping_saves_and_resuming_equals_an_unbroken_run(
    config, splits, fitted, tmp_path, monkeypatch, capsys, number, at_step
):
    with monkeypatch.context() as patch:
        signal_at(patch, number, at_step)
        assert classifier_lib.ensure_classifiers(config, splits, tmp_path) is None
    folder = tmp_path / "classifiers" / "toy_a"
    # The loop sees the signal one step later; none comes after the last.
    stopped_at = min(at_step + 1, 40)
    assert not (folder / origin.INFO).exists()
    name = signal.Signals(number).name
    message = f"stopped by {name} after step {stopped_at} of 40 of classifier toy_a; all is saved"
    assert message in capsys.readouterr().err
    again = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert f"resuming classifier toy_a after step {stopped_at}" in capsys.readouterr().err
    assert_equal_trees(again, fitted[1])
    info, expected = (
        json.loads((workdir / "classifiers" / "toy_a" / origin.INFO).read_text())
        for workdir in (tmp_path, fitted[0])
    )
    assert info == expected
    logs = [read_rows(w / "classifiers" / "toy_a" / "metrics.jsonl") for w in (tmp_path, fitted[0])]
    assert logs[0] == logs[1]
    assert not (folder / "unfinished").exists()


def stop_at(step, config, splits, workdir, monkeypatch):
    with monkeypatch.context() as patch:
        signal_at(patch, signal.SIGTERM, step)
        assert classifier_lib.fit_classifier("toy_a", splits, config, workdir) is None


@pytest.mark.parametrize("change", [{"classifiers.learning_rate": 0.04}, {"seed": 5}])
def test_other_settings_do_not_resume(config, splits, tmp_path, monkeypatch, capsys, change):
    stop_at(7, config, splits, tmp_path / "stopped", monkeypatch)
    config.update_from_flattened_dict(change)
    a = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path / "stopped")
    assert "resuming" not in capsys.readouterr().err
    assert_equal_trees(a, classifier_lib.fit_classifier("toy_a", splits, config, tmp_path / "new"))


def test_a_kill_is_forgotten_back_to_the_last_checkpoint(
    config, splits, fitted, tmp_path, monkeypatch, capsys
):
    config.train.checkpoint_every = 6
    advance = loop.Progress.advance
    taken = []

    def die(self, values=None):
        taken.append(values)
        if len(taken) == 21:
            raise SystemExit  # nothing is saved on the way out
        advance(self, values)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, "advance", die)
        with pytest.raises(SystemExit):
            classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    again = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert "resuming classifier toy_a after step 18" in capsys.readouterr().err
    assert_equal_trees(again, fitted[1])


def test_weights_are_safe_before_they_are_measured(config, splits, fitted, tmp_path, monkeypatch):
    def measure(*args):
        assert (tmp_path / "classifiers" / "toy_a" / "variables").is_dir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(classifier_lib, "_clean_accuracy", measure)
        with pytest.raises(KeyboardInterrupt):
            classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert classifiers.load_classifier("toy_a", splits, config, tmp_path) is None
    monkeypatch.setattr(loop.Progress, "advance", lambda *args: pytest.fail("trained"))
    again = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert_equal_trees(again, fitted[1])


def test_images_beyond_the_memory_are_measured_alike(config, splits, fitted, monkeypatch):
    expected = classifiers.clean_accuracies(("toy_a",), fitted[0])["toy_a"]
    monkeypatch.setattr(data, "arrays", lambda *args: pytest.fail("all in memory at once"))
    config.data.memory_mib = 0
    assert classifier_lib._clean_accuracy(ToyNet(3), fitted[1], splits, config) == expected


def test_a_batch_larger_than_the_data_is_named_at_once(config, splits, tmp_path):
    config.classifiers.batch_size = 64
    with pytest.raises(UserError, match=r"config\.classifiers\.batch_size=64 .*to 48 or less"):
        classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)


def test_shard_map_agrees_with_pmap(config, splits, fitted, tmp_path):
    config.parallel = "shard_map"
    mapped = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), mapped, fitted[1])
