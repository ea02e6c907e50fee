"""One training step of a generator, written for one device.

A step averages over the axis `batch`. Terms of the generator's objective (our choice of form; the
weights are in the config):

1. adversary        margin of the target classifiers on Q(y), bounded below by -kappa
2. robust           the same on attack_layer(Q(y))
3. fidelity         gate: 0 until the MSE exceeds that of the target PSNR
4. ssim             1 - SSIM(y, x)
5. gan              non-saturating: the discriminator should take y for an original
6. recovery         |inverse(Q(y)) - x|, for float couplings
7. robust_recovery  |inverse(attack(Q(y))) - attack(x)|
8. range            how far y lies outside 0..255
9. token            the adversary once more, on inverse(Q(y), another token)
10. poison          cross-entropy of surrogates on augment(attack_layer(Q(y))), which they minimise
                    too: what pirates train on is made easy (kin: Deep Hiding, arXiv 2406.17349)

Every term is a mean over images, float32 scalar, so that the mean over devices is the mean over the
global batch.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.adversarial.attack_layer import attack_layer
from raeg_jax.adversarial.losses import LOSSES, margin
from raeg_jax.image import metrics
from raeg_jax.image.quantise import quantise
from raeg_jax.networks.classifiers import FrozenClassifier, attack_labels
from raeg_jax.payload.key import CELL
from raeg_jax.training.augment import augment
from raeg_jax.training.optimizers import make_optimizers
from raeg_jax.training.surrogates import Surrogates
from raeg_jax.workdir.checkpoint import TrainState
from raeg_jax.workdir.processes import AXIS

# Folds of a step's key from which the right and the wrong tokens are drawn.
_TOKEN_FOLDS = (2**32 - 1, 2**32 - 2)
# The fold from which the augmentation of what surrogates see is drawn.
_AUGMENT_FOLD = 2**32 - 3

Step = Callable[[TrainState, Mapping[str, Any], Mapping[str, jax.Array]], tuple[TrainState, dict]]


def _bounded(loss, logits: jax.Array, labels: jax.Array, kappa: float) -> jax.Array:
    """max(loss, -kappa), [B]: no reward for misleading by a margin above kappa."""
    return jnp.maximum(loss(logits, labels), -kappa)


ADVERSARIES: dict[str, Callable[[jax.Array, jax.Array, float], jax.Array]] = {
    name: functools.partial(_bounded, loss) for name, loss in LOSSES.items()
}


def fidelity_gate(y: jax.Array, x: jax.Array, target_psnr: float) -> jax.Array:
    """Mean of max(0, MSE(y, x) / MSE at `target_psnr` - 1) over images [B, H, W, C]."""
    return jnp.mean(jnp.maximum(metrics.mse(y, x) / metrics.mse_of_psnr(target_psnr) - 1, 0))


def out_of_range(y: jax.Array) -> jax.Array:
    """Mean distance of the values from 0..255, in pixel units."""
    # Not abs or maximum: on the border itself, where white backgrounds lie, theirs is not 0.
    return jnp.mean(jnp.where(y > 255, y - 255, jnp.where(y < 0, -y, 0)))


def generator_gan(fake_logits: jax.Array) -> jax.Array:
    """Non-saturating generator loss (Goodfellow et al., arXiv 1406.2661)."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


