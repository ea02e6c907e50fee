"""Building the generator from the configuration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import smoke
from raeg_jax.errors import UserError
from raeg_jax.generator.build import (
    STAGES,
    build_generator,
    check_stages,
    check_targets,
    has_patterns,
    parse_view,
)
from raeg_jax.generator.shortcut import Shortcut
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks import classifiers as classifiers_lib

LABELS = np.array([0, 1], np.int32)
PATTERNS = np.random.RandomState(0).randint(-128, 128, (2, 2, 8, 8, 3)).astype(np.int8)


@pytest.fixture
def config():
    config = smoke.get_config()
    config.loss.target_psnr = 40.0
    return config


@pytest.fixture(scope="module")
def classifiers():
    module = classifiers_lib.build_classifier("resnet_small", 3)
    blank = jnp.zeros((1, 32, 32, 3))
    return {"resnet_small": (module, module.init(jax.random.key(0), blank, train=False))}


def params(config):
    generator = unet_from_config(config.generator)
    variables = jax.jit(generator.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    random = np.random.RandomState(0)
    return jax.tree.map(
        lambda p: p + 0.02 * random.randn(*p.shape).astype(np.float32), variables["params"]
    )


@pytest.mark.parametrize("stages", [("gradient",), ("shortcut",), STAGES])
def test_every_chain_is_undone_exactly(config, classifiers, stages):
    config.generator.stages = stages
    config.generator.shortcut.target_psnr = 36.0
    # In floating point: compiled faster.
    config.generator.gradient.update(rounds=4, attack_steps=2, arithmetic="float")
    chain = build_generator(config, params(config), classifiers)
    assert len(chain.stages) == len(stages)
    assert chain.exact
    x = np.random.RandomState(0).randint(0, 256, (2, 32, 32, 3)).astype(np.float32)
    token = np.random.RandomState(1).choice([-1, 1], (2, 32, 32, chain.token_planes))
    y, info = jax.jit(lambda c, x: c.forward(x, LABELS, token))(chain, x)
    assert np.any(np.asarray(y) != x)
    inverse = jax.jit(lambda c, y, info: c.inverse(y, info, token))
    np.testing.assert_array_equal(inverse(chain, y, info), x)


def test_structs_that_share_a_program_differ(config, classifiers):
    """JAX 0.10 to 0.12 take dataclasses of as many equal fields for one another, by chance."""
    chains = []
    for stage, arithmetic in (
        ("learned", "fixed"), ("shortcut", "fixed"), ("gradient", "fixed"), ("gradient", "float")
    ):  # fmt: skip
        config.generator.stages = (stage,)
        config.generator.gradient.arithmetic = arithmetic
        chains.append(build_generator(config, params(config), classifiers))
    config.generator.stages, config.generator.shortcut.pattern = ("shortcut",), "learned"
    chains.append(build_generator(config, None, classifiers, PATTERNS))
    structures = [jax.tree.structure(chain) for chain in chains]
    assert all(a != b for a, b in itertools.combinations(structures, 2))


def test_shifts_after_a_learned_stage_are_as_large_as_its_remaining_budget(config, classifiers):
    """With larger shifts, the target would be reached before the last mask's round."""
    config.generator.stages = ("learned", "gradient")
    config.generator.gradient.target_psnr, config.loss.target_psnr = 34.0, 37.0
    left = 255**2 * (10**-3.4 - 10**-3.7)
    stage = build_generator(config, params(config), classifiers).stages[-1]
    np.testing.assert_allclose(stage.max_mse, 255**2 * 10**-3.4)
    np.testing.assert_allclose(stage.step, 1.05 * np.sqrt(left))
    np.testing.assert_allclose(stage.conditioner.reach, np.sqrt(left))
    # A learned stage that uses the whole budget still leaves shifts that change samples.
    config.loss.target_psnr = 33.0
    assert build_generator(config, params(config), classifiers).stages[-1].step > 0.5


