"""What models are trained on, and what is reported of them."""

import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.experiments import pirates
from raeg_jax.experiments.context import Context, ProtectedSet
from raeg_jax.methods.files import collect
from raeg_jax.methods.method import Result
from tests.experiments.experiment_toys import FloatRun, alone, model, run


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    context = alone(tmp_path_factory.mktemp("suite"), FloatRun)
    context.run.config.suite.pirates.update(shares=(0.5,), defences=("bits_3",), seeds=1)
    context.run.config.suite.update(remover_pairs=(2,), remover_steps=1)
    return context


def test_training_sets_have_the_images_that_their_names_say(context):
    originals, labels = context.run.images("train")
    files = context.leaked("raeg").files.images
    sets = {(each.name, each.training): each.load() for each in pirates.training_sets(context)}
    for images in sets.values():
        np.testing.assert_array_equal(images.originals, originals)
        np.testing.assert_array_equal(images.labels, labels)
    images = {key: each.images for key, each in sets.items()}
    np.testing.assert_array_equal(images["honest", ""], originals)
    np.testing.assert_array_equal(images["authorised", ""], originals)
    np.testing.assert_array_equal(images["raeg", ""], files)
    np.testing.assert_array_equal(images["raeg", "augmented"], files)
    changed = np.any(images["share_0.5", ""] != originals, axis=(1, 2, 3))
    assert changed.sum() == 2
    np.testing.assert_array_equal(images["share_0.5", ""][changed], files[changed])
    assert len(np.unique(images["bits_3", ""])) <= 8
    assert images["remover_2", ""].shape == files.shape
    names = [unit.name for unit in pirates.units(context)]
    assert "pirates/raeg-adversarial-densenet_small-0" in names
    assert len(set(names)) == len(names)


def test_what_was_made_of_files_is_kept(context, monkeypatch):
    first = pirates.defended(context.leaked("raeg"), "bits_3")
    monkeypatch.setattr(ProtectedSet, "change", None)
    np.testing.assert_array_equal(pirates.defended(context.leaked("raeg"), "bits_3"), first)


def test_exact_generators_have_no_authorised_models_and_methods_plain_ones(tmp_path):
    assert "authorised" not in [each.name for each in pirates.training_sets(alone(tmp_path))]
    context = Context(run(), tmp_path, ("rae", "pgd"), compared=True)
    sets = pirates.training_sets(context)
    assert [(each.name, each.training) for each in sets] == [
        ("honest", ""), ("rae", ""), ("pgd", ""),
    ]  # fmt: skip
    assert sets[1].depends.keys() == {"attack", "steps", "rae", "psnr"}


def test_a_model_is_trained_on_its_images_and_tested_on_clean_ones(context, monkeypatch):
    seen = {}

    def fit(name, splits, config, folder, watch):
        seen.update(name=name, train=splits.train, steps=config.classifiers.steps, seed=config.seed)
        seen["adversarial"] = config.classifiers.adversarial
        (folder / "classifiers" / name).mkdir(parents=True)
        rows = '{"step": 5, "clean": 0.8}\n{"step": 7, "loss": 1.0}\n{"step": 10, "clean": 0.6}\n'
        (folder / "classifiers" / name / "metrics.jsonl").write_text(rows)
        return {}

    monkeypatch.setattr(pirates, "fit_classifier", fit)
    (training_set,) = [
        each for each in pirates.training_sets(context) if each[::2] == ("raeg", "adversarial")
    ]
    run = context.run
    result = pirates.train(run, context.folder, training_set, "densenet_small", 2)
    assert (result["peak"], result["last"], result["changed"]) == (0.8, 0.6, 1.0)
    assert result["curve"] == [[5, 0.8], [10, 0.6]]
    assert (seen["name"], seen["seed"], seen["adversarial"]) == ("densenet_small", 3, 4.0)
    assert len(seen["train"]) == result["count"] == 3
    assert run.config.classifiers.adversarial == 0
    monkeypatch.setattr(pirates, "fit_classifier", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        pirates.train(run, context.folder, training_set, "densenet_small", 2)


def test_images_without_a_file_are_left_out_of_training(tmp_path, monkeypatch):
    def last_two(self):
        images = self.candidates()[0]
        made = [Result("no room" * (i == 0), one, one, one) for i, one in enumerate(images)]
        return collect(made, images.shape[1:], 0.0, 0.0, whole=False)

    monkeypatch.setattr(ProtectedSet, "_protect", last_two)
    context = Context(run(), tmp_path, ("rae",), compared=True)
    training_set = pirates.training_sets(context)[1]
    assert len(training_set.load().images) == len(training_set.load().originals) == 2
    context.run.config.classifiers.batch_size = 3
    result = pirates.train(context.run, tmp_path, training_set, "densenet_small", 1)
    assert (result["count"], result["peak"]) == (2, None)


def test_the_table_compares_with_honest_models_of_the_same_training(context):
    def one(images, training, seed, peak):
        each = model(None, None, pirates.TrainingSet(images, None, training), "net", seed)
        return each | {"peak": peak, "last": peak and peak - 0.1}

    results = [
        one("honest", "", 0, 0.6), one("honest", "", 1, 0.8), one("raeg", "", 0, 0.35),
        one("honest", "augmented", 0, 0.5), one("raeg", "augmented", 0, 0.5),
        one("rit", "", 0, None) | {"curve": None, "count": 1},
    ]  # fmt: skip
    rows = pirates.table(results, context).rows
    assert rows[0] == (
        "honest", "plain", "net", "2", "3", "0.700 (0.600 to 0.800)", "0.600 (0.500 to 0.700)",
        "1.00",
    )  # fmt: skip
    assert [row[-1] for row in rows] == ["1.00", "0.50", "1.00", "1.00", ""]
    assert rows[-1][:7] == ("RIT", "plain", "net", "0", "1", "", "")
    assert pirates.headline("raeg", results, context) == {"pirates": "0.50"}
    assert pirates.headline("pgd", results, context) == {}
    assert pirates.curves(results, context).count("RAEG, augmented") == 1


def test_a_pirate_is_another_network_than_the_targets(context):
    config = run().config
    pirates.check(config)
    config.classifiers.targets = ("vgg_small",)
    config.suite.pirates.architectures = ("vgg_small",)
    with pytest.raises(UserError, match="has 'vgg_small', which is a target"):
        pirates.check(config)
