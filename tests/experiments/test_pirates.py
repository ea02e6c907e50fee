"""Which models are trained, and what is reported of them."""

import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.experiments import pirated_model, pirates
from raeg_jax.experiments.context import Context, ProtectedSet
from raeg_jax.experiments.store import Store
from raeg_jax.experiments.training_sets import TrainingSet, training_sets
from raeg_jax.methods.files import collect
from raeg_jax.methods.method import Result
from tests.experiments.experiment_toys import alone, model, run
from tests.networks import tiny_published


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    context = alone(tmp_path_factory.mktemp("suite"))
    settings = context.run.config.suite.pirates
    settings.update(shares=(), defences=("bits_3",), trainings=("adversarial_8+grey",), seeds=2)
    return context


def find(context, name, defence, training):
    (found,) = [
        each for each in training_sets(context)
        if (each.name, each.defence, each.training) == (name, defence, training)
    ]  # fmt: skip
    return found


def test_each_training_set_has_a_model_of_each_seed(context):
    units = list(pirates.units(context))
    names = [unit.name for unit in units]
    assert names[:6] == [
        "pirates/honest-densenet_small-0", "pirates/raeg-densenet_small-0",
        "pirates/honest-bits_3-densenet_small-0", "pirates/raeg-bits_3-densenet_small-0",
        "pirates/honest-grey-adversarial_8-densenet_small-0",
        "pirates/raeg-grey-adversarial_8-densenet_small-0",
    ]  # fmt: skip
    assert len(set(names)) == len(names) == 12
    assert [unit.cost for unit in units[3:5]] == [1500, 3000]


def test_honest_models_stay_when_the_generator_changes(context, monkeypatch):
    monkeypatch.setattr(pirates, "train", model)
    settings = {"generator": {"stages": ["shortcut"]}, "classifiers": {"steps": 3, "targets": []}}
    other = {"generator": {"stages": ["gradient"]}, "classifiers": {"steps": 3, "targets": ["a"]}}
    store = Store(context.folder / "store", {"step": None, "settings": settings})
    units = list(pirates.units(context))
    for unit in units:
        store.measure(unit)
    changed = Store(context.folder / "store", {"step": 5, "settings": other})
    stay = {unit.name.split("-")[0] for unit in units if changed.find(unit)}
    assert stay == {"pirates/honest"}
    other["classifiers"]["steps"] = 4
    changed = Store(context.folder / "store", {"step": 5, "settings": other})
    assert not any(changed.find(unit) for unit in units)


