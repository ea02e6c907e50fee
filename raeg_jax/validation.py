"""Stops a run with an impossible setting before anything is loaded or compiled."""

from typing import Any

import jax
from ml_collections import ConfigDict

from raeg_jax.assembly import TARGETS, check_stages, crowded, target_psnrs
from raeg_jax.attacks.attack_layer import check_settings
from raeg_jax.data import DATASETS
from raeg_jax.errors import UserError
from raeg_jax.invertible.generator import generator_from_config
from raeg_jax.networks import CLASSIFIERS, classifier, folding
from raeg_jax.networks.discriminator import NORMS
from raeg_jax.networks.layers import MIN_SIDE
from raeg_jax.rules import GENERATOR_RULES, Each, Number, OneOf
from raeg_jax.training.losses import ADVERSARIES
from raeg_jax.training.parallel import MODES, check_divisible
from raeg_jax.training.state import OPTIMIZERS

# Scalars of the evaluation inside the training loop, by which a checkpoint can be the best.
IN_LOOP_METRICS = (
    "clean_accuracy",
    "protected_accuracy",
    "psnr",
    "ssim",
    "exact_images",
    "outside_range",
)


_COUNT, _NATURAL = Number(1, whole=True), Number(0, whole=True)
_WEIGHT = Number(0)
_RATE = Number(0, strict=True)

RULES: dict[str, Number | OneOf | Each] = {
    "seed": Number(0, 2**31 - 1, whole=True),
    "parallel": OneOf(MODES),
    "data.dataset": OneOf(DATASETS),
    "data.test_fraction": Number(0, 1, strict=True),
    "data.image_size": Number(MIN_SIDE, 4096, whole=True),
    "data.memory_mib": _NATURAL,
    "data.workers": _NATURAL,
    **GENERATOR_RULES,
    "classifiers.targets": Each(OneOf(CLASSIFIERS)),
    "classifiers.held_out": Each(OneOf(CLASSIFIERS), least=0),
    "classifiers.batch_size": _COUNT,
    "classifiers.steps": _COUNT,
    "classifiers.learning_rate": _RATE,
    "classifiers.weight_decay": _WEIGHT,
    "classifiers.warmup_steps": _NATURAL,
    "classifiers.label_smoothing": Number(0, 0.99),
    "classifiers.adversarial": Number(0, 255),
    "augment.crop_padding": _NATURAL,
    "augment.grey": Number(0, 1),
    "augment.cutout": Number(0, 1),
    "augment.mixup": _WEIGHT,
    "loss.adversary": OneOf(ADVERSARIES),
    "loss.kappa": _WEIGHT,
    # Rounding to 8 bits alone costs all but 58.9 dB.
    "loss.target_psnr": Number(5, 58),
    "discriminator.width": _COUNT,
    "discriminator.layers": _COUNT,
    "discriminator.norm": OneOf(NORMS),
    "optimizer.name": OneOf(OPTIMIZERS),
    "optimizer.learning_rate": _RATE,
    "optimizer.discriminator_learning_rate": _RATE,
    "optimizer.warmup_steps": _NATURAL,
    "optimizer.weight_decay": _WEIGHT,
    "optimizer.clip_norm": _WEIGHT,
    "optimizer.ema_decay": Number(0, 0.999999),
    "train.batch_size": _COUNT,
    "train.steps": _COUNT,
    "train.log_every": _COUNT,
    "train.eval_every": _COUNT,
    "train.eval_images": _COUNT,
    "train.checkpoint_every": _COUNT,
    "train.keep_last": _COUNT,
    "train.best_metric": OneOf(IN_LOOP_METRICS),
    "train.best_mode": OneOf(("min", "max")),
    "eval.batch_size": _COUNT,
    "eval.max_images": _NATURAL,
    "eval.pgd_steps": _NATURAL,
}


def validate(config: ConfigDict) -> None:
    """Checks all that can be known to be wrong without data.

    Raises:
      UserError: the first impossible setting, with its value and what is allowed.
    """
    for name, rule in RULES.items():
        value = _get(config, name)
        if not rule.accepts(value):
            raise UserError(f"config.{name}={_plain(value)!r} is impossible: it must be {rule}")
    for name, value in config.loss.weight.items():
        if not _WEIGHT.accepts(value):
            raise UserError(
                f"config.loss.weight.{name}={value!r} is impossible: it must be {_WEIGHT}"
            )
    if not any(config.loss.weight.values()):
        raise UserError("all of config.loss.weight are 0: there is nothing to train for")
    generator_from_config(config.generator)
    check_stages(config.generator)
    check_settings(config.attack_layer)
    _check_classifiers(config.classifiers)
    if "gradient" in config.generator.stages and config.generator.gradient.arithmetic == "fixed":
        for name in config.classifiers.targets:
            folding.check(name, classifier(name, num_classes=2))
    _check_together(config)
    trained = ("classifiers", "train") if "learned" in config.generator.stages else ("classifiers",)
    for name in trained:
        batch_size = config[name].batch_size
        check_divisible(batch_size, jax.device_count(), f"config.{name}.batch_size: a batch")


def _get(config: ConfigDict, name: str) -> Any:
    value = config
    for part in name.split("."):
        if part not in value:
            raise UserError(f"config.{name} is missing: start the config from configs/base.py")
        value = value[part]
    return value


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_classifiers(settings: ConfigDict) -> None:
    names = (*settings.targets, *settings.held_out)
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"{twice[0]!r} stands twice in config.classifiers.targets={tuple(settings.targets)} "
            f"and held_out={tuple(settings.held_out)}: a held-out classifier must be another one"
        )


def check_targets(config: ConfigDict) -> None:
    """Stops if a stage leaves no distance to the one after it.

    Raises:
      UserError: naming both PSNRs.
    """
    psnrs = target_psnrs(config)
    for first, last in crowded(config):
        raise UserError(
            f"config.{TARGETS[first]}={psnrs[first]} must be above config.{TARGETS[last]}="
            f"{psnrs[last]}: the {first} stage would use up what the {last} stage may change"
        )


def _check_together(config: ConfigDict) -> None:
    """What is only wrong in combination."""
    optimizer, data = config.optimizer, config.data
    if optimizer.weight_decay and optimizer.name == "adam":
        raise UserError(
            f"config.optimizer.weight_decay={optimizer.weight_decay} does nothing with "
            "config.optimizer.name='adam': use 'adamw', or 0"
        )
    patch = 3 * 2**config.discriminator.layers
    if config.loss.weight.gan and data.image_size < patch:
        raise UserError(
            f"config.discriminator.layers={config.discriminator.layers} needs images of at least "
            f"{patch} pixels, config.data.image_size is {data.image_size}: use fewer layers"
        )
    if config.augment.crop_padding >= data.image_size:
        raise UserError(
            f"config.augment.crop_padding={config.augment.crop_padding} must be below "
            f"config.data.image_size={data.image_size}"
        )
