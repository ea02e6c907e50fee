"""Heads: where their objective is least, and published networks that read a run's classes."""

import dataclasses

import jax
import numpy as np
import pytest

import raeg_jax
from configs import smoke
from raeg_jax import data
from raeg_jax.errors import UserError
from raeg_jax.evaluation.readers import of_generator
from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.image.resize import crop_resize
from raeg_jax.networks.classifiers import FrozenClassifier, attack_labels
from raeg_jax.payload.key import generate_key
from raeg_jax.protection.loaded_generator import load_generator, save_generator
from raeg_jax.protection.predict import predict_labels
from raeg_jax.training import classifier as classifier_lib
from raeg_jax.training.classifier import ensure_classifiers
from raeg_jax.training.linear_head import features_of, fit_linear, with_head
from raeg_jax.workdir.classifiers import clean_accuracies
from raeg_jax.workdir.origin import check_same_run
from raeg_jax.workdir.run import generator_from_workdir
from tests.networks import tiny_published
from tests.training.loop_toys import records

FILE, SIDE = "one.safetensors", 64
COLOURS = np.array([[150, 60, 60], [60, 150, 60], [60, 60, 150]])


def test_linear_classifiers_are_where_the_objective_is_least():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    centres = random.normal(0, 3, (3, 4)) * (1, 5, 0, 0) + np.array((0, 100, 0, 0))
    x = random.normal(centres[labels], (1, 5, 0.2, 1)).astype(np.float32)
    kernel, bias = fit_linear(x, labels, 3, decay=0.1)
    assert np.mean((x @ kernel + bias).argmax(-1) == labels) > 0.9

    # Its gradient, in float64 and by hand, for standardised features.
    deviation = x.std(axis=0, dtype=np.float64)
    standard = (x - x.mean(axis=0, dtype=np.float64)) / deviation
    logits = x.astype(np.float64) @ kernel + bias
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    error = (probabilities - np.eye(3)[labels]) / len(x)
    np.testing.assert_allclose(standard.T @ error + 0.1 * kernel * deviation[:, None], 0, atol=1e-3)
    np.testing.assert_allclose(error.sum(axis=0), 0, atol=1e-3)


def test_features_that_do_not_vary_do_no_harm():
    x = np.float32([[1, 5], [2, 5], [3, 5], [4, 5]])
    kernel, bias = fit_linear(x, np.array([0, 0, 1, 1]), 2, decay=0.01)
    assert np.isfinite(kernel).all()
    np.testing.assert_array_equal((x @ kernel + bias).argmax(-1), [0, 0, 1, 1])


def test_the_last_of_several_dense_layers_is_replaced():
    layers = {f"Dense_{number}": {"kernel": np.ones((2, 2))} for number in (0, 9, 10)}
    changed = with_head({"params": layers, "batch_stats": {}}, np.zeros((2, 3)), np.ones(3))
    assert changed["params"]["Dense_10"]["kernel"].shape == (2, 3)
    assert changed["params"]["Dense_9"] is layers["Dense_9"]
    assert layers["Dense_10"]["kernel"].shape == (2, 2)


def coloured(count, seed):
    noise = np.random.RandomState(seed).randint(-40, 40, (count, 32, 32, 3))
    return (COLOURS[np.arange(count) % 3][:, None, None] + noise).clip(0, 255).astype(np.uint8)


