import importlib
import pathlib

import numpy as np
import pytest

from configs import base
from raeg_jax.config import rules
from raeg_jax.config.run_config import flatten, to_json
from raeg_jax.config.schema import IN_LOOP_METRICS, RULES
from raeg_jax.errors import UserError
from raeg_jax.evaluation import quick
from raeg_jax.generator.chain import Chain

FOLDER = pathlib.Path(__file__).parents[2] / "configs"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("base", "scale"))


@pytest.fixture
def config():
    return base.get_config()


@pytest.mark.parametrize("name", ["base", *CONFIGS])
def test_every_config_has_the_settings_of_the_schema_and_no_others(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert set(flatten(to_json(config))) == set(RULES)


IMPOSSIBLE = [
    ("seed", -1, "a whole number between 0 and 2147483647"),
    ("parallel", "pjit", "one of pmap, shard_map"),
    ("data.dataset", "imagenet", "one of photographs, celeba_100"),
    ("data.test_fraction", 1.0, "a number strictly between 0 and 1"),
    ("data.image_size", 31, "a whole number between 32 and 4096"),
    ("generator.coupling", "spline", "one of .*integer"),
    ("generator.conditioner", "mlp", "one of .*dense"),
    ("generator.mixing", "lu", "one of .*conv1x1"),
    ("generator.downsampling", "dct", "one of haar"),
    ("generator.blocks", (1, 1.5, 1), "each a whole number of at least 1"),
    ("generator.widths", (), "one or more entries"),
    ("generator.clamp", 0.0, "a number above 0"),
    ("generator.gradient.target_psnr", 60.0, "a number between 5 and 58"),
    ("generator.gradient.rounds", 0, "a whole number between 1 and 1000"),
    ("generator.gradient.attack_steps", 0, "a whole number between 1 and 1000"),
    ("generator.gradient.step", 0.0, "a number above 0"),
    ("generator.gradient.bound", 256, "a whole number between 1 and 255"),
    ("generator.gradient.margin", 128, "a whole number between 0 and 127"),
    ("generator.gradient.smoothing", 17.0, "a number between 0 and 16"),
    ("classifiers.targets", (), "one or more entries, each one of .*resnet50"),
    ("classifiers.targets", ("nets/a.safetensors",), "file NAME.safetensors without a folder"),
    ("classifiers.targets", (".safetensors",), "file NAME.safetensors without a folder"),
    ("classifiers.held_out", ("resnet51",), "each one of .*resnet50"),
    ("classifiers.held_out", ("..\\a.safetensors",), "file NAME.safetensors without a folder"),
    ("classifiers.held_out", ("a\n.safetensors",), "file NAME.safetensors without a folder"),
    ("classifiers.weights", None, "text"),
    ("classifiers.learning_rate", float("nan"), "a number above 0"),
    ("classifiers.label_smoothing", 1.0, r"between 0 and 0\.99"),
    ("loss.adversary", "cw", "one of untargeted, targeted"),
    ("loss.target_psnr", 60.0, "between 5 and 58"),
    ("loss.weight.ssim", -0.5, "a number of at least 0"),
    ("loss.weight.gan", float("inf"), "a number of at least 0"),
    ("discriminator.norm", "batch", "one of spectral, group"),
    ("optimizer.name", "sgd", "one of adam, adamw"),
    ("optimizer.ema_decay", 1.0, "between 0 and"),
    ("train.steps", 0, "a whole number of at least 1"),
    ("train.keep_last", 0, "a whole number of at least 1"),
    ("train.best_metric", "loss", "one of .*protected_accuracy"),
    ("train.best_mode", "lowest", "one of min, max"),
    ("ablation.variants", ("a",), "any number of entries, each a tuple"),
    ("ablation.seeds", (-1,), "each a whole number between 0 and 2147483647"),
    ("eval.pgd_steps", -1, "a whole number of at least 0"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), IMPOSSIBLE)
def test_impossible_values_are_named_with_what_is_allowed(config, name, value, allowed):
    config.update_from_flattened_dict({name: value})
    with pytest.raises(UserError) as caught:
        rules.check(config, RULES)
    message = str(caught.value)
    assert message.startswith(f"config.{name}={value!r} is impossible: it must be ")
    assert "\n" not in message
    caught.match(allowed)


def test_rules_name_all_that_they_allow():
    assert str(rules.SWITCH) == "True or False"
    assert not rules.SWITCH.accepts(1)
    assert str(rules.Interval(rules.NATURAL)).startswith(
        "two entries, smallest first, each a whole"
    )
    assert not any(map(rules.Interval(rules.NATURAL).accepts, ((1,), (1, 2, 3), (2, 1), 1)))


def test_a_config_not_made_from_the_base_is_an_error(config):
    with config.train.unlocked():
        del config.train.keep_last
    with pytest.raises(UserError, match=r"config\.train\.keep_last is missing"):
        rules.check(config, RULES)


def test_metrics_of_the_best_are_those_of_the_evaluation():
    images = np.random.RandomState(0).randint(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    nets = {"toy": lambda x: x.mean((1, 2))}
    values = quick(Chain(()), nets, images, np.zeros(2, np.int32), batch_size=2)
    assert set(values) == set(IN_LOOP_METRICS)
