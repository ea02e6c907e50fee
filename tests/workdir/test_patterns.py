"""Learned patterns of a workdir: those of its data and settings alone, and whole."""

import numpy as np
import pytest

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.workdir import patterns as lib
from raeg_jax.workdir.checkpoint_folder import DamagedError
from raeg_jax.workdir.origin import DataOrigin

ORIGIN = DataOrigin("0" * 16, ("a", "b"), "toys")
PATTERNS = np.random.RandomState(0).randint(-127, 128, (2, 1, 4, 4, 3)).astype(np.int8)


@pytest.fixture
def config():
    config = base.get_config()
    config.generator.stages = ("shortcut", "gradient")
    config.generator.shortcut.pattern = "learned"
    return config


@pytest.fixture
def workdir(config, tmp_path):
    lib.save_patterns(tmp_path, PATTERNS, lib.origin_of_patterns(ORIGIN, config))
    return tmp_path


def test_saved_patterns_are_loaded(config, workdir):
    loaded = lib.load_patterns(config, ORIGIN, workdir)
    np.testing.assert_array_equal(loaded, PATTERNS)
    assert loaded.dtype == np.int8


@pytest.mark.parametrize(
    "changes",
    [{"generator.shortcut.pattern": "waves"}, {"generator.stages": ("gradient",)}],
    ids=["pattern", "stages"],
)
def test_other_generators_have_none(config, workdir, changes):
    config.update_from_flattened_dict(changes)
    assert lib.load_patterns(config, ORIGIN, workdir) is None


def test_a_workdir_without_patterns_is_named(config, tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} has no learned patterns.*train.py with"):
        lib.load_patterns(config, ORIGIN, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data.image_size": 32},
        {"patterns.steps": 7},
        {"patterns.surrogates": ("vgg_small",)},
        {"augment.grey": 0.5},
        {"attack_layer.jpeg_quality": (30, 90)},
        {"attack_layer.probability.jpeg": 0.5},
        {"classifiers.label_smoothing": 0.2},
    ],
    ids=str,
)
def test_patterns_of_other_settings_are_refused(config, workdir, change):
    config.update_from_flattened_dict(change)
    (name,) = change
    with pytest.raises(UserError, match=rf"patterns are of another run: config\.{name} was .*, is"):
        lib.load_patterns(config, ORIGIN, workdir)


def test_settings_that_do_not_matter(config, workdir):
    config.update_from_flattened_dict(
        {"classifiers.steps": 7, "train.log_every": 3, "parallel": "shard_map", "loss.kappa": 1.0}
    )
    lib.check_same_patterns(config, ORIGIN, workdir)


def test_another_distance_is_for_use_but_not_for_training(config, workdir):
    config.generator.shortcut.target_psnr = 40.0
    np.testing.assert_array_equal(lib.load_patterns(config, ORIGIN, workdir), PATTERNS)
    with pytest.raises(UserError, match=r"config\.generator\.shortcut\.target_psnr was 33.0, is 4"):
        lib.check_same_patterns(config, ORIGIN, workdir)


def test_other_images_are_refused(config, workdir):
    other = DataOrigin("1" * 16, ("a", "b"), "toys")
    with pytest.raises(UserError, match=r"toys images are not those .*1111 now"):
        lib.load_patterns(config, other, workdir)


def damage(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("change", [damage, None], ids=["changed", "missing"])
def test_damaged_patterns_are_named(config, workdir, change):
    path = workdir / "patterns" / "patterns.npy"
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    with pytest.raises(DamagedError, match=r"patterns\.npy"):
        lib.read_patterns(workdir)
    with pytest.raises(UserError, match=r"patterns\.npy.*: train\.py .* learns them again"):
        lib.load_patterns(config, ORIGIN, workdir)


def test_patterns_without_a_whole_description_are_not_there(workdir):
    (workdir / "patterns" / "info.json").write_text("{")
    assert lib.read_patterns(workdir) is None
