"""A trained generator as one file, all that protecting and recovering need."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from raeg_jax import config as config_lib
from raeg_jax import generators, networks
from raeg_jax.assembly import assemble, check_stages
from raeg_jax.codec import bundle_file
from raeg_jax.codec.generator_id import SETTINGS, generator_id
from raeg_jax.codec.whole_weights import to_float, to_whole
from raeg_jax.errors import UserError
from raeg_jax.invertible.chain import Chain
from raeg_jax.invertible.generator import generator_from_config
from raeg_jax.networks.layers import MIN_SIDE
from raeg_jax.rules import GENERATOR_RULES

# Where data lie on the machine of training; nobody else's business.
_PRIVATE = ("source", "cache_dir", "list_file")


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """A generator, its settings and the classifiers that belong to it.

    Attributes:
      config: the whole configuration of its training; paths are emptied.
      class_names: one a label.
      params: of the learned stage; None where there is none. In fixed point they are on their
        grids, so that they are the same before and after saving.
      classifiers: (module, variables) by name: of the targets where a stage wants the class, which
        they read where nobody says it, or their gradients; any others for looking at results.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    params: Any
    classifiers: Mapping[str, tuple[nn.Module, Any]]

    def __post_init__(self):
        stages = self.config.generator.stages
        if ("learned" in stages) != (self.params is not None):
            raise ValueError(f"params is {type(self.params).__name__} for stages {stages}")
        if tuple(stages) != ("learned",):
            for name in self.config.classifiers.targets:
                if name not in self.classifiers:
                    raise ValueError(f"the target classifier {name!r} is missing")
        if self.params is not None:
            generator_from_config(self.config.generator).check(self.params)
        if self._whole:
            weights = _by_name({"params": self.params})
            on_grids = _tree(to_float(to_whole(weights)))["params"]
            object.__setattr__(self, "params", on_grids)
        config = self.config.copy_and_resolve_references()
        for name in _PRIVATE:
            config.data[name] = ""
        object.__setattr__(self, "config", config)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All weights by name: `params/...` and `classifiers/NAME/...`."""
        trees = {"classifiers": {name: pair[1] for name, pair in self.classifiers.items()}}
        if self.params is not None:
            trees["params"] = self.params
        return _by_name(trees)

    @property
    def stored(self) -> dict[str, np.ndarray]:
        """The same as a file holds them: weights in fixed point as whole numbers."""
        if not self._whole:
            return self.arrays
        learned, others = _split(self.arrays)
        return others | to_whole(learned)

    @property
    def _whole(self) -> bool:
        return self.params is not None and generator_from_config(self.config.generator).portable

    @functools.cached_property
    def id(self) -> bytes:
        """8 bytes by which protected images know the generator, see `generator_id`."""
        return generator_id(self.config, self.arrays)

    @functools.cached_property
    def chain(self) -> Chain:
        """The generator, ready for use."""
        return assemble(self.config, self.params, self.classifiers)

    @property
    def portable(self) -> bool:
        """Whether any machine recovers what others protected: all stages are in fixed point."""
        return self.chain.portable


def save_bundle(path: str | os.PathLike, bundle: Bundle, overwrite: bool = False) -> None:
    """Writes a generator file; the same bundle gives the same bytes.

    Args:
      path: of the file; its folder must exist.
      bundle: what to write, with classifiers of `networks` and weights in float32.
      overwrite: replace a file that is there.

    Raises:
      UserError: the file exists, or can't be written.
    """
    for name, (module, _) in bundle.classifiers.items():
        if module != networks.classifier(name, len(bundle.class_names)):
            raise ValueError(f"the classifier {name!r} isn't the one of that name")
    description = {
        "config": config_lib.to_json(bundle.config),
        "class_names": list(bundle.class_names),
    }
    bundle_file.write(path, description, bundle.stored, overwrite)


def default_bundle() -> Bundle:
    """Reads the generator that comes with the package.

    Raises:
      UserError: it is missing, as in an incomplete installation.
    """
    return load_bundle(generators.default_path())


def load_bundle(path: str | os.PathLike) -> Bundle:
    """Reads a generator file, safely whoever made it.

    Raises:
      UserError: no such file, not a generator file, a damaged one, or one that this version of the
        library can't use.
    """
    description, arrays = bundle_file.read(path)
    try:
        return _bundle(description, arrays)
    except UserError as error:
        raise UserError(f"{path} can't be used: {error}") from error
    except bundle_file.MALFORMED as error:
        raise UserError(
            f"{path} can't be used, its settings are impossible ({error!r}): give one that "
            "`raeg export WORKDIR FILE` made"
        ) from error


def _bundle(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> Bundle:
    config = _config(description["config"])
    class_names = tuple(description["class_names"])
    if not all(isinstance(name, str) for name in class_names):
        raise TypeError("class names aren't strings")
    names = sorted({name.split("/")[1] for name in arrays if name.startswith("classifiers/")})
    modules = {name: networks.classifier(name, len(class_names)) for name in names}
    learned, others = _split(arrays)
    if learned and generator_from_config(config.generator).portable:
        learned = to_float(learned)
    weights = others | learned
    _check_arrays(config, modules, weights)
    trees = _tree(weights)
    classifiers = {name: (module, trees["classifiers"][name]) for name, module in modules.items()}
    bundle = Bundle(config, class_names, trees.get("params"), classifiers)
    kept = bundle.arrays
    for name, array in learned.items():
        if not np.array_equal(kept[name], array, equal_nan=True):
            raise UserError(f"{name} isn't rounded as its layer needs it: take it from your copy")
    # Now and not at the first use, which may be far away: it tells what is wrong with settings.
    _ = bundle.chain
    return bundle


def _config(saved: dict[str, Any]) -> ConfigDict:
    """The settings of a file, all of the generator checked."""
    if not isinstance(saved, dict):
        raise TypeError("config is no dict")
    settings = flatten_dict(config_lib.with_tuples(saved), sep=".")
    of_generator = {name for name in settings if name.startswith("generator.")}
    if unknown := sorted(of_generator - SETTINGS):
        raise UserError(f"config.{unknown[0]} is of a later version: update raeg-jax")
    if missing := sorted(SETTINGS - of_generator):
        raise UserError(f"config.{missing[0]} is missing: give a file that raeg made")
    for name, rule in GENERATOR_RULES.items():
        if not rule.accepts(settings[name]):
            raise UserError(f"config.{name}={settings[name]!r} is impossible: it must be {rule}")
    config = ConfigDict(unflatten_dict(settings, sep=".")).lock()
    check_stages(config.generator)
    return config


def _check_arrays(config, modules, arrays):
    """Stops at arrays that aren't those of the networks, such as of another version's."""
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise UserError(f"{name} is {array.dtype}, not float32: give a file that raeg made")
    images = jnp.zeros((1, MIN_SIDE, MIN_SIDE, 3))
    trees = {
        "classifiers": {
            name: _shapes(module, images, train=False) for name, module in modules.items()
        }
    }
    if "learned" in config.generator.stages:
        # Each block and layer has arrays: no file can ask for a network much larger than itself.
        if max(sum(config.generator.blocks), config.generator.depth) > len(arrays):
            raise UserError("it has fewer arrays than blocks or layers: give a file that raeg made")
        generator = generator_from_config(config.generator)
        trees["params"] = _shapes(generator, images)["params"]
    expected = {name: list(x.shape) for name, x in flatten_dict(trees, sep="/").items()}
    given = {name: list(array.shape) for name, array in arrays.items()}
    for name in sorted(given.keys() | expected.keys()):
        if given.get(name) != expected.get(name):
            raise UserError(
                f"{name} is {given.get(name, 'missing')} in it and "
                f"{expected.get(name, 'missing')} in this version's networks: use the version of "
                "raeg-jax that exported it"
            )


def _by_name(trees) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in flatten_dict(trees, sep="/").items()}


def _tree(arrays: Mapping[str, np.ndarray]):
    return unflatten_dict({name: jnp.asarray(array) for name, array in arrays.items()}, sep="/")


def _split(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the learned stage's arrays, and the others."""
    parts = {}, {}
    for name, array in arrays.items():
        parts[not name.startswith("params/")][name] = array
    return parts


def _shapes(module, images, **options):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), images, **options))
