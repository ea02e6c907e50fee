"""The training step: every term is there, targets stay frozen, attack strength grows."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from raeg_jax.adversarial.losses import class_permutation
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks.classifiers import FrozenClassifier, mean_reading
from raeg_jax.networks.discriminator import Discriminator
from raeg_jax.payload.key import CELL
from raeg_jax.training import step as step_lib
from raeg_jax.training.optimizers import create_state
from raeg_jax.training.parallel import ParallelStep
from raeg_jax.training.step import draw_tokens, frozen_of, make_train_step
from raeg_jax.training.surrogates import Surrogates
from tests.networks import tiny_published
from tests.training.toy_networks import register

TERMS = ("adversary", "robust", "fidelity", "ssim", "gan", "recovery", "range", "token")
TERMS += ("robust_recovery",)
LOGITS = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 9.0], [1.0, 1.5, -2.0]], np.float32)
TRUE = np.array([0, 1, 0])


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
    generator = unet_from_config(config.generator, config.train.memory)
    discriminator = Discriminator(
        config.discriminator.width, config.discriminator.layers, "spectral"
    )
    target = Colour()
    variables = target.init(jax.random.key(1), jnp.zeros((1, 24, 24, 3)), train=False)
    frozen = frozen_of(config, {"colour": (target, variables)})
    state = create_state(config, generator, discriminator, jax.random.key(0))
    step = make_train_step(config, generator, discriminator, {"colour": target})
    return ParallelStep(step, config.parallel, jax.devices()[:devices]), state, frozen


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


def test_inverting_blocks_learns_the_same_on_several_devices():
    steps = {}
    for memory in ("plain", "reversible"):
        config = make_config(token=1.0)
        config.train.memory = memory
        # A fresh network has no gradients in its first layers.
        step, state, frozen = prepare(config, devices=2)
        for _ in range(2):
            state, metrics = step(state, frozen, make_batch())
        steps[memory] = jax.device_get((state.params, metrics))
    chex.assert_trees_all_close(*steps.values(), rtol=1e-4, atol=1e-6)


def test_published_targets_are_attacked_on_what_they_read(monkeypatch):
    tiny_published.register(monkeypatch)
    config, batch = make_config(), make_batch()
    # The generator is given the same labels as the attack.
    config.generator.class_planes = 2
    generator = unet_from_config(config.generator)
    nets = {name: tiny_published.classifier(seed) for seed, name in enumerate(("one", "two"))}
    step = make_train_step(config, generator, None, {name: net for name, (net, _) in nets.items()})
    step = ParallelStep(step, config.parallel, jax.devices()[:2])
    frozen = frozen_of(config, nets)

    def measure(labels):
        state = create_state(config, generator, None, jax.random.key(0))
        return step(state, frozen, batch | {"label": labels})[1]

    # The generator begins as the identity.
    images = batch["image"].astype(np.float32)
    classifiers = [FrozenClassifier(*pair) for pair in nets.values()]
    read = mean_reading(classifiers, images)
    each = np.stack([classifier(images).argmax(-1) for classifier in classifiers])
    assert len(set(read.tolist())) > 2
    metrics = measure(batch["label"])
    np.testing.assert_allclose(metrics["attack_success"], np.mean(each != read))
    # The true classes don't matter.
    chex.assert_trees_all_equal(metrics, measure(batch["label"][::-1]))


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


def prepare_poison(monkeypatch, devices=1, learning_rate=0.01, **distortions):
    """A step, its state and what it reads, of a generator that poisons one surrogate."""
    register(monkeypatch)
    weights = {"adversary": 0.0, "token": 0.0, "range": 0.0, "recovery": 0.0, "poison": 0.5}
    config = make_config("affine", **weights)
    config.generator.update(widths=(4,), depth=1)
    config.loss.target_psnr = 20.0
    config.attack_layer.probability.update(distortions)
    config.patterns.surrogates = ("flat",)
    config.classifiers.update(warmup_steps=0, learning_rate=learning_rate)
    config.augment.update(grey=0.3, crop_padding=2)
    config.generator.class_planes = 2
    generator, surrogates = unet_from_config(config.generator), Surrogates(config, 4)
    state = create_state(config, generator, None, jax.random.key(0), surrogates=surrogates.create())
    target = Colour()
    variables = target.init(jax.random.key(1), jnp.zeros((1, 24, 24, 3)), train=False)
    step = make_train_step(config, generator, None, {"colour": target}, surrogates)
    step = ParallelStep(step, config.parallel, jax.devices()[:devices])
    return step, state, frozen_of(config, {"colour": (target, variables)})


def test_a_generator_that_poisons_makes_its_images_easy_for_surrogates(monkeypatch):
    """For one that hardly learns: nothing else lowers its loss."""
    step, state, frozen = prepare_poison(
        monkeypatch, learning_rate=1e-9, gaussian_noise=0.0, identity=1.0
    )
    history = []
    for _ in range(25):
        state, metrics = step(state, frozen, make_batch())
        history.append(jax.device_get(metrics))
    total = 0.5 * history[-1]["loss/poison"] + 10.0 * history[-1]["loss/fidelity"]
    np.testing.assert_allclose(history[-1]["loss/total"], total, rtol=1e-4)
    assert history[0]["psnr"] == 100.0 > history[-1]["psnr"] > 19.0
    first, last = (
        np.mean([row["loss/poison"] for row in rows]) for rows in (history[:5], history[-5:])
    )
    assert last < first - 0.1


@pytest.mark.slow
def test_eight_devices_poison_as_one(monkeypatch):
    results = []
    for devices in (1, 8):
        step, state, frozen = prepare_poison(monkeypatch, devices)
        before = jax.device_get(state.surrogates[0]["params"])
        state, metrics = step(state, frozen, make_batch())
        (surrogate,) = jax.device_get(state.surrogates)
        results.append(jax.device_get((state.opt_state, surrogate["opt_state"], metrics)))
    chex.assert_trees_all_close(*results, rtol=1e-3, atol=1e-5)
    change = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, surrogate["params"])
    assert min(jax.tree.leaves(change)) > 1e-3


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


def test_untargeted_is_the_margin_bounded_below():
    # Margins 2, -7 and -0.5.
    np.testing.assert_allclose(
        step_lib.ADVERSARIES["untargeted"](LOGITS, TRUE, 4.0), [2.0, -4.0, -0.5]
    )


def test_targeted_pulls_toward_the_permuted_class():
    goals = class_permutation(3)[TRUE]
    margins = [
        np.delete(row, goal).max() - row[goal] for row, goal in zip(LOGITS, goals, strict=True)
    ]
    expected = np.maximum(margins, -4.0)
    np.testing.assert_allclose(step_lib.ADVERSARIES["targeted"](LOGITS, TRUE, 4.0), expected)


@pytest.mark.parametrize("classes", [2, 3, 8, 101])
def test_class_permutation_is_one_cycle_through_all_classes(classes):
    permutation = class_permutation(classes)
    seen, here = [], 0
    for _ in range(classes):
        here = permutation[here]
        seen.append(int(here))
    assert sorted(seen) == list(range(classes))
    assert (permutation != np.arange(classes)).all()


def test_class_permutation_never_changes():
    np.testing.assert_array_equal(class_permutation(5), [1, 3, 0, 4, 2])


def test_fidelity_is_free_up_to_the_target_and_linear_beyond():
    x = jnp.full((2, 4, 4, 3), 100.0)
    allowed = np.sqrt(255.0**2 / 10**3.4)
    near, far = x + 0.9 * allowed, x + 2.0 * allowed
    assert step_lib.fidelity_gate(near, x, 34.0) == 0
    np.testing.assert_allclose(step_lib.fidelity_gate(far, x, 34.0), 3.0, rtol=1e-4)
    # The mean is taken after the gate: a good image can't pay for a bad one.
    both = jnp.concatenate([x, far])
    np.testing.assert_allclose(
        step_lib.fidelity_gate(both, jnp.concatenate([x, x]), 34.0), 1.5, rtol=1e-4
    )


def test_out_of_range_measures_the_distance():
    y = jnp.array([-3.0, 0.0, 255.0, 256.0]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(step_lib.out_of_range(y), 1.0)
    grad = np.asarray(jax.grad(step_lib.out_of_range)(y)).ravel()
    np.testing.assert_allclose(grad, [-0.25, 0, 0, 0.25])


def test_gan_losses_reward_the_right_side():
    sure = jnp.full((1, 2, 2, 1), 5.0)
    assert step_lib.generator_gan(sure) < step_lib.generator_gan(-sure)
    assert step_lib.discriminator_gan(sure, -sure) < step_lib.discriminator_gan(-sure, sure)
    # Undecided: log 2 for each side.
    zero = jnp.zeros((1, 1, 1, 1))
    np.testing.assert_allclose(step_lib.discriminator_gan(zero, zero), 2 * np.log(2), rtol=1e-6)