def test_a_model_is_trained_on_its_images_and_tested_on_clean_ones(context, monkeypatch):
    seen = {}

    def fit(name, splits, config, folder, watch, *_):
        seen.update(name=name, train=splits.train, steps=config.classifiers.steps, seed=config.seed)
        seen["adversarial"] = config.classifiers.adversarial
        (folder / "classifiers" / name).mkdir(parents=True)
        rows = '{"step": 5, "clean": 0.8}\n{"step": 7, "loss": 1.0}\n{"step": 10, "clean": 0.6}\n'
        (folder / "classifiers" / name / "metrics.jsonl").write_text(rows)
        return {}

    monkeypatch.setattr(pirated_model, "fit_classifier", fit)
    training_set = find(context, "raeg", "grey", "adversarial_8")
    run = context.run
    result = pirates.train(run, context.folder, training_set, "densenet_small", 2)
    assert (result["peak"], result["last"], result["changed"]) == (0.8, 0.6, 1.0)
    assert result["curve"] == [(5, 0.8), (10, 0.6)]
    assert (result["images"], result["defence"], result["training"]) == (
        "raeg", "grey", "adversarial_8",
    )  # fmt: skip
    assert (seen["name"], seen["seed"], seen["adversarial"]) == ("densenet_small", 3, 8.0)
    assert len(seen["train"]) == result["count"] == 3
    assert run.config.classifiers.adversarial == 0
    assert list((context.folder / "models").iterdir()) == []
    monkeypatch.setattr(pirated_model, "fit_classifier", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        pirates.train(run, context.folder, training_set, "densenet_small", 2)


def test_images_without_a_file_are_left_out_of_training(tmp_path, monkeypatch):
    def last_two(self):
        images = self.candidates()[0]
        made = [Result("no room" * (i == 0), one, one, one) for i, one in enumerate(images)]
        return collect(made, images.shape[1:], 0.0, 0.0, whole=False)

    monkeypatch.setattr(ProtectedSet, "_protect", last_two)
    context = Context(run(), tmp_path, ("rae",), compared=True)
    training_set = list(training_sets(context))[1]
    assert len(training_set.load().images) == len(training_set.load().originals) == 2
    context.run.config.classifiers.batch_size = 3
    result = pirates.train(context.run, tmp_path, training_set, "densenet_small", 1)
    assert (result["count"], result["peak"]) == (2, None)


def one(images, defence, training, seed, peak, architecture="net"):
    each = model(None, None, TrainingSet(images, None, defence, training), architecture, seed)
    return each | {"peak": peak, "last": peak and peak - 0.1}


RESULTS = [
    one("honest", "", "", 0, 0.6), one("honest", "", "", 1, 0.8),
    one("raeg", "", "", 0, 0.35), one("raeg", "", "", 1, 0.42),
    one("honest", "grey", "", 0, 0.5), one("raeg", "grey", "", 0, 0.5),
    one("honest", "", "crops", 0, 0.5), one("raeg", "", "crops", 0, 0.4),
    one("share_0.5", "", "", 0, 0.7),
    one("rit", "", "", 0, None) | {"curve": None, "count": 1},
]  # fmt: skip


def test_the_table_compares_with_honest_models_of_the_same_defence_and_undefended(context):
    table = pirates.table(RESULTS, context)
    assert table.head[-3:] == ("peak of honest", "last of honest", "peak of undefended")
    rows = table.rows
    assert rows[0][:8] == (
        "honest", "none", "plain", "net", "2", "3", "0.700 (0.600 to 0.800)",
        "0.600 (0.500 to 0.700)",
    )  # fmt: skip
    assert [row[-3:] for row in rows[1:6]] == [
        ("0.55 (0.50 to 0.60)", "0.47 (0.42 to 0.53)", "0.55 (0.50 to 0.60)"),
        ("1.00", "1.00", "0.71"), ("1.00", "1.00", "0.71"),
        ("1.00", "1.00", "0.71"), ("0.80", "0.75", "0.57"),
    ]  # fmt: skip
    assert rows[-2][-3:] == ("1.00", "1.00", "1.00")
    assert rows[-1] == ("RIT", "none", "plain", "net", "0", "1", "", "", "", "", "")
    assert "RAEG, of undefended: pirates 0.55; pirates, best defence 0.71 (grey, net)" in table.note
    assert pirates.curves(RESULTS, context).count("RAEG, crops") == 1


def test_the_headline_names_the_defence_that_gives_most(context):
    assert pirates.headline("raeg", RESULTS, context) == {
        "pirates": "0.55", "pirates, best defence": "0.71 (grey, net)",
    }  # fmt: skip
    assert pirates.headline("pgd", RESULTS, context) == {}
    name = "a.safetensors frozen"
    more = [one(images, "", "", 0, peak, name) for images, peak in (("honest", 0.5), ("raeg", 0.4))]
    cells = pirates.headline("raeg", [*RESULTS, *more], context)
    assert cells["pirates"] == "0.55"
    assert cells["pirates with published weights"] == "0.80"
    assert cells["pirates with published weights, best defence"] == f"0.80 (none, {name})"


def test_a_pirate_is_another_network_than_the_targets(context):
    config = run().config
    pirates.check(config)
    config.classifiers.targets = ("vgg_small",)
    config.suite.pirates.architectures = ("vgg_small",)
    with pytest.raises(UserError, match="has 'vgg_small', which is a target"):
        pirates.check(config)


def test_published_networks_are_trained_in_their_ways(context, tmp_path, monkeypatch):
    config = run().config
    config.suite.pirates.update(architectures=("densenet_small", "one.safetensors"), images=300)
    config.classifiers.weights = str(tmp_path)
    with pytest.raises(UserError, match=r"there is no .*one\.safetensors"):
        pirates.check(config)
    names = {
        (training, seed): list(
            pirates.models(config, TrainingSet("raeg", None, training=training), seed)
        )
        for training, seed in (("", 0), ("", 1), ("crops", 0))
    }
    assert names == {
        ("", 0): ["densenet_small", "one.safetensors frozen", "one.safetensors whole"],
        ("", 1): ["densenet_small", "one.safetensors whole"],
        ("crops", 0): ["densenet_small"],
    }
    tiny_published.register(monkeypatch)
    tiny_published.write(tmp_path / "one.safetensors")
    pirates.check(config)
    known = Context(context.run.with_config(config), tmp_path)
    frozen, whole = (
        pirates.model_settings(known, f"one.safetensors {way}") for way in ("frozen", "whole")
    )
    assert frozen["network"]["architecture"] == "tiny"
    assert whole == frozen | {"epochs": 4}
    raeg = TrainingSet("raeg", None)
    costs = [pirates.cost(known, raeg, f"one.safetensors {way}") for way in ("frozen", "whole")]
    assert costs[0] < costs[1]
    assert np.isfinite(costs).all()
