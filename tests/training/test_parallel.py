import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.training import parallel
from raeg_jax.training.optimizers import create_state
from raeg_jax.training.step import frozen_of, make_train_step
from raeg_jax.workdir import processes as state_lib

BATCH = np.random.RandomState(0).randn(8, 3).astype(np.float32)


def toy_step(state, frozen, batch):
    def loss(w):
        return jnp.mean(frozen["scale"] * (batch["x"] @ w - 1) ** 2)

    value, grad = jax.value_and_grad(loss)(state["w"])
    value, grad = lax.pmean((value, grad), state_lib.AXIS)
    return {"w": state["w"] - 0.1 * grad}, {"loss": value}


def run_toy(mode, count, steps=3):
    devices = jax.devices()[:count]
    step = parallel.ParallelStep(toy_step, mode, devices)
    state = state_lib.replicate({"w": jnp.arange(3.0)}, devices)
    frozen = state_lib.replicate({"scale": jnp.float32(0.5)}, devices)
    for _ in range(steps):
        state, metrics = step(state, frozen, {"x": BATCH})
    return np.asarray(state["w"]), float(metrics["loss"])


def expected_toy(steps=3):
    w = np.arange(3.0)
    for _ in range(steps):
        error = BATCH @ w - 1
        loss = 0.5 * np.mean(error**2)
        w = w - 0.1 * BATCH.T @ error / len(BATCH)
    return w, loss


@pytest.mark.parametrize("mode", parallel.MODES)
@pytest.mark.parametrize("count", [1, 2, 8])
def test_every_mode_takes_the_step_of_the_whole_batch(mode, count):
    weights, loss = run_toy(mode, count)
    expected_weights, expected_loss = expected_toy()
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-5)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)


@pytest.mark.parametrize("mode", parallel.MODES)
def test_batch_that_the_devices_cannot_share_is_refused(mode):
    step = parallel.ParallelStep(toy_step, mode, jax.devices()[:3])
    state = state_lib.replicate({"w": jnp.arange(3.0)}, jax.devices()[:3])
    message = "batch of 8 images can't be split evenly over 3 devices: use 6 or 9"
    with pytest.raises(UserError, match=message):
        step(state, {"scale": jnp.float32(1)}, {"x": BATCH})


def test_the_error_for_a_batch_smaller_than_the_devices_names_only_what_works():
    with pytest.raises(UserError, match=r"over 8 devices: use 8$"):
        parallel.check_divisible(3, 8)


@pytest.mark.parametrize("mode", parallel.MODES)
def test_state_is_donated_but_what_it_was_replicated_from_stays(mode):
    original = {"w": jnp.arange(3.0)}
    step = parallel.ParallelStep(toy_step, mode, jax.devices()[:2])
    state = state_lib.replicate(original, jax.devices()[:2])
    frozen = state_lib.replicate({"scale": jnp.float32(1)}, jax.devices()[:2])
    again = state_lib.replicate(state, jax.devices()[:2])
    after, _ = step(state, frozen, {"x": BATCH})
    assert state["w"].is_deleted()
    np.testing.assert_array_equal(original["w"], np.arange(3.0))
    np.testing.assert_array_equal(again["w"], np.arange(3.0))
    assert not frozen["scale"].is_deleted()
    assert after["w"].sharding.is_fully_replicated


@pytest.mark.parametrize("mode", parallel.MODES)
def test_second_call_does_not_compile_again(mode):
    traces = []

    def counted(state, frozen, batch):
        traces.append(1)
        return toy_step(state, frozen, batch)

    step = parallel.ParallelStep(counted, mode, jax.devices()[:2])
    state = state_lib.replicate({"w": jnp.arange(3.0)}, jax.devices()[:2])
    frozen = state_lib.replicate({"scale": jnp.float32(1)}, jax.devices()[:2])
    for _ in range(3):
        state, _ = step(state, frozen, {"x": BATCH})
    assert len(traces) == 1


def tiny_config():
    config = base.get_config()
    config.data.image_size = 16
    config.generator.update(blocks=(1,), widths=(4,), depth=1, coupling="additive")
    config.attack_layer.probability.gaussian_noise = 1.0
    config.attack_layer.probability.identity = 0.0
    config.loss.weight.robust = 0.5
    config.classifiers.targets = ("toy",)
    # At full rate from the first step: the parameters must move for a comparison to mean much.
    config.optimizer.update(learning_rate=1e-2, warmup_steps=0)
    return config


class ToyClassifier(nn.Module):
    """Small, so that the step compiles in seconds."""

    @nn.compact
    def __call__(self, images, train):
        x = nn.relu(nn.Conv(4, (4, 4), strides=4)(images / 255))
        return nn.Dense(3)(x.mean((1, 2)))


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def run_training(mode, count, steps=2):
    """The real step, with per-image noise in the attack layer; parameters before and after."""
    config = tiny_config()
    generator = unet_from_config(config.generator)
    net = ToyClassifier()
    images = np.random.RandomState(0).randint(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    labels = np.arange(8, dtype=np.int32) % 3
    variables = net.init(jax.random.key(1), images[:1] * 1.0, train=False)
    devices = jax.devices()[:count]
    step = make_train_step(config, generator, None, {"toy": net})
    step = parallel.ParallelStep(step, mode, devices)
    state = create_state(config, generator, None, jax.random.key(0))
    before = flat(state.params)
    state = state_lib.replicate(state, devices)
    frozen = state_lib.replicate(frozen_of(config, {"toy": (net, variables)}), devices)
    for _ in range(steps):
        state, metrics = step(state, frozen, {"image": images, "label": labels})
    return before, flat(state.params), {name: float(value) for name, value in metrics.items()}


@pytest.fixture(scope="module")
def one_device():
    return run_training("pmap", 1)


@pytest.mark.parametrize(("mode", "count"), [("pmap", 8), ("shard_map", 8)])
def test_training_step_is_the_same_on_any_number_of_devices(mode, count, one_device):
    _, params, metrics = run_training(mode, count)
    before, expected_params, expected_metrics = one_device
    # Sums over the batch in another order; Adam divides by the gradient's size.
    tolerance = 2e-5
    np.testing.assert_allclose(params, expected_params, rtol=0, atol=tolerance)
    assert np.median(np.abs(expected_params - before)) > 100 * tolerance
    assert metrics.keys() == expected_metrics.keys()
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_batches_that_the_devices_cannot_share_are_named():
    config = base.get_config()
    config.train.batch_size = 12
    with pytest.raises(UserError, match=r"config\.train\.batch_size.* 12 .*8 devices: use 8 or 16"):
        parallel.check_devices(config)
    config.generator.stages = ("gradient",)
    parallel.check_devices(config)
    config.classifiers.batch_size = 12
    with pytest.raises(UserError, match=r"config\.classifiers\.batch_size.* 12 .*8 devices"):
        parallel.check_devices(config)
    config.classifiers.batch_size = 16
    config.patterns.batch_size = 12
    parallel.check_devices(config)
    config.generator.stages = ("shortcut",)
    config.generator.shortcut.pattern = "learned"
    with pytest.raises(UserError, match=r"config\.patterns\.batch_size.* 12 .*8 devices"):
        parallel.check_devices(config)
