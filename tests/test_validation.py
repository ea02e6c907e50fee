import importlib
import pathlib

import jax
import numpy as np
import pytest

from configs import base, scale
from raeg_jax import validation
from raeg_jax.comparison import settings as comparison_settings
from raeg_jax.config import _flatten, to_json
from raeg_jax.errors import UserError
from raeg_jax.evaluation import quick
from raeg_jax.experiments import settings
from raeg_jax.invertible.chain import Chain
from raeg_jax.validation import validate

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


@pytest.fixture
def config():
    return base.get_config()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("variant", [(), ("cpu",)])
def test_every_config_of_ours_is_possible(name, variant):
    module = importlib.import_module(f"configs.{name}")
    if not hasattr(module, "get_config"):
        pytest.skip("not a config itself")
    if variant and not module.get_config.__code__.co_argcount:
        pytest.skip("has no variants")
    validate(module.get_config(*variant))


@pytest.mark.parametrize("name", ["caltech101", "celeba", "mini_imagenet"])
@pytest.mark.parametrize("variant", scale.STAGES)
def test_every_variant_of_the_benchmarks_is_possible(name, variant):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    validate(config)
    assert tuple(config.generator.stages) == scale.STAGES[variant]
    validation.check_targets(config)


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
    ("classifiers.held_out", ("resnet51",), "each one of .*resnet50"),
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
    ("eval.pgd_steps", -1, "a whole number of at least 0"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), IMPOSSIBLE)
def test_impossible_values_are_named_with_what_is_allowed(config, name, value, allowed):
    config.update_from_flattened_dict({name: value})
    with pytest.raises(UserError) as caught:
        validate(config)
    message = str(caught.value)
    assert message.startswith(f"config.{name}={value!r} is impossible: it must be ")
    assert "\n" not in message
    caught.match(allowed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"generator.blocks": (1, 1)},
            r"blocks \(1, 1\) and .*widths .* one entry a level",
        ),
        (
            {"generator.stages": ("gradient",), "classifiers.targets": ("vgg16",)},
            "'vgg16' can't compute in fixed point",
        ),
        ({"generator.mixing": "conv1x1", "generator.coupling": "integer"}, "'conv1x1' makes"),
        ({"classifiers.held_out": ("vgg_small",)}, "'vgg_small' stands twice"),
        ({"classifiers.targets": ("vgg_small", "vgg_small")}, "'vgg_small' stands twice"),
        ({"optimizer.weight_decay": 0.1}, r"weight_decay=0\.1 does nothing with .*'adam'"),
        ({"augment.crop_padding": 64}, "crop_padding=64 must be below config.data.image_size=64"),
        ({"attack_layer.probability.identity": 0.0}, "probability: all are 0"),
        ({"attack_layer.jpeg_quality": (95, 50)}, "smallest first"),
        ({"train.batch_size": 12}, r"config\.train\.batch_size.* 12 .*8 devices: use 8 or 16"),
        ({"classifiers.batch_size": 12}, r"config\.classifiers\.batch_size.* 12 .*8 devices"),
    ],
)
def test_impossible_combinations_are_named(config, changes, message):
    assert jax.device_count() == 8
    config.data.image_size = 64
    config.classifiers.targets = ("resnet_small", "vgg_small")
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        validate(config)


def test_nothing_to_train_for(config):
    for name in config.loss.weight:
        config.loss.weight[name] = 0.0
    with pytest.raises(UserError, match=r"all of config\.loss\.weight are 0"):
        validate(config)


def test_a_config_not_made_from_the_base_is_told_so(config):
    with config.train.unlocked():
        del config.train.keep_last
    with pytest.raises(UserError, match=r"config\.train\.keep_last is missing"):
        validate(config)


def test_every_rule_is_of_a_setting_that_exists(config):
    assert validation.RULES.keys() <= _flatten(to_json(config)).keys()


def test_every_number_and_name_has_a_rule(config):
    """Left out are those with checks of their own, free text and switches."""
    own = ("attack_layer.", "loss.weight.")
    checked = {"generator.stages", "generator.gradient.views"}
    free = {"name", "data.source", "data.cache_dir", "data.list_file"} | checked
    rules = validation.RULES.keys() | {f"suite.{name}" for name in settings.RULES}
    rules |= {f"comparison.{name}" for name in comparison_settings.RULES}
    for name, value in _flatten(to_json(config)).items():
        if not isinstance(value, bool) and not name.startswith(own) and name not in free:
            assert name in rules, name


def test_metrics_of_the_best_are_those_of_the_evaluation():
    images = np.random.RandomState(0).randint(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    nets = {"toy": lambda x: x.mean((1, 2))}
    values = quick(Chain(()), nets, images, np.zeros(2, np.int32), batch_size=2)
    assert set(values) == set(validation.IN_LOOP_METRICS)
