"""By what a protected image knows its generator: a hash of all that recovery depends on."""

from collections.abc import Mapping

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from raeg_jax import config as config_lib
from raeg_jax.codec.bundle_file import digest
from raeg_jax.payload.payload import GENERATOR_ID_SIZE
from raeg_jax.rules import GENERATOR_RULES

# All of `config.generator`.
SETTINGS = frozenset(
    (
        *GENERATOR_RULES,
        "generator.stages",
        "generator.gradient.views",
    )
)
# Settings of `generator.shortcut` that only one pattern has.
_OF_PATTERNS = {"waves": ("period", "cycles", "waves"), "cells": ("cell", "cells")}
# Settings of `generator.gradient` by which shortcut stages go, too.
_OF_COUPLINGS = ("rounds", "step", "least_step", "bound", "margin", "mask")


def generator_id(config: ConfigDict, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Equal for generators that recover each other's images, else different: 8 bytes.

    These count:

    - `config.generator.stages` and `token_planes`;
    - with a learned stage, its arrays and the other settings of `config.generator` but for those of
      `shortcut` and `gradient`;
    - with a shortcut stage, of `config.generator.shortcut` what its pattern has, and of `gradient`
      what says how couplings go;
    - with a gradient stage, the names of `config.classifiers.targets` in order, their arrays, and
      all of `config.generator.gradient`: `target_psnr`, `step` and `least_step` give the shifts'
      size, `rounds` is the most that recovery can undo;
    - with a learned stage and others, also `config.loss.target_psnr`: shifts are as large as what
      the stage before leaves.

    Nothing else does: no image size, data, training, class names or held-out classifiers.

    Args:
      config: the whole configuration.
      arrays: float32, by name: `params/...` of the learned stage, `classifiers/NAME/...`; others
        may be there.
    """
    stages = config.generator.stages
    counted, prefixes = {"generator.stages", "generator.token_planes"}, []
    of_gradient, of_shortcut = (
        {name for name in SETTINGS if name.startswith(f"generator.{group}.")}
        for group in ("gradient", "shortcut")
    )
    if "learned" in stages:
        counted |= SETTINGS - of_gradient - of_shortcut
        prefixes.append("params/")
    if "shortcut" in stages:
        other = _OF_PATTERNS["cells" if config.generator.shortcut.pattern == "waves" else "waves"]
        counted |= of_shortcut - {f"generator.shortcut.{name}" for name in other}
        counted |= {f"generator.gradient.{name}" for name in _OF_COUPLINGS}
    if "gradient" in stages:
        counted |= of_gradient | {"classifiers.targets"}
        prefixes += [f"classifiers/{name}/" for name in config.classifiers.targets]
    if "learned" in stages and len(stages) > 1:
        counted.add("loss.target_psnr")
    given = flatten_dict(config_lib.to_json(config), sep=".")
    settings = {name: given[name] for name in counted}
    own = {name: array for name, array in arrays.items() if name.startswith(tuple(prefixes))}
    return digest(["raeg generator 1", settings], own)[:GENERATOR_ID_SIZE]
