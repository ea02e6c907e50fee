import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from configs import base
from raeg_jax.generator.mixing import ActNorm
from raeg_jax.training import optimizers as state_lib


class ToyGenerator(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x)


class ToyDiscriminator(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(1)(x)


@pytest.fixture
def config():
    config = base.get_config()
    config.data.image_size = 8
    return config


def create(config, seed=0):
    return state_lib.create_state(config, ToyGenerator(), ToyDiscriminator(), jax.random.key(seed))


def settings(config, **changes):
    config.optimizer.update(changes)
    return config.optimizer


def test_fresh_state_without_the_gan_term_has_no_discriminator(config):
    state = create(config)
    assert state.step.dtype == jnp.int32
    assert state.step == 0
    assert state.disc == {}
    assert state.disc_opt_state == ()
    jax.tree.map(np.testing.assert_array_equal, state.params, state.ema)


def test_fresh_state_with_the_gan_term_has_all_variables_of_the_discriminator(config):
    config.loss.weight.gan = 0.1
    state = create(config)
    assert set(state.disc) == {"params", "batch_stats"}
    moments = optax.tree.get(state.disc_opt_state, "mu")
    assert jax.tree.structure(moments) == jax.tree.structure(state.disc["params"])


def test_initial_weights_depend_on_the_key_only(config):
    def kernel(seed):
        return np.asarray(create(config, seed).params["Dense_0"]["kernel"])

    np.testing.assert_array_equal(kernel(0), kernel(0))
    assert np.abs(kernel(0) - kernel(1)).max() > 1e-3


def test_initial_weights_do_not_repeat_the_draws_of_a_step(config):
    key = jax.random.key(0)
    for step in range(4):
        drawn = ToyGenerator().init(jax.random.fold_in(key, step), jnp.zeros((1, 8, 8, 3)))
        kernel = drawn["params"]["Dense_0"]["kernel"]
        assert np.abs(kernel - create(config).params["Dense_0"]["kernel"]).max() > 1e-3


class NormalisedGenerator(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(ActNorm(3, index=0).forward(x))


def test_actnorm_starts_from_images_and_nothing_else_does(config):
    images = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 3), np.uint8)
    key = jax.random.key(0)
    without, state = (
        state_lib.create_state(config, NormalisedGenerator(), None, key, given).params
        for given in (None, images)
    )
    affine = state["ActNorm_0"]["affine"]
    np.testing.assert_allclose(affine["shift"], -images.mean((0, 1, 2)) / 64, rtol=1e-5)
    for leaf in jax.tree.leaves(without["ActNorm_0"]):
        np.testing.assert_array_equal(leaf, 0 * leaf)
    jax.tree.map(np.testing.assert_array_equal, state["Dense_0"], without["Dense_0"])


def test_state_can_be_donated_whole(config):
    """Params and EMA start equal but must not share a buffer."""
    state = create(config)
    moved = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    np.testing.assert_array_equal(moved.params["Dense_0"]["kernel"], moved.ema["Dense_0"]["kernel"])


@pytest.mark.parametrize("name", state_lib.OPTIMIZERS)
def test_every_optimizer_minimises_a_parabola(config, name):
    optimizer = state_lib.make_optimizer(settings(config, name=name), 150, 0.1)
    params = {"w": jnp.array([[3.0, -2.0]])}
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(params, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(150):
        params, state = step(params, state)
    assert jnp.abs(params["w"]).max() < 0.1


def test_schedule_warms_up_to_the_peak_and_ends_at_zero():
    schedule = state_lib.learning_rate_schedule(0.5, steps=100, warmup_steps=10)
    rates = np.array([schedule(step) for step in range(101)])
    np.testing.assert_allclose(rates[0], 0.05, rtol=1e-6)
    assert rates.argmax() == 10
    np.testing.assert_allclose(rates[10], 0.5, rtol=1e-6)
    np.testing.assert_allclose(rates[100], 0.0, atol=1e-7)
    assert np.all(np.diff(rates[:11]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)


def test_networks_that_are_replaced_keep_the_rate_of_their_warm_up(config):
    config.classifiers.update(learning_rate=0.5, warmup_steps=4, weight_decay=0.0)
    params = {"w": jnp.zeros((1, 1))}

    def rates(**options):
        """Adam's steps along one gradient are as long as the learning rate."""
        optimizer = state_lib.classifier_optimizer(config.classifiers, 12, **options)
        state, lengths = optimizer.init(params), []
        for _ in range(12):
            changes, state = optimizer.update({"w": jnp.ones((1, 1))}, state, params)
            lengths.append(-float(changes["w"][0, 0]))
        return np.array(lengths)

    constant, falling = rates(constant=True), rates()
    np.testing.assert_allclose(constant[4:], 0.5, rtol=1e-5)
    np.testing.assert_allclose(constant[:5], falling[:5], rtol=1e-5)
    assert falling[-1] < 0.1


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_short_runs_still_reach_the_peak(steps):
    schedule = state_lib.learning_rate_schedule(0.5, steps, warmup_steps=100)
    rates = np.array([schedule(step) for step in range(steps)])
    np.testing.assert_allclose(rates.max(), 0.5, rtol=1e-6)


def test_weight_decay_spares_vectors(config):
    changes = {"name": "adamw", "weight_decay": 0.1}
    optimizer = state_lib.make_optimizer(settings(config, **changes), 10, 1.0)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    np.testing.assert_array_equal(updates["bias"], 0)
    assert np.all(updates["kernel"] < 0)


@pytest.mark.parametrize(("clip_norm", "seen"), [(1.0, 1.0), (0.0, 100.0)])
def test_gradients_are_clipped_by_their_global_norm(config, clip_norm, seen):
    optimizer = state_lib.make_optimizer(settings(config, clip_norm=clip_norm), 10, 1.0)
    params = {"a": jnp.zeros(3), "b": jnp.zeros(())}
    grads = {"a": jnp.array([60.0, 0.0, 0.0]), "b": jnp.array(80.0)}
    _, state = optimizer.update(grads, optimizer.init(params), params)
    # Adam's first moment after one step is 0.1 times the gradient it saw.
    first_moment = optax.tree.get(state, "mu")
    norm = np.hypot(first_moment["a"][0], first_moment["b"])
    np.testing.assert_allclose(10 * norm, seen, rtol=1e-5)
