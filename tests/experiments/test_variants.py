"""Each variant differs from the plain one in what its name says."""

import numpy as np
import pytest

from configs import base
from raeg_jax.adversarial.losses import class_permutation
from raeg_jax.config.validate import validate
from raeg_jax.errors import UserError
from raeg_jax.experiments import variants as experiment
from raeg_jax.experiments.variants import variants
from tests.experiments.experiment_toys import SIZE, alone


@pytest.fixture
def config():
    """A configuration that is none of the variants."""
    config = base.get_config()
    config.generator.gradient.update(smoothing=2.0, loss="targeted", views=("jpeg:20",), kappa=3.0)
    return config


def settings(config):
    gradient = config.generator.gradient
    return gradient.loss, tuple(gradient.views), gradient.smoothing


def test_variants_are_what_their_names_say_whatever_the_configuration(config):
    views = ("identity", "gaussian_blur:1.0", "jpeg:50", "rescale:0.5")
    assert {name: settings(made) for name, made in variants(config).items()} == {
        "plain": ("untargeted", ("identity",), 0.0),
        "smoothing 0.7": ("untargeted", ("identity",), 0.7),
        "views": ("untargeted", views, 0.0),
        "views + smoothing": ("untargeted", views, 0.7),
        "targeted": ("targeted", ("identity",), 0.0),
        "only resnet_small": ("untargeted", ("identity",), 0.0),
        "only vgg_small": ("untargeted", ("identity",), 0.0),
        "all but resnet_small": ("untargeted", ("identity",), 0.0),
        "all but vgg_small": ("untargeted", ("identity",), 0.0),
        "all": ("untargeted", ("identity",), 0.0),
    }


def test_all_else_is_kept_and_possible(config):
    before = config.to_json()
    for made in variants(config).values():
        validate(made)
        assert made.generator.gradient.kappa == 3.0
        assert made.generator.stages == ("gradient",)
    assert config.to_json() == before


def test_a_target_left_out_is_held_out(config):
    made = variants(config)
    assert made["plain"].classifiers.targets == ("resnet_small", "vgg_small")
    alone = made["only vgg_small"].classifiers
    assert alone.targets == ("vgg_small",)
    assert alone.held_out == ("resnet_small", "densenet_small")
    others = made["all but vgg_small"].classifiers
    assert tuple(others.targets) == ("resnet_small", "densenet_small")
    assert tuple(others.held_out) == ("vgg_small",)
    whole = made["all"].classifiers
    assert (whole.targets, whole.held_out) == (("resnet_small", "vgg_small", "densenet_small"), ())


def test_a_single_target_is_no_ensemble(config):
    config.classifiers.targets = ("resnet_small",)
    assert not [name for name in variants(config) if name.startswith("only")]


def test_rows_that_these_classifiers_do_not_have_are_named(config):
    config.suite.variants.rows = ("plain", "only vgg_small")
    experiment.check(config)
    config.suite.variants.rows = ("only densenet_small",)
    with pytest.raises(UserError, match=r"rows has 'only densenet_small', .* smoothing 0\.7"):
        experiment.check(config)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("suite"))


@pytest.mark.parametrize("row", ["plain", "targeted"])
def test_pgd_has_each_images_own_distance_from_the_variant(context, row, monkeypatch):
    given = []

    def attack(fns, images, classes, distance, steps, targeted):
        given.append((np.asarray(classes), np.asarray(distance)))
        assert (len(fns), steps, targeted) == (1, 2, row == "targeted")
        return images

    monkeypatch.setattr(experiment, "pgd_control", attack)
    # At 15 dB every mean can move by 45, which is enough for a neighbouring class.
    result = experiment.measure(context, "test", row, variants(context.run.config)[row], 15.0)
    variant, pgd = result["rows"]
    suffix = " targeted" if row == "targeted" else ""
    assert (variant["row"], pgd["row"]) == (row, f"PGD-2{suffix}")
    assert variant["attacked"] == pgd["attacked"] == ["near"]
    assert variant["worst_miss"] < 0.5
    assert (pgd["psnr"], pgd["worst_miss"]) == (None, 85.0)
    labels = context.run.images("test")[1]
    goals = class_permutation(3)[labels]
    classes, distances = (np.concatenate(each)[:5] for each in zip(*given, strict=True))
    np.testing.assert_array_equal(classes, goals if row == "targeted" else labels)
    psnrs = 20 * np.log10(255 * (SIZE * SIZE * 3) ** 0.5 / distances)
    assert variant["psnr"] == pytest.approx(psnrs.mean(), rel=1e-5)
    assert variant["accuracy"]["near"].keys() == {"none", "jpeg_50", "blur_1"}
    if row == "plain":
        assert variant["accuracy"]["near"]["none"] == 0
    else:
        assert variant["goal"]["near"] > 0.5 > pgd["goal"]["near"] == 0


def test_originals_have_a_row_without_psnr(context):
    context.run.config.suite.variants.rows = ("plain",)
    units = list(experiment.units(context))
    assert [unit.name for unit in units] == [
        "variants/train-original", "variants/train-plain-34", "variants/test-original",
        "variants/test-plain-34",
    ]  # fmt: skip
    result = units[2].measure()
    (row,) = result["rows"]
    assert (row["asked"], row["psnr"], row["worst_miss"], row["attacked"]) == (None, None, None, [])
    assert row["goal"]["near"] == np.mean(
        class_permutation(3)[context.run.images("test")[1]] == context.run.images("test")[1]
    )
    (cells,) = experiment.table([result], context).rows
    assert cells[:6] == ("unseen", "original", "", "", "equal", "")


def test_published_classifiers_are_left_out_as_held_out_and_refused_as_targets(config):
    config.classifiers.targets = ("resnet_small", "vgg_small")
    config.classifiers.held_out = ("densenet_small", "lite0.safetensors")
    attacked = {each.classifiers.targets for each in variants(config).values()}
    assert ("resnet_small", "vgg_small", "densenet_small") in attacked
    assert not [names for names in attacked if "lite0.safetensors" in names]
    config.classifiers.targets = ("lite0.safetensors",)
    with pytest.raises(UserError, match="experiment 'variants' goes toward other classes of the d"):
        experiment.check(config)
