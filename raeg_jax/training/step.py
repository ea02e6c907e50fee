"""One training step, written for one device: it averages over the axis `batch`."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from raeg_jax.attacks.attack_layer import attack_layer
from raeg_jax.attacks.gradient import margin
from raeg_jax.image import metrics
from raeg_jax.image.quantise import quantise
from raeg_jax.training import losses, tokens
from raeg_jax.training.parallel import AXIS
from raeg_jax.training.state import TrainState, make_optimizers

# Of a step's key, away from those that the attack layer uses.
_TOKEN_FOLDS = (2**32 - 1, 2**32 - 2)

Step = Callable[[TrainState, Mapping[str, Any], Mapping[str, jax.Array]], tuple[TrainState, dict]]


def make_train_step(
    config: ConfigDict,
    generator: nn.Module,
    discriminator: nn.Module | None,
    targets: Mapping[str, nn.Module],
) -> Step:
    """Builds the step from the whole configuration.

    Args:
      config: terms of weight 0 are not computed but for adversary, fidelity and range, which are
        logged always; recovery is not where the generator is exact.
      generator: the invertible network.
      discriminator: may be None where the GAN term's weight is 0.
      targets: the attacked classifiers by name.

    Returns:
      step(state, frozen, batch) -> (state, metrics), to be mapped over devices with the axis name
      `batch`. `frozen` holds the targets' variables by name: they are read in evaluation mode and
      never change. `batch` is this device's {'image': uint8 [b, S, S, 3], 'label': int32 [b]}.
      `metrics` are float32 scalars, already averaged: 'loss/<term>' without weights, 'loss/total'
      with them, 'psnr' (decibels, at most 100 an image), 'attack_success', 'grad_norm'.
    """
    weight = {name: value for name, value in config.loss.weight.items() if value}
    planes = generator.token_planes
    if not planes:
        weight.pop("token", None)
    if generator.exact:
        # Zero but for clipped values, of which the range term takes care.
        weight.pop("recovery", None)
    adversary = losses.ADVERSARIES[config.loss.adversary]
    optimizer, disc_optimizer = make_optimizers(config)

    def margins(frozen, images, labels):
        """Adversary term and the share of images misread, means over targets."""
        logits = jnp.stack(
            [net.apply(frozen[name], images, train=False) for name, net in targets.items()]
        )
        loss = jax.vmap(lambda z: adversary(z, labels, config.loss.kappa))(logits)
        misread = jax.vmap(lambda z: margin(z, labels) < 0)(logits)
        return loss.mean(), misread.mean()

    def objective(params, state, frozen, x, labels, key, index):
        right, wrong = (
            tokens.draw(jax.random.fold_in(key, fold), index, *x.shape[1:3], planes)
            for fold in _TOKEN_FOLDS
        )

        def invert(images, token=right):
            return generator.apply({"params": params}, images, token, method="inverse")

        y = generator.apply({"params": params}, x, right, method="forward")
        y8 = quantise(y)
        terms = {}
        terms["adversary"], misread = margins(frozen, y8, labels)
        terms["fidelity"] = losses.fidelity_gate(y8, x, config.loss.target_psnr)
        terms["range"] = losses.out_of_range(y)
        if "robust" in weight or "robust_recovery" in weight:
            attacked = attack_layer(key, y8, config.attack_layer, index)
        if "robust" in weight:
            terms["robust"], _ = margins(frozen, attacked, labels)
        if "ssim" in weight:
            terms["ssim"] = 1 - metrics.ssim(y8, x).mean()
        if "gan" in weight:
            terms["gan"] = losses.generator_gan(discriminator.apply(state.disc, y8, train=False))
        if "recovery" in weight:
            terms["recovery"] = jnp.abs(invert(y8) - x).mean()
        if "robust_recovery" in weight:
            goal = attack_layer(key, x, config.attack_layer, index)
            terms["robust_recovery"] = jnp.abs(invert(attacked) - goal).mean()
        if "token" in weight:
            terms["token"], _ = margins(frozen, quantise(invert(y8, wrong)), labels)
        total = sum(weight.get(name, 0.0) * term for name, term in terms.items())
        logged = {f"loss/{name}": term for name, term in terms.items()}
        logged |= {"loss/total": total, "attack_success": misread}
        logged["psnr"] = jnp.minimum(metrics.psnr(y8, x), metrics.PSNR_CAP).mean()
        return total, (logged, y8)

    def discriminator_loss(disc_params, disc, x, y8):
        def judge(images, variables):
            return discriminator.apply(variables, images, train=True, mutable=["batch_stats"])

        real, updated = judge(x, {**disc, "params": disc_params})
        fake, updated = judge(y8, {**disc, **updated, "params": disc_params})
        return losses.discriminator_gan(real, fake), updated

    def update_discriminator(state, x, y8):
        params, disc = state.disc["params"], state.disc
        (loss, updated), grads = jax.value_and_grad(discriminator_loss, has_aux=True)(
            params, disc, x, jax.lax.stop_gradient(y8)
        )
        grads = jax.lax.pmean(grads, AXIS)
        changes, opt_state = disc_optimizer.update(grads, state.disc_opt_state, params)
        disc = {**disc, **updated, "params": optax.apply_updates(params, changes)}
        logged = {"loss/discriminator": loss, "disc_grad_norm": optax.tree.norm(grads)}
        return state.replace(disc=disc, disc_opt_state=opt_state), logged

    def step(state, frozen, batch):
        x = batch["image"].astype(jnp.float32)
        # The image's place in the global batch: draws don't depend on the number of devices.
        index = jax.lax.axis_index(AXIS) * len(x) + jnp.arange(len(x))
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        (_, (logged, y8)), grads = jax.value_and_grad(objective, has_aux=True)(
            state.params, state, frozen, x, batch["label"], key, index
        )
        grads = jax.lax.pmean(grads, AXIS)
        changes, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, changes)
        ema = optax.incremental_update(params, state.ema, 1 - config.optimizer.ema_decay)
        if "gan" in weight:
            state, changed = update_discriminator(state, x, y8)
            logged |= changed
        logged = jax.lax.pmean(logged, AXIS) | {"grad_norm": optax.tree.norm(grads)}
        state = state.replace(step=state.step + 1, params=params, ema=ema, opt_state=opt_state)
        return state, logged

    return step
