"""Generators against networks of the user's own choice, without a run: from Python only."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.config.command_line import base_config, photograph_settings
from raeg_jax.config.generator_rules import GENERATOR_RULES
from raeg_jax.errors import UserError
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.networks.function import function_network
from raeg_jax.networks.weights import PublishedNetwork, is_published, load_weights
from raeg_jax.protection.loaded_generator import LoadedGenerator

# A file of published weights, or a function and its variables.
Target = os.PathLike | str | tuple[Callable[[Any, jax.Array], jax.Array], Any]


def generator_against(
    targets: Sequence[Target],
    class_names: Sequence[str] | None = None,
    *,
    psnr: float = 34.0,
    image_size: int = 224,
    **settings: Any,
) -> LoadedGenerator:
    """Makes a generator whose gradient stage attacks these networks; nothing is trained.

    Where all targets are files, the generator computes in fixed point: any machine recovers what it
    protected, and `save_generator` writes it. It sees whole photographs of any size
    (`PHOTOGRAPHS` in configs/base.py), unless settings name `views`, such as ("identity",) for
    tiles, another loss, or arithmetic="float". Functions compute in floating point
    (`LoadedGenerator.portable` is false): only the program that protected an image is sure to
    recover it, so the same function and variables on the same kind of machine with the same
    versions. Such a generator can't be saved; this call makes it again. Its id depends on the
    variables and settings, and not on the function's code.

    The class that images are led away from is what the targets read together, by their mean
    probabilities.

    Args:
      targets: each the path of a file that `raeg weights import` made, or a function and its
        variables: (variables, images float32 [B, H, W, 3] in pixel units 0..255, of any height and
        width of at least 32) -> logits float32 [B, K], or with loss="features" features of any
        kind. All have the same K.
      class_names: of K classes; by default numbers. Those of files are ImageNet's.
      psnr: of protected images, in decibels, before their payload is hidden in them.
      image_size: side in pixels of the square to which images are fitted for functions to read
        them; files know their own.
      **settings: of `config.generator.gradient`, such as loss="features", arithmetic="float" or
        attack_steps=12.

    Raises:
      UserError: no target, an impossible file or setting, or targets of different classes.
    """
    if not targets:
        raise UserError("targets is empty: name a file of weights or a function")
    classifiers: dict[str, tuple[nn.Module, Any]] = {}
    published: dict[str, PublishedNetwork] = {}
    for index, target in enumerate(targets):
        name = f"function_{index}"
        if isinstance(target, str | os.PathLike):
            name = pathlib.Path(target).name
            published[name], variables = _load(target)
            pair = published[name].module, variables
        else:
            pair = function_network(*target)
        if name in classifiers:
            raise UserError(f"targets have two files {name}: a target must have its own name")
        classifiers[name] = pair
    sizes = {name: _count_classes(name, pair, image_size) for name, pair in classifiers.items()}
    if len(set(sizes.values())) > 1:
        raise UserError(f"targets have different classes ({sizes}): use targets of the same ones")
    count = next(iter(sizes.values()))
    names = tuple(f"class {i}" for i in range(count)) if class_names is None else class_names
    if len(names) != count:
        raise UserError(f"there are {len(names)} class_names, and the targets have {count} classes")
    defaults: dict[str, Any] = {"arithmetic": "float"}
    if len(published) == len(classifiers):
        defaults = {"arithmetic": "fixed"}
        # What is given may say the same as the default.
        needed = defaults | {"loss": "untargeted"}
        if "views" not in settings and needed.items() <= (needed | settings).items():
            defaults |= photograph_settings()
    config = _config(psnr, image_size, tuple(classifiers), defaults | settings)
    generator = LoadedGenerator(config, tuple(names), None, classifiers, published)
    # Now and not at the first use: it tells what is wrong with settings.
    _ = generator.chain
    return generator


def _load(path: os.PathLike | str) -> tuple[PublishedNetwork, Any]:
    if not is_published(os.fspath(path)):
        raise UserError(
            f"target {os.fspath(path)!r} isn't named *.safetensors: give a file that `raeg weights "
            "import` made, or a function and its variables"
        )
    return load_weights(path)


def _count_classes(name: str, pair: tuple[nn.Module, Any], side: int) -> int:
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    result = jax.eval_shape(FrozenClassifier(*pair), images)
    shape = getattr(result, "shape", type(result).__name__)
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] != 2 or shape[1] < 2:
        raise UserError(
            f"target {name} makes {shape} of images [2, {side}, {side}, 3]: it must return one "
            "array of [2, K], K at least 2"
        )
    return shape[1]


def _config(
    psnr: float, image_size: int, targets: tuple[str, ...], settings: dict[str, Any]
) -> ConfigDict:
    """The settings of a run with these targets and one gradient stage."""
    config = base_config()
    config.name = "against"
    config.data.image_size = image_size
    config.classifiers.targets, config.classifiers.held_out = targets, ()
    config.generator.stages = ("gradient",)
    gradient = config.generator.gradient
    given = {"target_psnr": psnr} | settings
    for name, value in given.items():
        if name not in gradient:
            raise UserError(
                f"{name} is no setting of config.generator.gradient: they are {', '.join(gradient)}"
            )
        rule = GENERATOR_RULES.get(f"generator.gradient.{name}")
        if rule is not None and not rule.accepts(value):
            raise UserError(f"{name}={value!r} is impossible: it must be {rule}")
        gradient[name] = value
    return config
