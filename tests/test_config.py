import importlib
import json
import pathlib

import jax
import pytest

from configs import base
from raeg_jax import config as config_lib


@pytest.fixture
def config():
    return base.get_config()


def test_saved_file_holds_settings_and_versions(config, tmp_path):
    config.loss.target_psnr = 36.5
    path = tmp_path / "new" / config_lib.FILE
    config_lib.save(config, path)
    saved = json.loads(path.read_text())
    assert saved["config"]["loss"]["target_psnr"] == 36.5
    assert saved["config"]["generator"]["blocks"] == list(config.generator.blocks)
    assert saved["versions"]["jax"] == jax.__version__
    assert [file.name for file in path.parent.iterdir()] == [config_lib.FILE]


def test_equal_configs_do_not_differ_after_json(config):
    assert config_lib.differences(config_lib.to_json(config), config) == ({}, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generator.coupling", "affine"),
        ("generator.blocks", (1, 1, 9)),
        ("data.image_size", 96),
        ("data.dataset", "caltech101"),
        ("classifiers.targets", ("resnet18",)),
        ("train.batch_size", 8),
        ("seed", 7),
    ],
)
def test_settings_that_make_another_run(config, name, value):
    saved = config_lib.to_json(config)
    config.update_from_flattened_dict({name: value})
    fixed, adjustable = config_lib.differences(saved, config)
    assert list(fixed) == [name]
    assert fixed[name][1] == (list(value) if isinstance(value, tuple) else value)
    assert adjustable == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("loss.weight.ssim", 0.75), ("optimizer.learning_rate", 5e-4), ("train.steps", 10**6)],
)
def test_settings_that_may_be_adjusted(config, name, value):
    saved = config_lib.to_json(config)
    old = config_lib._flatten(saved)[name]
    config.update_from_flattened_dict({name: value})
    assert config_lib.differences(saved, config) == ({}, {name: (old, value)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parallel", "shard_map"),
        ("data.cache_dir", "/elsewhere"),
        ("train.log_every", 3),
        ("eval.pgd_steps", 1),
    ],
)
def test_settings_that_do_not_matter(config, name, value):
    saved = config_lib.to_json(config)
    config.update_from_flattened_dict({name: value})
    assert config_lib.differences(saved, config) == ({}, {})


def test_settings_that_one_side_lacks_are_differences(config):
    saved = config_lib.to_json(config)
    saved["generator"]["retired"] = True
    del saved["generator"]["clamp"]
    fixed, _ = config_lib.differences(saved, config)
    assert fixed == {
        "generator.clamp": (None, config.generator.clamp),
        "generator.retired": (True, None),
    }


def test_evaluation_has_the_settings_of_training(config):
    saved = config_lib.to_json(config)
    del saved["loss"]["kappa"]
    saved["retired"] = 1
    trained = config.copy_and_resolve_references()
    changes = {
        "loss.target_psnr": 20.0,
        "loss.kappa": 1.0,
        "generator.widths": (1, 2),
        "train.steps": 7,
    }
    free = {"eval.pgd_steps": 3, "data.source": "here", "train.best_metric": "psnr", "name": "b"}
    config.update_from_flattened_dict(changes | free)
    trained.update_from_flattened_dict({"loss.kappa": 1.0} | free)
    assert config_lib.as_trained(config, saved).to_dict() == trained.to_dict()
    assert config.loss.target_psnr == 20.0


def test_description_has_old_and_new_values():
    text = config_lib.describe({"seed": (0, 1), "generator.coupling": ("gin", "irn")})
    assert text == "config.seed was 0, is 1; config.generator.coupling was 'gin', is 'irn'"


def test_every_ignored_setting_exists(config):
    """A renamed setting must be renamed here too."""
    names = config_lib._flatten(config_lib.to_json(config))
    for name in (*config_lib._IGNORED, *config_lib._OF_EVALUATION, *config_lib._ADJUSTABLE):
        assert any(other == name or other.startswith(name + ".") for other in names), name


FOLDER = pathlib.Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
)
def test_every_config_has_the_settings_of_the_base(config, name):
    module = importlib.import_module(f"configs.{name}")
    if not hasattr(module, "get_config"):
        pytest.skip("not a config itself")
    names = set(config_lib._flatten(config_lib.to_json(module.get_config())))
    assert names == set(config_lib._flatten(config_lib.to_json(config)))
