import dataclasses
import io
import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from configs import base
from raeg_jax import data, networks
from raeg_jax.errors import UserError
from raeg_jax.training import classifier as classifier_lib
from raeg_jax.training.logs import read_rows
from tests.training.loop_toys import signal_at

COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])


class ToyNet(nn.Module):
    """Batch normalisation and two small layers, so that it compiles at once."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train):
        x = nn.Conv(8, (4, 4), strides=4)(images / 255)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.8)(x))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


def records(count, seed):
    """Images of three colours under noise; the class is the colour."""
    random, rows = np.random.RandomState(seed), []
    for i in range(count):
        noise = random.randint(-40, 40, (32, 32, 3))
        pixels = (COLOURS[i % 3] + noise).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        rows.append({"image": buffer.getvalue(), "label": i % 3, "file_name": f"{i}.png"})
    return rows


@pytest.fixture(scope="module")
def splits():
    return data.Splits(
        train=records(48, seed=0),
        test=records(25, seed=1),
        class_names=("red", "green", "blue"),
        skipped=(),
        name="colours",
        fingerprint="0123456789abcdef",
    )


@pytest.fixture(autouse=True, scope="module")
def toys():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("toy_a", "toy_b"):
            patch.setitem(networks.CLASSIFIERS, name, ToyNet)
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
    images, labels, _ = data.arrays(splits.test, 32, config.data)
    logits = ToyNet(3).apply(variables, jnp.asarray(images, jnp.float32), train=False)
    share = float(np.mean(np.argmax(logits, -1) == labels))
    assert share > 0.9
    accuracy = classifier_lib.clean_accuracies(("toy_a",), tmp_path)["toy_a"]
    np.testing.assert_allclose(accuracy["test"], share)
    assert accuracy["train"] > 0.9
    assert f"toy_a: accuracy on clean images {accuracy['train']:.3f}" in capsys.readouterr().out
    rows = read_rows(tmp_path / "classifiers" / "toy_a" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [15, 30, 40]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_who_watches_is_shown_the_classifier_now_and_then(config, splits, tmp_path):
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
    third = classifier_lib.load_classifiers(config, splits, tmp_path)
    assert fitted == ["toy_a", "toy_b"]
    for name in first:
        assert_equal_trees(first[name][1], second[name][1])
        assert_equal_trees(first[name][1], third[name][1])
        assert third[name][0] == ToyNet(3)
    kernels = [first[name][1]["params"]["Dense_0"]["kernel"] for name in first]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_the_seed_decides(config, splits, fitted, tmp_path):
    again = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path / "again")
    assert_equal_trees(again, fitted[1])
    config.seed = 1
    other = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path / "other")
    difference = other["params"]["Dense_0"]["kernel"] - again["params"]["Dense_0"]["kernel"]
    assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"classifiers.steps": 39},
        {"classifiers.learning_rate": 0.04},
        {"augment.flip": False},
        {"augment.mixup": 0.2},
        {"seed": 5},
    ],
)
def test_other_settings_are_not_taken_for_the_same(config, splits, workdir, change):
    assert classifier_lib.load_classifier("toy_a", splits, config, workdir) is not None
    config.update_from_flattened_dict(change)
    assert classifier_lib.load_classifier("toy_a", splits, config, workdir) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "config.seed was 0, is 5"),
        ({"classifiers.steps": 39}, "config.classifiers.steps was 40, is 39"),
        ({"augment.flip": False, "data.image_size": 48}, "flip was True, .*image_size was 32, is"),
    ],
)
@pytest.mark.parametrize("names", [("toy_a",), ("toy_b",)], ids=["its own", "others"])
def test_classifiers_of_another_run_are_not_replaced(
    config, splits, workdir, change, message, names
):
    config.classifiers.update(targets=names, held_out=())
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=f"the workdir holds another run: .*{message}.*another --w"):
        classifier_lib.check_same_run(config, splits, workdir)


def test_a_run_may_have_other_classifiers_and_generators(config, splits, workdir):
    config.classifiers.update(targets=("toy_b",), held_out=())
    config.generator.stages = ("gradient",)
    config.generator.gradient.target_psnr = 38.0
    config.loss.kappa, config.train.steps, config.eval.max_images = 1.0, 3, 5
    classifier_lib.check_same_run(config, splits, workdir)


def test_other_images_are_told_in_training_and_evaluation(config, splits, workdir):
    other = dataclasses.replace(splits, fingerprint="f" * 16)
    message = r"the colours images are not those .*0123456789abcdef then, ffffffffffffffff now"
    config.classifiers.held_out = ()
    for stop in (classifier_lib.check_same_run, classifier_lib.load_classifiers):
        with pytest.raises(UserError, match=message):
            stop(config, other, workdir)


def test_an_unfinished_classifier_of_another_run_is_not_replaced(
    config, splits, tmp_path, monkeypatch
):
    stop_at(2, config, splits, tmp_path, monkeypatch)
    classifier_lib.check_same_run(config, splits, tmp_path)
    config.seed = 5
    with pytest.raises(UserError, match=r"holds another run: config\.seed was 0, is 5"):
        classifier_lib.check_same_run(config, splits, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"origin": 3}', b'{"origin": {"data": 1}}']
)
def test_a_damaged_info_file_means_no_classifier(config, splits, workdir, content):
    (workdir / "classifiers" / "toy_a" / classifier_lib.INFO).write_bytes(content)
    classifier_lib.check_same_run(config, splits, workdir)
    assert classifier_lib.load_classifier("toy_a", splits, config, workdir) is None
    with pytest.raises(UserError, match="has no classifier 'toy_a'"):
        classifier_lib.load_classifiers(config, splits, workdir)


def test_damaged_weights_are_told_and_trained_anew(
    config, splits, workdir, fitted, capsys, monkeypatch
):
    config.classifiers.held_out = ()
    for path in (workdir / "classifiers" / "toy_a" / "variables").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    message = r"the classifier .*toy_a can't be read .*: train\.py .* trains it anew"
    with pytest.raises(UserError, match=message):
        classifier_lib.load_classifiers(config, splits, workdir)
    monkeypatch.setattr(classifier_lib, "fit_classifier", lambda *args: fitted[1])
    assert classifier_lib.ensure_classifiers(config, splits, workdir)["toy_a"][1] is fitted[1]
    assert "toy_a can't be read" in capsys.readouterr().err


def test_other_data_are_not_taken_for_the_same(config, splits, workdir):
    other = dataclasses.replace(splits, fingerprint="f" * 16)
    assert classifier_lib.load_classifier("toy_a", other, config, workdir) is None


def test_roles_and_the_generator_do_not_matter(config, splits, workdir):
    config.classifiers.update(targets=("toy_b",), held_out=("toy_a",))
    config.loss.kappa = 1.0
    config.train.steps = 3
    assert classifier_lib.load_classifier("toy_a", splits, config, workdir) is not None


def test_interrupted_saving_is_not_trusted(config, splits, workdir):
    (workdir / "classifiers" / "toy_a" / classifier_lib.INFO).unlink()
    assert classifier_lib.load_classifier("toy_a", splits, config, workdir) is None


def test_evaluation_never_trains(config, splits, workdir):
    with pytest.raises(UserError, match=r"has no classifier 'toy_b' .*run train\.py first"):
        classifier_lib.load_classifiers(config, splits, workdir)


def test_a_loss_that_is_not_finite_stops(config, splits, tmp_path):
    config.classifiers.learning_rate = 1e38
    with pytest.raises(UserError, match=r"classifier toy_a: the loss is nan at step 15; lower"):
        classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert not (tmp_path / "classifiers" / "toy_a" / classifier_lib.INFO).exists()


@pytest.mark.parametrize(("number", "at_step"), [(signal.SIGTERM, 7), (signal.SIGINT, 40)])
def test_stopping_saves_and_going_on_equals_an_unbroken_run(
    config, splits, fitted, tmp_path, monkeypatch, capsys, number, at_step
):
    with monkeypatch.context() as patch:
        signal_at(patch, number, at_step)
        assert classifier_lib.ensure_classifiers(config, splits, tmp_path) is None
    folder = tmp_path / "classifiers" / "toy_a"
    # The loop sees the signal one step later; none comes after the last.
    stopped_at = min(at_step + 1, 40)
    assert not (folder / classifier_lib.INFO).exists()
    name = signal.Signals(number).name
    message = f"stopped by {name} after step {stopped_at} of 40 of classifier toy_a; all is saved"
    assert message in capsys.readouterr().err
    again = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert f"going on with classifier toy_a after step {stopped_at}" in capsys.readouterr().err
    assert_equal_trees(again, fitted[1])
    info, expected = (
        json.loads((workdir / "classifiers" / "toy_a" / classifier_lib.INFO).read_text())
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
def test_other_settings_do_not_go_on(config, splits, tmp_path, monkeypatch, capsys, change):
    stop_at(7, config, splits, tmp_path / "stopped", monkeypatch)
    config.update_from_flattened_dict(change)
    a = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path / "stopped")
    assert "going on" not in capsys.readouterr().err
    assert_equal_trees(a, classifier_lib.fit_classifier("toy_a", splits, config, tmp_path / "new"))


def test_a_kill_is_forgotten_back_to_the_last_checkpoint(
    config, splits, fitted, tmp_path, monkeypatch, capsys
):
    config.train.checkpoint_every = 6
    advance = classifier_lib.Progress.advance
    taken = []

    def die(self, values=None):
        taken.append(values)
        if len(taken) == 21:
            raise SystemExit  # nothing is saved on the way out
        advance(self, values)

    with monkeypatch.context() as patch:
        patch.setattr(classifier_lib.Progress, "advance", die)
        with pytest.raises(SystemExit):
            classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    again = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert "going on with classifier toy_a after step 18" in capsys.readouterr().err
    assert_equal_trees(again, fitted[1])


def test_weights_are_safe_before_they_are_measured(config, splits, fitted, tmp_path, monkeypatch):
    def measure(*args):
        assert (tmp_path / "classifiers" / "toy_a" / "variables").is_dir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(classifier_lib, "_clean_accuracy", measure)
        with pytest.raises(KeyboardInterrupt):
            classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert classifier_lib.load_classifier("toy_a", splits, config, tmp_path) is None
    monkeypatch.setattr(classifier_lib.Progress, "advance", lambda *args: pytest.fail("trained"))
    again = classifier_lib.fit_classifier("toy_a", splits, config, tmp_path)
    assert_equal_trees(again, fitted[1])


def test_images_beyond_the_memory_are_measured_alike(config, splits, fitted, monkeypatch):
    expected = classifier_lib.clean_accuracies(("toy_a",), fitted[0])["toy_a"]
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


def test_info_says_what_it_comes_from(splits, workdir):
    info = json.loads((workdir / "classifiers" / "toy_a" / classifier_lib.INFO).read_text())
    assert info["origin"]["data"] == splits.fingerprint
    assert info["origin"]["classes"] == ["red", "green", "blue"]
    assert info["origin"]["image_size"] == 32
    assert "targets" not in info["origin"]["classifiers"]
