"""The training step: every term is there, targets stay frozen, attack strength grows."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks.discriminator import Discriminator
from raeg_jax.payload.token import CELL
from raeg_jax.training.optimizers import create_state
from raeg_jax.training.parallel import parallelise
from raeg_jax.training.step import draw_tokens, make_train_step

TERMS = ("adversary", "robust", "fidelity", "ssim", "gan", "recovery", "range", "token")
TERMS += ("robust_recovery",)


class Colour(nn.Module):
    """A classifier with batch statistics that reads the mean colour."""

    @nn.compact
    def __call__(self, images, train):
        x = images.mean((1, 2)) / 64
        return nn.Dense(4)(nn.BatchNorm(use_running_average=not train)(x))


def make_config(coupling="integer", **weights):
    config = base.get_config()
    config.data.image_size = 24
    config.generator.update(coupling=coupling, conditioner="plain", blocks=(1,), widths=(8,))
    config.discriminator.update(width=4, layers=1)
    config.loss.weight.update(weights)
    config.attack_layer.probability.identity = 0.0
    config.attack_layer.probability.gaussian_noise = 1.0
    config.optimizer.update(warmup_steps=0, learning_rate=1e-2, ema_decay=0.5)
    config.train.update(batch_size=8, steps=1000)
    return config


def make_batch():
    random = np.random.RandomState(0)
    return {
        "image": random.randint(0, 256, (8, 24, 24, 3)).astype(np.uint8),
        "label": random.randint(0, 4, 8).astype(np.int32),
    }


def prepare(config, devices=1):
    generator = unet_from_config(config.generator)
    discriminator = Discriminator(
        config.discriminator.width, config.discriminator.layers, "spectral"
    )
    target = Colour()
    frozen = {"colour": target.init(jax.random.key(1), jnp.zeros((1, 24, 24, 3)), train=False)}
    state = create_state(config, generator, discriminator, jax.random.key(0))
    step = make_train_step(config, generator, discriminator, {"colour": target})
    return parallelise(step, config.parallel, jax.devices()[:devices]), state, frozen


def test_every_weighted_term_is_logged_adds_up_and_trains():
    weights = dict.fromkeys(TERMS, 0.5)
    step, state, frozen = prepare(make_config("affine", **weights))
    before = jax.device_get(state.disc["params"])
    state, metrics = step(state, frozen, make_batch())
    terms = {name: float(metrics[f"loss/{name}"]) for name in TERMS}
    assert all(np.isfinite(value) for value in terms.values())
    np.testing.assert_allclose(metrics["loss/total"], 0.5 * sum(terms.values()), rtol=1e-4)
    assert terms["robust_recovery"] > 0
    assert terms["gan"] > 0
    change = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, state.disc["params"])
    assert max(jax.tree.leaves(change)) > 0
    assert np.isfinite(metrics["loss/discriminator"])


def test_terms_without_weight_or_without_use_are_not_computed():
    step, state, frozen = prepare(make_config("integer", recovery=1.0))
    _, metrics = step(state, frozen, make_batch())
    # The generator is exact: recovery is not computed, whatever its weight.
    logged = {name for name in metrics if name.startswith("loss/")}
    terms = ("adversary", "fidelity", "range", "token", "total")
    assert logged == {f"loss/{name}" for name in terms}
    assert state.disc == {}


def test_a_generator_without_planes_has_no_token_term():
    config = make_config()
    config.generator.token_planes = 0
    step, state, frozen = prepare(config)
    _, metrics = step(state, frozen, make_batch())
    assert "loss/token" not in metrics


def test_targets_stay_frozen_and_the_attack_grows():
    config = make_config()
    # The toy reads mean colours only: what fools it is easily seen.
    config.loss.target_psnr = 20.0
    step, state, frozen = prepare(config)
    before, batch = jax.device_get(frozen), make_batch()
    history = []
    for _ in range(40):
        state, metrics = step(state, frozen, batch)
        history.append(jax.device_get(metrics))
    chex.assert_trees_all_equal(before, jax.device_get(frozen))
    assert history[-1]["loss/adversary"] < history[0]["loss/adversary"] - 0.05
    assert history[0]["psnr"] == 100.0 > history[-1]["psnr"]
    assert int(state.step) == 40


def test_ema_follows_the_parameters():
    step, state, frozen = prepare(make_config())
    old = jax.device_get(state.ema)
    state, _ = step(state, frozen, make_batch())
    new, ema = jax.device_get((state.params, state.ema))
    expected = jax.tree.map(lambda a, b: 0.5 * (a + b), old, new)
    chex.assert_trees_all_close(ema, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_eight_devices_take_the_step_of_one(mode):
    # Without recovery: where the error is 0, the sign that is its gradient is rounding noise.
    config = make_config("affine", robust=1.0, ssim=1.0, recovery=0.0)
    results = []
    for devices in (1, 8):
        config.parallel = mode
        step, state, frozen = prepare(config, devices)
        state, metrics = step(state, frozen, make_batch())
        # Not the parameters: Adam's division makes much of a tiny gradient's last bit.
        results.append(jax.device_get((state.opt_state, metrics)))
    chex.assert_trees_all_close(*results, rtol=1e-3, atol=1e-5)


KEY = jax.random.key(0)


def test_a_token_belongs_to_the_images_place_in_the_global_batch():
    both = draw_tokens(KEY, np.array([4, 5]), 9, 14, 2)
    np.testing.assert_array_equal(both[1:], draw_tokens(KEY, np.array([5]), 9, 14, 2))
    assert both.shape == (2, 9, 14, 2)
    assert np.any(both[0] != both[1])
    assert np.any(both[0] != draw_tokens(jax.random.key(1), np.array([4]), 9, 14, 2)[0])


def test_signs_are_constant_on_cells_and_balanced():
    planes = np.asarray(draw_tokens(KEY, np.arange(8), 64, 64, 2))
    cells = planes[:, ::CELL, ::CELL]
    np.testing.assert_array_equal(planes, cells.repeat(CELL, 1).repeat(CELL, 2))
    assert set(np.unique(cells)) == {-1, 1}
    assert abs(cells.mean()) < 0.05


def test_no_planes_are_no_token():
    assert draw_tokens(KEY, np.arange(2), 8, 8, 0) is None