def discriminator_gan(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Cross-entropy of the discriminator: originals are real, protected images fake."""
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def make_train_step(
    config: ConfigDict,
    generator: nn.Module,
    discriminator: nn.Module | None,
    targets: Mapping[str, nn.Module],
    surrogates: Surrogates | None = None,
) -> Step:
    """Builds the step of a generator from the whole configuration.

    Args:
      config: terms of weight 0 are not computed but for adversary, fidelity and range, which are
        logged always; recovery is not where the generator is exact.
      generator: the invertible network.
      discriminator: may be None where the GAN term's weight is 0.
      targets: the attacked classifiers by name.
      surrogates: may be None where the poison term's weight is 0.

    Returns:
      step(state, frozen, batch) -> (state, metrics), to be mapped over devices with the axis name
      `batch`. `frozen` holds the targets' variables by name, `targets`, which are read in
      evaluation mode and never change, and the `seed` of all draws, so that one program serves
      all seeds. `batch` is this device's {'image': uint8 [b, S, S, 3], 'label': int32 [b]};
      published targets read the labels on the images themselves. The generator is given the
      same labels.
      `metrics` are float32 scalars, already averaged: 'loss/<term>' without weights, 'loss/total'
      with them, 'psnr' (decibels, at most 100 an image), 'attack_success', 'grad_norm'; with the
      poison term the surrogates' 'surrogate_accuracy'.
    """
    weight = {name: value for name, value in config.loss.weight.items() if value}
    planes = generator.token_planes
    if not planes:
        weight.pop("token", None)
    if generator.exact:
        # Zero but for clipped values, which the range term counts.
        weight.pop("recovery", None)
    adversary = ADVERSARIES[config.loss.adversary]
    optimizer, disc_optimizer = make_optimizers(config)

    def classifiers(frozen):
        return [FrozenClassifier(net, frozen["targets"][name]) for name, net in targets.items()]

    def margins(frozen, images, labels):
        """Adversary term and the share of misread images, means over targets."""
        logits = jnp.stack([classifier(images) for classifier in classifiers(frozen)])
        loss = jax.vmap(lambda z: adversary(z, labels, config.loss.kappa))(logits)
        misread = jax.vmap(lambda z: margin(z, labels) < 0)(logits)
        return loss.mean(), misread.mean()

    def objective(params, learners, state, frozen, x, labels, truth, key, index):
        height, width = x.shape[1:3]
        right_token, wrong_token = (
            draw_tokens(jax.random.fold_in(key, fold), index, height, width, planes)
            for fold in _TOKEN_FOLDS
        )

        run = functools.partial(_output, generator, {"params": params}, labels=labels)

        def invert(images, token=right_token):
            return run(images, token, method="inverse")

        y = run(x, right_token, method="forward")
        y8 = quantise(y)
        terms = {}
        terms["adversary"], misread = margins(frozen, y8, labels)
        terms["fidelity"] = fidelity_gate(y8, x, config.loss.target_psnr)
        terms["range"] = out_of_range(y)
        if {"robust", "robust_recovery", "poison"} & weight.keys():
            attacked = attack_layer(key, y8, config.attack_layer, index)
        if "robust" in weight:
            terms["robust"], _ = margins(frozen, attacked, labels)
        if "ssim" in weight:
            terms["ssim"] = 1 - metrics.ssim(y8, x).mean()
        if discriminator is not None and "gan" in weight:
            terms["gan"] = generator_gan(_output(discriminator, state.disc, y8, train=False))
        if "recovery" in weight:
            terms["recovery"] = jnp.abs(invert(y8) - x).mean()
        if "robust_recovery" in weight:
            goal = attack_layer(key, x, config.attack_layer, index)
            terms["robust_recovery"] = jnp.abs(invert(attacked) - goal).mean()
        if "token" in weight:
            terms["token"], _ = margins(frozen, quantise(invert(y8, wrong_token)), labels)
        statistics, accuracy = (), {}
        if surrogates is not None and "poison" in weight:
            seen = augment(jax.random.fold_in(key, _AUGMENT_FOLD), attacked, config.augment, index)
            terms["poison"], share, statistics = surrogates.read(
                learners, state.surrogates, seen, truth, key, index
            )
            accuracy = {"surrogate_accuracy": share}
        # Not 0 times a term that is only logged: XLA would compute its gradient.
        total = sum(weight[name] * term for name, term in terms.items() if name in weight)
        logged = {f"loss/{name}": term for name, term in terms.items()}
        logged |= {"loss/total": total, "attack_success": misread} | accuracy
        logged["psnr"] = jnp.minimum(metrics.psnr(y8, x), metrics.PSNR_CAP).mean()
        return total, (logged, y8, statistics)

    def step(state, frozen, batch):
        x = batch["image"].astype(jnp.float32)
        # The image's index in the global batch: draws don't depend on the number of devices.
        index = jax.lax.axis_index(AXIS) * len(x) + jnp.arange(len(x))
        key = jax.random.fold_in(jax.random.key(frozen["seed"]), state.step)
        labels = attack_labels(classifiers(frozen), x, batch["label"])
        learners = tuple(each["params"] for each in state.surrogates)
        (_, (logged, y8, statistics)), (grads, learned) = jax.value_and_grad(
            objective, argnums=(0, 1), has_aux=True
        )(state.params, learners, state, frozen, x, labels, batch["label"], key, index)
        grads = jax.lax.pmean(grads, AXIS)
        changes, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, changes)
        ema = optax.incremental_update(params, state.ema, 1 - config.optimizer.ema_decay)
        if discriminator is not None and "gan" in weight:
            state, changed = _update_discriminator(discriminator, disc_optimizer, state, x, y8)
            logged |= changed
        if surrogates is not None and "poison" in weight:
            updated = surrogates.update(state.surrogates, learned, statistics, weight["poison"])
            state = state.replace(surrogates=updated)
        logged = jax.lax.pmean(logged, AXIS) | {"grad_norm": optax.tree.norm(grads)}
        state = state.replace(step=state.step + 1, params=params, ema=ema, opt_state=opt_state)
        return state, logged

    return step


def frozen_of(config: ConfigDict, targets: Mapping[str, tuple[nn.Module, Any]]) -> dict[str, Any]:
    """What the step of a generator reads and never changes: the targets' variables and the seed."""
    variables = {name: values for name, (_, values) in targets.items()}
    return {"targets": variables, "seed": jnp.uint32(config.seed)}


def _update_discriminator(
    discriminator: nn.Module,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    x: jax.Array,
    y8: jax.Array,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Teaches the discriminator to tell originals x from protected images y8, [b, S, S, 3]."""

    def loss_of(params):
        real, updated = discriminator.apply(
            {**state.disc, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        fake, updated = discriminator.apply(
            {**state.disc, **updated, "params": params},
            jax.lax.stop_gradient(y8),
            train=True,
            mutable=["batch_stats"],
        )
        return discriminator_gan(real, fake), updated

    params = state.disc["params"]
    (loss, updated), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
    grads = jax.lax.pmean(grads, AXIS)
    changes, opt_state = optimizer.update(grads, state.disc_opt_state, params)
    disc = {**state.disc, **updated, "params": optax.apply_updates(params, changes)}
    logged = {"loss/discriminator": loss, "disc_grad_norm": optax.tree.norm(grads)}
    return state.replace(disc=disc, disc_opt_state=opt_state), logged


def _output(module: nn.Module, variables: Any, *inputs: Any, **options: Any) -> jax.Array:
    """The output of a module whose variables don't change."""
    # For Flax's types, `apply` may return changed variables too.
    return module.apply(variables, *inputs, **options)  # type: ignore[return-value]


def draw_tokens(
    key: jax.Array, index: jax.Array, height: int, width: int, count: int
) -> jax.Array | None:
    """Draws a random token for each image; tokens of protected images come from keys instead.

    Args:
      key: of the step and of the tokens' purpose.
      index: int32 [B], each image's index in the global batch: tokens don't depend on devices.
      height: of the images, in pixels.
      width: of the images, in pixels.
      count: number of planes P; 0 for none.

    Returns:
      float32 [B, height, width, P], +1 and -1 in squares of `CELL` pixels; None where P is 0.
    """
    if not count:
        return None
    cells = (-(-height // CELL), -(-width // CELL), count)
    signs = jax.vmap(
        lambda i: jax.random.rademacher(jax.random.fold_in(key, i), cells, jnp.float32)
    )(index)
    return signs.repeat(CELL, axis=1).repeat(CELL, axis=2)[:, :height, :width]
