"""Stops a run with an impossible setting before anything is loaded or compiled."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from raeg_jax.adversarial.attack_layer import check_settings
from raeg_jax.config import rules
from raeg_jax.config.schema import RULES
from raeg_jax.errors import UserError
from raeg_jax.exact import folding
from raeg_jax.generator.build import check_stages, sees_photographs
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks.classifiers import build_classifier
from raeg_jax.networks.weights import PublishedNetwork, is_published
from raeg_jax.workdir import published


def validate(config: ConfigDict) -> None:
    """Checks all that can be known to be wrong without data and without touching a device.

    Of files of published weights the headers are read.

    Args:
      config: the whole configuration. The batch must also be divisible by the number of devices,
        which `training.parallel.check_devices` checks; PSNRs of stages must decrease, which
        `check_targets` checks once the settings of a checkpoint are known.

    Raises:
      UserError: the first impossible setting, with its value and what is allowed.
    """
    rules.check(config, RULES)
    if not any(config.loss.weight.values()):
        raise UserError("all of config.loss.weight are 0: there is nothing to train for")
    unet_from_config(config.generator)
    check_stages(config.generator)
    check_settings(config.attack_layer)
    _check_classifiers(config)
    _check_optimizer(config.optimizer)
    _check_image_size(config)


def _check_classifiers(config: ConfigDict) -> None:
    targets, held_out = config.classifiers.targets, config.classifiers.held_out
    names = (*targets, *held_out)
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"{repeated[0]!r} stands twice in config.classifiers.targets={tuple(targets)} "
            f"and held_out={tuple(held_out)}: a held-out classifier must be another one"
        )
    networks = {name: published.describe(config, name) for name in names if is_published(name)}
    if config.classifiers.heads:
        _check_heads(config, networks)
        networks = {
            name: network.with_head(2, config.classifiers.heads)
            for name, network in networks.items()
        }
    else:
        _check_kinds(targets, networks)
        if config.loss.weight.poison and set(targets) & networks.keys():
            raise UserError(
                f"config.loss.weight.poison={config.loss.weight.poison} is for the data set's "
                f"classes, and targets={tuple(targets)} read others: set config.classifiers.heads, "
                "or the weight to 0"
            )
    if "gradient" in config.generator.stages and config.generator.gradient.arithmetic == "fixed":
        for name in targets:
            network = networks.get(name)
            module = network.module if network else build_classifier(name, num_classes=2)
            folding.check_foldable(name, module)


def _check_heads(config: ConfigDict, networks: Mapping[str, PublishedNetwork]) -> None:
    heads, gradient = config.classifiers.heads, config.generator.gradient
    if not networks:
        raise UserError(
            f"config.classifiers.heads={heads} is for published classifiers, of which targets="
            f"{tuple(config.classifiers.targets)} and held_out={tuple(config.classifiers.held_out)}"
            " name none: write 0, or name files of weights (NAME.safetensors)"
        )
    if "gradient" in config.generator.stages and sees_photographs(gradient):
        raise UserError(
            f"config.generator.gradient.views={tuple(gradient.views)!r} are of photographs, which "
            f"heads are not fitted to: use views of tiles, such as 'identity', or "
            f"config.classifiers.heads=0 (it is {heads})"
        )


def _check_kinds(targets: Sequence[str], networks: Mapping[str, PublishedNetwork]) -> None:
    """Makes sure that all targets have the same classes."""
    classes = {name: networks[name].num_classes if name in networks else None for name in targets}
    first = targets[0]
    for name, count in classes.items():
        if (count is None) != (classes[first] is None):
            raise UserError(
                f"config.classifiers.targets={tuple(targets)} mixes published weights, which have "
                "classes of their own, and classifiers that the run trains: use one kind, and the "
                "other as held_out, or give the published ones heads (config.classifiers.heads)"
            )
        if count != classes[first]:
            raise UserError(
                f"config.classifiers.targets={tuple(targets)} have different classes, {first} "
                f"{classes[first]} and {name} {count}: use targets of the same classes"
            )


def _check_optimizer(settings: ConfigDict) -> None:
    if settings.weight_decay and settings.name == "adam":
        raise UserError(
            f"config.optimizer.weight_decay={settings.weight_decay} does nothing with "
            "config.optimizer.name='adam': use 'adamw', or 0"
        )


def _check_image_size(config: ConfigDict) -> None:
    size, layers, padding = (
        config.data.image_size,
        config.discriminator.layers,
        config.augment.crop_padding,
    )
    patch = 3 * 2**layers
    if config.loss.weight.gan and size < patch:
        raise UserError(
            f"config.discriminator.layers={layers} needs images of at least {patch} pixels, "
            f"config.data.image_size is {size}: use fewer layers"
        )
    if padding >= size:
        raise UserError(
            f"config.augment.crop_padding={padding} must be below config.data.image_size={size}"
        )
