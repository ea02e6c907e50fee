import functools
import json
import operator

import jax
import pytest

from configs import base
from raeg_jax.config import run_config
from raeg_jax.errors import UserError


@pytest.fixture
def config():
    return base.get_config()


def test_saved_file_holds_settings_and_versions(config, tmp_path):
    config.loss.target_psnr = 36.5
    path = tmp_path / "new" / run_config.FILE
    run_config.save(config, path)
    saved = json.loads(path.read_text())
    assert saved["config"]["loss"]["target_psnr"] == 36.5
    assert saved["config"]["generator"]["blocks"] == list(config.generator.blocks)
    assert saved["versions"]["jax"] == jax.__version__
    assert [file.name for file in path.parent.iterdir()] == [run_config.FILE]


def test_a_saved_config_is_loaded(config, tmp_path):
    run_config.save(config, tmp_path / "config.json")
    assert run_config.load(tmp_path / "config.json") == config


def test_a_config_of_version_0_1_0_is_loaded(config, tmp_path):
    saved = run_config.to_json(config)
    for name in run_config.LATER:
        *groups, last = name.split(".")
        del functools.reduce(operator.getitem, groups, saved)[last]
    (tmp_path / "config.json").write_text(json.dumps({"config": saved}))
    assert run_config.load(tmp_path / "config.json") == config
    assert run_config.classify_changes(saved, config) == ({}, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no .*config\.json: name the workdir of a run"),
        ("[]", "isn't the settings of a run"),
        ("{", "isn't the settings of a run"),
        (".", r"can't be read \(Is a directory\)"),
    ],
)
def test_other_files_are_not_loaded(tmp_path, content, message):
    path = tmp_path / "config.json"
    if content == ".":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        run_config.load(path)


def test_equal_configs_do_not_differ_after_json(config):
    assert run_config.classify_changes(run_config.to_json(config), config) == ({}, {})


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
    saved = run_config.to_json(config)
    config.update_from_flattened_dict({name: value})
    fixed, adjustable = run_config.classify_changes(saved, config)
    assert list(fixed) == [name]
    assert fixed[name][1] == (list(value) if isinstance(value, tuple) else value)
    assert adjustable == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("loss.weight.ssim", 0.75), ("optimizer.learning_rate", 5e-4), ("train.steps", 10**6)],
)
def test_settings_that_may_be_adjusted(config, name, value):
    saved = run_config.to_json(config)
    old = run_config.flatten(saved)[name]
    config.update_from_flattened_dict({name: value})
    assert run_config.classify_changes(saved, config) == ({}, {name: (old, value)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parallel", "shard_map"),
        ("data.cache_dir", "/elsewhere"),
        ("classifiers.weights", "/elsewhere"),
        ("train.log_every", 3),
        ("train.memory", "reversible"),
        ("eval.pgd_steps", 1),
    ],
)
def test_settings_that_do_not_matter(config, name, value):
    saved = run_config.to_json(config)
    config.update_from_flattened_dict({name: value})
    assert run_config.classify_changes(saved, config) == ({}, {})


def test_settings_that_one_side_lacks_are_differences(config):
    saved = run_config.to_json(config)
    saved["generator"]["retired"] = True
    del saved["generator"]["clamp"]
    fixed, _ = run_config.classify_changes(saved, config)
    assert fixed == {
        "generator.clamp": (None, config.generator.clamp),
        "generator.retired": (True, None),
    }


def test_evaluation_has_the_settings_of_training(config):
    saved = run_config.to_json(config)
    # Of a version that lacked them: the first one came later, with a value that changes nothing.
    del saved["generator"]["clamping"], saved["loss"]["kappa"]
    saved["retired"] = 1
    trained = config.copy_and_resolve_references()
    changes = {
        "loss.target_psnr": 20.0,
        "loss.kappa": 1.0,
        "generator.clamping": "atan",
        "generator.widths": (1, 2),
        "train.steps": 7,
    }
    free = {"eval.pgd_steps": 3, "data.source": "here", "train.best_metric": "psnr", "name": "b"}
    config.update_from_flattened_dict(changes | free)
    trained.update_from_flattened_dict({"loss.kappa": 1.0} | free)
    assert run_config.evaluation_config(config, saved).to_dict() == trained.to_dict()
    assert config.loss.target_psnr == 20.0


def test_description_names_old_and_new_values():
    text = run_config.describe({"seed": (0, 1), "generator.coupling": ("gin", "irn")})
    assert text == "config.seed was 0, is 1; config.generator.coupling was 'gin', is 'irn'"


def test_every_setting_named_in_the_module_exists(config):
    """A renamed setting must be renamed here too."""
    names = run_config.flatten(run_config.to_json(config))
    for name in (*run_config._IRRELEVANT, *run_config._FOR_EVALUATION, *run_config._ADJUSTABLE):
        assert any(other == name or other.startswith(name + ".") for other in names), name


def test_settings_that_came_later_are_those_that_change_nothing(config):
    """Of a configuration that doesn't say otherwise."""
    names = run_config.flatten(run_config.to_json(config))
    assert names.items() >= run_config.LATER.items()
