"""By what a protected image knows its generator: a hash of all that recovery depends on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from raeg_jax import config as config_lib
from raeg_jax.codec.bundle_file import digest
from raeg_jax.codec.payload import GENERATOR_ID_SIZE
from raeg_jax.rules import GENERATOR_RULES

# All of `config.generator`.
SETTINGS = frozenset(
    (
        *GENERATOR_RULES,
        "generator.stages",
        "generator.gradient.views",
    )
)
# Settings that came after format 1 of the file, and the value with which a generator is what it
# was without: files from before have that value, and ids leave it out, or they would change.
LATER: dict[str, Any] = {}


def generator_id(config: ConfigDict, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Equal for generators that recover each other's images, else different: 8 bytes.

    These count:

    - `config.generator.stages` and `token_planes`;
    - with a learned stage, its arrays and the other settings of `config.generator` but for those of
      `gradient`;
    - with a gradient stage, the names of `config.classifiers.targets` in order, their arrays, and
      all of `config.generator.gradient`: `target_psnr`, `step` and `least_step` give the shifts'
      size, `rounds` is the most that recovery can undo;
    - with both, also `config.loss.target_psnr`: shifts are as large as what the first stage leaves.

    Nothing else does: no image size, data, training, class names or held-out classifiers.

    Args:
      config: the whole configuration.
      arrays: float32, by name: `params/...` of the learned stage, `classifiers/NAME/...`; others
        may be there.
    """
    stages = config.generator.stages
    counted, prefixes = {"generator.stages", "generator.token_planes"}, []
    of_gradient = {name for name in SETTINGS if name.startswith("generator.gradient.")}
    if "learned" in stages:
        counted |= SETTINGS - of_gradient
        prefixes.append("params/")
    if "gradient" in stages:
        counted |= of_gradient | {"classifiers.targets"}
        prefixes += [f"classifiers/{name}/" for name in config.classifiers.targets]
    if len(stages) > 1:
        counted.add("loss.target_psnr")
    given = flatten_dict(config_lib.to_json(config), sep=".")
    settings = {
        name: given[name] for name in counted if name not in LATER or given[name] != LATER[name]
    }
    if "gradient" in stages:
        # Those that are gone still count, or ids would change.
        settings |= config_lib.FORMER
    own = {name: array for name, array in arrays.items() if name.startswith(tuple(prefixes))}
    return digest(["raeg generator 1", settings], own)[:GENERATOR_ID_SIZE]
