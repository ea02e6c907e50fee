"""Each variant differs from the plain one in what its name says."""

import pytest

from configs import base
from raeg_jax.config.validate import validate
from raeg_jax.evaluation.variants import variants


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