SPLITS = data.Splits(
    records(coloured(24, 0), 3), records(coloured(9, 1), 3), ("red", "green", "blue"), (),
    "colours", "0123456789abcdef",
)  # fmt: skip
IMAGES = list(coloured(9, 1)[:3])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir, its config and its classifiers: one with a head."""
    workdir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        tiny_published.register(patch)
        tiny_published.write(workdir / FILE)
        config = smoke.get_config()
        config.generator.stages = ("shortcut", "gradient")
        config.generator.shortcut.target_psnr = 35.0
        config.generator.gradient.update(
            target_psnr=32.0, rounds=3, attack_steps=2, loss="targeted",
            views=("identity", "grey"),
        )  # fmt: skip
        config.classifiers.update(targets=(FILE,), held_out=(), weights=str(workdir), heads=SIDE)
        yield workdir, config, ensure_classifiers(config, SPLITS, workdir)


@pytest.fixture
def config(run):
    return run[1].copy_and_resolve_references()


def test_a_head_is_fitted_to_features_of_images_and_mirror_images(run):
    workdir, _, classifiers = run
    module, variables = classifiers[FILE]
    assert (module.num_classes, module.preprocessing.crop) == (3, SIDE)
    # The features of the network as published, on enlarged images.
    body, weights = tiny_published.classifier()
    images = np.concatenate([coloured(24, 0), coloured(24, 0)[:, :, ::-1]])
    enlarged = crop_resize(np.float32(images), 0, 0, *images.shape[1:3], (SIDE, SIDE))
    x = features_of(FrozenClassifier(body, weights), np.asarray(enlarged), 16)
    kernel, bias = fit_linear(x, np.tile(np.arange(24) % 3, 2), 3)
    head = variables["params"]["Dense_0"]
    np.testing.assert_allclose(head["kernel"], kernel, atol=1e-3)
    np.testing.assert_allclose(head["bias"], bias, atol=0.02)
    rest = {name: tree for name, tree in variables["params"].items() if name != "Dense_0"}
    jax.tree.map(
        np.testing.assert_array_equal, rest, {name: weights["params"][name] for name in rest}
    )
    assert clean_accuracies((FILE,), workdir) == {FILE: {"train": 1.0, "test": 1.0}}


def test_it_is_fitted_once(run, monkeypatch):
    workdir, config, classifiers = run
    monkeypatch.setattr(classifier_lib, "fit_linear", None)
    check_same_run(config, SPLITS, workdir)
    again = ensure_classifiers(config, SPLITS, workdir)
    jax.tree.map(np.testing.assert_array_equal, again[FILE][1], classifiers[FILE][1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifiers.heads": 96}, "classifiers.heads was 64, is 96"),
        ({"classifiers.heads": 0}, "classifiers.heads was 64, is None"),
        ({"augment.flip": False}, "augment.flip was True, is False"),
    ],
)
def test_heads_of_other_settings_are_not_taken_for_the_same(run, config, change, message):
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message):
        check_same_run(config, SPLITS, run[0])


def test_a_head_belongs_to_its_weights(run, config, tmp_path):
    tiny_published.write(tmp_path / FILE, seed=1)
    config.classifiers.weights = str(tmp_path)
    with pytest.raises(UserError, match="isn't the file that the workdir's run used"):
        ensure_classifiers(config, SPLITS, run[0])


def test_targets_with_heads_read_the_classes_of_the_data_set(run):
    _, config, classifiers = run
    frozen, labels = FrozenClassifier(*classifiers[FILE]), np.int32([2, 0, 1])
    np.testing.assert_array_equal(attack_labels([frozen], np.float32(IMAGES), labels), labels)
    trained = TrainedRun(config, SPLITS, None, classifiers)
    assert trained.published == {}
    assert trained.class_names == {FILE: SPLITS.class_names}
    source = f"{tiny_published.network().source}, with a head of the run"
    assert trained.describe()[FILE]["source"] == source


@pytest.fixture(scope="module")
def exported(run):
    """Its generator as exported, and as read from the file."""
    workdir, config, _ = run
    generator = generator_from_workdir(config, workdir)
    save_generator(workdir / "file.raeg", generator)
    return generator, load_generator(workdir / "file.raeg")


def test_generators_protect_by_heads_and_recover_bit_for_bit(exported):
    generator, loaded = exported
    assert loaded.id == generator.id
    assert loaded.portable
    key = generate_key()
    protected = raeg_jax.protect(IMAGES, generator, key, [1, None, None], batch_size=3)
    files = [each.pixels for each in protected]
    recovered = raeg_jax.recover(files, loaded, key, [each.blob for each in protected])
    # Given labels count; others are what the targets read.
    assert [each.label for each in recovered] == [1, 1, 2]
    for image, file, each in zip(IMAGES, files, recovered, strict=True):
        np.testing.assert_array_equal(each.pixels, image)
        assert 28 < 10 * np.log10(255**2 / np.mean((np.float64(file) - image) ** 2)) < 34


def test_generators_know_the_classes_of_the_data_set(exported):
    for generator in exported:
        assert not generator.labels_are_readings
        assert generator.class_names == SPLITS.class_names
        np.testing.assert_array_equal(predict_labels(generator, IMAGES, 2), [0, 1, 2])
        (reader,) = of_generator(generator).values()
        assert reader.predict(IMAGES) == ["red", "green", "blue"]
        assert generator.published[FILE] == tiny_published.network().with_head(3, SIDE)


def test_ids_depend_on_heads_and_what_they_see(exported):
    generator, _ = exported
    network = generator.published[FILE]
    _, variables = generator.classifiers[FILE]
    other = network.with_head(3, 96)
    head = {name: np.asarray(x) for name, x in variables["params"]["Dense_0"].items()}
    moved = with_head(variables, head["kernel"], head["bias"] + 1)
    for changed in (
        {"classifiers": {FILE: (other.module, variables)}, "published": {FILE: other}},
        {"classifiers": {FILE: (network.module, moved)}},
    ):
        assert dataclasses.replace(generator, **changed).id != generator.id


def test_a_file_whose_networks_are_not_as_its_settings_say_is_refused(exported, tmp_path):
    generator, _ = exported
    config = generator.config.copy_and_resolve_references()
    config.classifiers.heads = 96
    save_generator(tmp_path / "file.raeg", dataclasses.replace(generator, config=config))
    with pytest.raises(UserError, match=r"doesn't see images as config\.classifiers\.heads=96"):
        load_generator(tmp_path / "file.raeg")