def test_shifts_after_a_shortcut_stage_are_too(config, classifiers):
    config.generator.stages = STAGES
    config.generator.shortcut.update(
        target_psnr=36.0, period=6, cycles=(1, 2), colours=("grey",), waves=3, seed=5
    )
    config.generator.gradient.update(target_psnr=34.0, mask="random")
    _, shortcut, gradient = build_generator(config, params(config), classifiers).stages
    np.testing.assert_allclose(shortcut.max_mse, 255**2 * 10**-3.6)
    np.testing.assert_allclose(shortcut.step, 1.05 * 255 * np.sqrt(10**-3.6 - 10**-4))
    np.testing.assert_allclose(gradient.step, 1.05 * 255 * np.sqrt(10**-3.4 - 10**-3.6))
    assert shortcut.conditioner == Shortcut("waves", 6, (1, 2), 3, 8, 4, ("grey",), 5)
    assert shortcut.mask == "random"


def test_learned_patterns_reach_the_conditioner_where_they_are_the_pattern(config):
    config.generator.stages = ("shortcut",)
    (stage,) = build_generator(config, None, {}, PATTERNS).stages
    assert isinstance(stage.conditioner, Shortcut)
    assert not has_patterns(config.generator)
    # Settings of other patterns don't count.
    config.generator.shortcut.update(pattern="learned", target_psnr=36.0, cycles=(3, 2))
    assert has_patterns(config.generator)
    (stage,) = build_generator(config, None, {}, PATTERNS).stages
    np.testing.assert_array_equal(stage.conditioner.patterns, PATTERNS)
    np.testing.assert_allclose(stage.max_mse, 255**2 * 10**-3.6)
    for wrong, message in ((None, "'learned' needs patterns"), (PATTERNS[0], "not int8")):
        with pytest.raises(UserError, match=message):
            build_generator(config, None, {}, wrong)
    config.generator.stages = ("gradient",)
    assert not has_patterns(config.generator)


def test_settings_reach_the_coupling(config, classifiers):
    config.generator.stages = ("gradient",)
    gradient = config.generator.gradient
    gradient.update(target_psnr=40.0, mask="random", loss="targeted", others=2)
    gradient.update(attack_steps=7, views=("jpeg:50",), smoothing=0.7)
    (fixed,) = build_generator(config, None, classifiers).stages
    gradient.arithmetic = "float"
    (stage,) = build_generator(config, None, classifiers).stages
    assert (fixed.portable, stage.portable) == (True, False)
    for name in ("reach", "steps", "loss", "views", "smoothing", "kappa", "others"):
        assert getattr(fixed.conditioner, name) == getattr(stage.conditioner, name)
    np.testing.assert_allclose(stage.max_mse, 255**2 / 1e4)
    np.testing.assert_allclose(stage.step, 1.05 * 2.55)
    np.testing.assert_allclose(stage.conditioner.reach, 2.55)
    assert stage.conditioner.steps == 7
    assert stage.mask == "random"
    assert stage.conditioner.views == (("jpeg", 50.0),)
    assert stage.conditioner.smoothing == 0.7
    assert stage.conditioner.loss == "targeted"
    assert stage.conditioner.others == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ()}, r"stages=\(\)"),
        ({"stages": ("gradient", "learned")}, "stages=.'gradient', 'learned'"),
        ({"stages": ("gradient", "gradient")}, "stages=.'gradient', 'gradient'"),
        ({"stages": ("learned", "shortcut"), "coupling": "affine"}, "which a shortcut stage after"),
        ({"shortcut": {"cycles": (3, 2)}}, r"cycles=\(3, 2\) .*period of 16 pixels, at most 8"),
        ({"shortcut": {"cycles": (2, 9)}}, r"cycles=\(2, 9\) .*period of 16 pixels, at most 8"),
        ({"shortcut": {"cycles": (2,)}}, r"cycles=\(2,\) is impossible"),
        ({"shortcut": {"cycles": (1, 1), "waves": 7}}, r"waves=7 is more than the 6 .*\(1, 1\)"),
        ({"shortcut": {"colours": ("grey", "grey")}}, "names a colour twice"),
        ({"stages": ("learned", "gradient"), "coupling": "affine"}, "'affine' gives fractions"),
        ({"gradient": {"views": ()}}, "views is empty"),
        ({"gradient": {"views": ("fog:1",)}}, "'fog:1' is unknown"),
        ({"gradient": {"views": ("identity", "jpeg:50"), "attack_steps": 5}}, "attack_steps=5 "),
        ({"gradient": {"momentum": 0.5}}, "momentum=0.5 goes with views of photographs .whole, ce"),
        ({"gradient": {"views": ("crop", "jpeg:50")}}, "has 'jpeg:50' beside views of photographs"),
        ({"gradient": {"views": ("crop+jpeg:0", "whole")}}, "has 'crop.jpeg:0' beside .*1 to 100"),
        (
            {"gradient": {"views": ("whole",), "arithmetic": "float"}},
            "='float' .* write 'fixed'",
        ),
        (
            {"gradient": {"views": ("whole",), "mask": "random"}},
            "='random' .*'diagonal'",
        ),
        ({"gradient": {"views": ("whole",), "loss": "targeted"}}, "loss='targeted' .*'untargeted'"),
        ({"gradient": {"views": ("whole",), "smoothing": 0.5}}, "smoothing=0.5 .* write 0.0, or"),
        (
            {"gradient": {"views": ("whole", "crop"), "attack_steps": 5}},
            "steps=5 .*views, 2",
        ),
        ({"gradient": {"loss": "features"}}, "'fixed' has no loss='features'.*'float'"),
        (
            {"gradient": {"loss": "features", "arithmetic": "float", "others": 5}},
            "others=5 .*'features' has no classes: write 1",
        ),
        (
            {"shortcut": {"target_psnr": 50.0}, "gradient": {"step": 50.0}},
            r"step=50.0 at .*gradient.target_psnr=34.0 shifts by 254: .* 39.31",
        ),
        (
            {"shortcut": {"target_psnr": 20.0}, "gradient": {"step": 10.0}},
            r"step=10.0 at .*shortcut.target_psnr=20.0 shifts by 255: .* 7.84",
        ),
        ({"gradient": {"attack_steps": 400}}, "attack_steps=400 at .*=34.0 .* at most 203, a"),
    ],
)
def test_impossible_stages_are_refused(config, changes, message):
    config.generator.stages = ("shortcut", "gradient")
    config.generator.update(changes)
    with pytest.raises(UserError, match=message):
        check_stages(config.generator)


