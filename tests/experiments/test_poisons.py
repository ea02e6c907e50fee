"""The images that models of each row are trained on. No model is trained."""

import numpy as np
import pytest

from configs import caltech101
from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.errors import UserError
from raeg_jax.experiments import poisons
from raeg_jax.generator.build import build_generator
from tests.experiments.experiment_toys import PSNR, alone, model


@pytest.fixture
def context(tmp_path, monkeypatch):
    context = alone(tmp_path)
    config = context.run.config
    config.generator.gradient.target_psnr = PSNR
    config.suite.pirates.seeds = 1
    config.suite.poisons.update(rows=("honest", "waves"), defences=("bits_3",))
    return context


def test_models_get_what_their_row_and_defence_say(context, monkeypatch):
    given = {}

    def train(run, folder, training_set, architecture, seed):
        given.setdefault(training_set.name, []).append(training_set.load())
        return model(run, folder, training_set, architecture, seed)

    monkeypatch.setattr(poisons, "train", train)
    results = [unit.measure() for unit in poisons.units(context)]
    originals = context.run.images("train")[0]
    plain, reduced = (each.images for each in given["honest"])
    np.testing.assert_array_equal(plain, originals)
    np.testing.assert_array_equal(reduced, DEFENCES["bits_3"](originals))
    waves, reduced = (each.images for each in given["waves"])
    errors = np.mean((waves.astype(float) - originals) ** 2, axis=(1, 2, 3))
    # A payload takes a little more of the distance.
    assert np.all(np.abs(10 * np.log10(255**2 / errors) - PSNR + 0.4) < 0.5)
    np.testing.assert_array_equal(reduced, DEFENCES["bits_3"](waves))
    assert [(result["images"], result["defence"]) for result in results] == [
        ("honest", ""), ("honest", "bits_3"), ("waves", ""), ("waves", "bits_3"),
    ]  # fmt: skip
    rows = poisons.table(results, context).rows
    assert rows[-1] == (
        "waves", "130", "bits_3", "densenet_small", "1", "0.400", "0.400", "0.50", "0.50", "0.50",
    )  # fmt: skip
    assert [bool(unit.ignores) for unit in poisons.units(context)] == [True] * 2 + [False] * 2


PATTERNS = np.random.RandomState(0).randint(-127, 128, (3, 1, 4, 4, 3)).astype(np.int8)


def test_every_row_is_a_generator():
    config = caltech101.get_config("poison")
    poisons.check(config)
    for row, (stages, _) in poisons.ROWS.items():
        changed = poisons.changed(config, row)
        if stages == ("shortcut",):
            (stage,) = build_generator(changed, None, {}, PATTERNS).stages
            assert stage.max_mse == pytest.approx(255**2 * 10**-3.2)
        elif stages:
            assert tuple(changed.generator.stages) == stages


def test_impossible_rows_are_named(context):
    context.run.config.suite.poisons.rows = ("both",)
    context.run.config.generator.stages = ("shortcut", "gradient")
    context.run.config.generator.gradient.target_psnr = 34.0
    with pytest.raises(UserError, match=r"shortcut\.target_psnr=33\.0 must be above"):
        poisons.check(context.run.config)


def test_learned_patterns_are_those_of_a_run_that_has_some(context):
    config = context.run.config
    units = list(poisons.units(context))
    assert not any("learned" in unit.name for unit in units)
    config.suite.poisons.rows = ("learned",)
    with pytest.raises(UserError, match="'learned', and the run learned no patterns"):
        poisons.check(config)
    config.generator.stages, config.generator.shortcut.pattern = ("shortcut",), "learned"
    poisons.check(config)
