"""Generators for tests: tiny, with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
from skimage.data import astronaut

from configs import smoke
from raeg_jax.generator.build import has_patterns
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import GradientCoupling
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks import classifiers as classifiers_lib
from raeg_jax.protection.loaded_generator import LoadedGenerator

NAMES = ("anchor", "lotus", "ibis")
BOTH = ("learned", "gradient")


def settings(stages=BOTH, **changes):
    config = smoke.get_config()
    config.generator.stages = stages
    # In floating point programs are compiled several times faster.
    config.generator.gradient.update(rounds=2, attack_steps=1, arithmetic="float")
    config.data.update(source="/home/owner", cache_dir="/home/owner", list_file="/home/owner")
    config.update_from_flattened_dict(changes)
    return config


def weights(module, **options):
    """Not trained: random, but the same everywhere and at all times."""
    images, random = jnp.zeros((1, 32, 32, 3)), np.random.RandomState(0)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), images, **options))

    def draw(path, x):
        values = random.uniform(-0.1, 0.1, x.shape).astype(np.float32)
        return np.abs(values) if path[-1].key == "var" else values

    return jax.tree_util.tree_map_with_path(draw, shapes)


PARAMS = weights(unet_from_config(settings().generator))["params"]
# Planes of classes are an input more.
WITH_CLASSES = {"generator.class_planes": 2}
CLASSIFIERS = {
    name: (module, weights(module, train=False))
    for name in ("resnet_small", "vgg_small")
    for module in [classifiers_lib.build_classifier(name, len(NAMES))]
}
# Learned, if this is the pattern of a shortcut stage: two of each class.
LEARNED = {"generator.shortcut.pattern": "learned"}
PATTERNS = np.random.RandomState(0).randint(-128, 128, (len(NAMES), 2, 8, 8, 3)).astype(np.int8)


def patterns_of(config):
    return PATTERNS if has_patterns(config.generator) else None


def make(stages=BOTH, classifiers=("resnet_small",), **changes):
    config, params = settings(stages, **changes), PARAMS
    if config.generator.class_planes:
        params = weights(unet_from_config(config.generator))["params"]
    return LoadedGenerator(
        config,
        NAMES,
        params if "learned" in stages else None,
        {name: CLASSIFIERS[name] for name in classifiers},
        patterns=patterns_of(config),
    )


def published(stages, *pairs, **changes):
    """A generator against published networks: (module, variables) each, of tiny_published.py."""
    classifiers = {f"net_{number}.safetensors": pair for number, pair in enumerate(pairs)}
    config = settings(stages, **changes)
    config.classifiers.targets = tuple(classifiers)
    params = PARAMS if "learned" in stages else None
    return LoadedGenerator(config, NAMES, params, classifiers, patterns=patterns_of(config))


def _direction(images, labels):
    # By the label, so that a wrong one is noticed.
    return images - 60.0 * (1 + labels[:, None, None, None])


def quick():
    """A gradient stage that follows a formula, compiled in a second, whatever its settings say."""
    generator = make(("gradient",))
    stage = GradientCoupling(
        jax.tree_util.Partial(_direction), step=3.0, max_mse=20.0, rounds=4, token_planes=2
    )
    # In place of the cached property.
    vars(generator)["chain"] = Chain((stage,))
    return generator


def photographs(count, height, width):
    """Different parts of one photograph: uint8 [H, W, 3] each."""
    corners = [(7 * index, 180 + 11 * index) for index in range(count)]
    return [astronaut()[top : top + height, left : left + width].copy() for top, left in corners]