def test_networks_of_a_run_do_not_see_photographs(config, classifiers):
    config.generator.stages = ("gradient",)
    config.generator.gradient.update(views=("crop",), momentum=0.5)
    with pytest.raises(UserError, match=r"resnet_small, with classes of the run, .*'identity'"):
        build_generator(config, None, classifiers)


def test_a_stage_must_leave_a_budget_to_the_next(config):
    config.generator.stages = ("learned", "gradient")
    config.loss.target_psnr = config.generator.gradient.target_psnr
    with pytest.raises(UserError, match=r"loss\.target_psnr=34\.0 must be above .*gradient\.t"):
        check_targets(config)
    config.loss.target_psnr, config.generator.shortcut.target_psnr = 40.0, 33.5
    config.generator.stages = STAGES
    with pytest.raises(UserError, match=r"shortcut\.target_psnr=33\.5 must be above .*gradient\.t"):
        check_targets(config)


def test_cells_ignore_the_settings_of_waves(config):
    config.generator.stages = ("shortcut",)
    config.generator.shortcut.update(pattern="cells", cycles=(3, 2))
    check_stages(config.generator)


@pytest.mark.parametrize(
    "text", ["identity", "gaussian_blur:1.5", "jpeg:50", "rescale:0.5", "bit_depth:4"]
)
def test_views_are_written_with_their_strength(text):
    name, strength = parse_view(text)
    assert text in (name, f"{name}:{strength:g}")


@pytest.mark.parametrize(
    "text", ["", 50, "jpeg", "jpeg:0", "jpeg:x", "jpeg:5.5", "rescale:2", "gaussian_noise:1"]
)
def test_unknown_views_are_refused(text):
    with pytest.raises(UserError, match=r"identity.*jpeg:<1 to 100>"):
        parse_view(text)
