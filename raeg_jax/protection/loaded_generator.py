"""A generator with all that protecting and recovering need, from its file or from training."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from raeg_jax.config import run_config
from raeg_jax.config.generator_rules import GENERATOR_RULES
from raeg_jax.errors import UserError
from raeg_jax.generator.build import (
    TARGETS,
    build_generator,
    check_stages,
    has_patterns,
    needs_labels,
    with_psnr,
)
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.learned_pattern import check_patterns
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks import imagenet, int8
from raeg_jax.networks.function import FunctionNetwork
from raeg_jax.networks.layers import variable_shapes
from raeg_jax.networks.weights import PublishedNetwork, is_published
from raeg_jax.protection import generator_file, shipped
from raeg_jax.protection.generator_file import from_int8, to_int8
from raeg_jax.protection.generator_id import LEARNED, PATTERNS, SETTINGS, generator_id, prefixes
from raeg_jax.protection.published_networks import (
    from_json,
    module_of,
    networks_of,
    to_json,
)

# Where files lie on the machine of training; nobody else's business.
_PRIVATE = {"data": ("source", "cache_dir", "list_file"), "classifiers": ("weights",)}


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedGenerator:
    """A generator, its settings and the classifiers that belong to it.

    Attributes:
      config: the whole configuration of its training; paths are emptied.
      class_names: one a label; with published targets at hand that have no heads always those of
        the targets.
      params: of the learned stage; None where there is none. In fixed point they are on their
        grids, so that they are the same before and after saving.
      classifiers: (module, variables) by name: the targets where a stage wants the class, which
        they predict where nobody says it, or their gradients; any others for looking at results.
      published: what the published ones of them are; made from their modules, without a source,
        where it isn't given.
      patterns: int8 [K, V, G, G, 3], the learned ones of a shortcut stage (`LearnedPattern`); None
        where it has none.

    Raises:
      UserError: patterns that are missing, superfluous or can't be any.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    params: Any
    classifiers: Mapping[str, tuple[nn.Module, Any]]
    published: Mapping[str, PublishedNetwork] = dataclasses.field(default_factory=dict)
    patterns: np.ndarray | None = None

    def __post_init__(self):
        stages = self.config.generator.stages
        if ("learned" in stages) != (self.params is not None):
            raise ValueError(f"params is {type(self.params).__name__} for stages {stages}")
        if needs_labels(self.config.generator):
            for name in self.config.classifiers.targets:
                if name not in self.classifiers:
                    raise ValueError(f"the target classifier {name!r} is missing")
        if has_patterns(self.config.generator):
            check_patterns(self.patterns)
        elif self.patterns is not None:
            raise UserError(
                f"there are patterns, and config.generator.stages={tuple(stages)} with "
                f"shortcut.pattern={self.config.generator.shortcut.pattern!r} have none: leave "
                "them out, or write pattern='learned'"
            )
        if self.params is not None:
            unet_from_config(self.config.generator).check(self.params)
        if self._in_fixed_point:
            weights = _by_name({"params": self.params})
            on_grids = _tree(from_int8(to_int8(weights)))["params"]
            object.__setattr__(self, "params", on_grids)
        config = self.config.copy_and_resolve_references()
        for group, names in _PRIVATE.items():
            config[group].update(dict.fromkeys(names, ""))
        object.__setattr__(self, "config", config)
        published = networks_of(self.classifiers, self.published)
        object.__setattr__(self, "published", published)
        for name in config.classifiers.targets:
            if name in published and not published[name].preprocessing.of_run:
                names = imagenet.class_names(published[name].num_classes)
                object.__setattr__(self, "class_names", names)

    @property
    def labels_are_readings(self) -> bool:
        """Whether the label of an image is what the targets read, whatever its owner calls it.

        So with published targets, which have classes of their own, but not where they have heads.
        """
        if self.config.classifiers.heads:
            return False
        targets = self.config.classifiers.targets
        return any(name in self.published or is_published(name) for name in targets)

    @property
    def has_targets(self) -> bool:
        """Whether its target classifiers are at hand, to read images with."""
        targets = self.config.classifiers.targets
        return bool(targets) and set(targets) <= self.classifiers.keys()

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name: `params/...`, `classifiers/NAME/...` and `patterns`."""
        trees = {
            "classifiers": {name: pair[1] for name, pair in self.classifiers.items()},
            "params": {} if self.params is None else self.params,
        }
        patterns = {} if self.patterns is None else {PATTERNS: self.patterns}
        return _by_name(trees | patterns)

    @property
    def stored_arrays(self) -> dict[str, np.ndarray]:
        """The same as a file holds them: weights in fixed point or on int8's grid as integers."""
        learned, others = _split(self.arrays, LEARNED)
        published, others = _split(others, prefixes(self.published))
        learned = to_int8(learned) if self._in_fixed_point else learned
        return others | int8.pack(published) | learned

    @property
    def _in_fixed_point(self) -> bool:
        return self.params is not None and unet_from_config(self.config.generator).portable

    @functools.cached_property
    def id(self) -> bytes:
        """8 bytes by which protected images know the generator, see `generator_id`."""
        return generator_id(self.config, self.arrays, self.published)

    @functools.cached_property
    def chain(self) -> Chain:
        """The stages, ready for use."""
        return build_generator(self.config, self.params, self.classifiers, self.patterns)

    def chain_of(self, psnr: float) -> Chain:
        """The stages with another target PSNR of the last one, which must see photographs.

        The same generator recovers from both, as payloads name the strength.

        Raises:
          UserError: a generator of one strength, an impossible PSNR, or one that its other stages
            don't leave room for.
        """
        rule = GENERATOR_RULES[TARGETS["gradient"]]
        if not rule.accepts(psnr):
            raise UserError(f"psnr={psnr} is impossible: it must be {rule}")
        return with_psnr(self.chain, self.config, psnr)

    @property
    def portable(self) -> bool:
        """Whether any machine recovers what others protected: all stages are in fixed point."""
        return self.chain.portable


def save_generator(
    path: str | os.PathLike, generator: LoadedGenerator, overwrite: bool = False
) -> None:
    """Writes a generator file; the same generator gives the same bytes.

    Args:
      path: of the file; its folder must exist.
      generator: what to write, with classifiers of `networks` and weights in float32.
      overwrite: replace a file that is there.

    Raises:
      UserError: the file exists or can't be written, or a target is a function.
    """
    for name, (module, _) in generator.classifiers.items():
        if isinstance(module, FunctionNetwork):
            raise UserError(
                f"the target {name} is a function, which no generator file can hold: make the "
                "generator again with `raeg_jax.generator_against`, or of a file of weights"
            )
        if module != module_of(name, generator.published, len(generator.class_names)):
            raise ValueError(f"the classifier {name!r} isn't the one of that name")
    description = {
        "config": run_config.to_json(generator.config),
        "class_names": list(generator.class_names),
    }
    if generator.published:
        description["published"] = to_json(generator.published)
    generator_file.write(path, description, generator.stored_arrays, overwrite)


def default_generator() -> LoadedGenerator:
    """Reads the generator of the package that protects where nobody names one.

    Raises:
      UserError: it is missing, as in an incomplete installation.
    """
    return load_generator(shipped.path_of(shipped.DEFAULT))


def load_generator(path: str | os.PathLike) -> LoadedGenerator:
    """Reads a generator file, safely whoever made it.

    Args:
      path: of the file, or a name of `shipped.SHIPPED` where there is no file of that name.

    Raises:
      UserError: no such file, not a generator file, a damaged one, or one that this version of the
        library can't use.
    """
    path = shipped.resolve(path)
    description, arrays = generator_file.read(path)
    try:
        return _checked_generator(description, arrays)
    except UserError as error:
        raise UserError(f"{path} can't be used: {error}") from error
    except generator_file.MALFORMED as error:
        raise UserError(
            f"{path} can't be used, its settings are impossible ({error!r}): give one that "
            "`raeg export WORKDIR FILE` made"
        ) from error


def _checked_generator(
    description: dict[str, Any], arrays: dict[str, np.ndarray]
) -> LoadedGenerator:
    config = _checked_config(description["config"])
    class_names = tuple(description["class_names"])
    if not all(isinstance(name, str) for name in class_names):
        raise TypeError("class names aren't strings")
    names = sorted({name.split("/")[1] for name in arrays if name.startswith("classifiers/")})
    heads = config.classifiers.heads
    if type(heads) is not int:
        raise TypeError("heads is no whole number")
    published = from_json(description.get("published", {}), names, len(class_names), heads)
    modules = {name: module_of(name, published, len(class_names)) for name in names}
    patterns = arrays.pop(PATTERNS, None)
    packed, arrays = _split(arrays, prefixes(published))
    learned, others = _split(arrays | int8.unpack(packed), LEARNED)
    if learned and unet_from_config(config.generator).portable:
        learned = from_int8(learned)
    _check_arrays(config, modules, others | learned)
    trees = _tree(others | learned)
    classifiers = {name: (module, trees["classifiers"][name]) for name, module in modules.items()}
    generator = LoadedGenerator(
        config, class_names, trees.get("params"), classifiers, published, patterns
    )
    rounded = generator.arrays
    for name, array in learned.items():
        if not np.array_equal(rounded[name], array, equal_nan=True):
            raise UserError(f"{name} isn't rounded as its layer needs it: take it from your copy")
    # Now and not at the first use, which may be far away: it tells what is wrong with settings.
    _ = generator.chain
    return generator


def _checked_config(saved: dict[str, Any]) -> ConfigDict:
    """The settings of a file, all of the generator checked."""
    if not isinstance(saved, dict):
        raise TypeError("config is no dict")
    settings = flatten_dict(saved, sep=".")
    settings = run_config.with_tuples(run_config.LATER | settings)
    of_generator = {name for name in settings if name.startswith("generator.")}
    if unknown := sorted(of_generator - SETTINGS):
        raise UserError(f"config.{unknown[0]} is of a later version: update raeg-jax")
    if missing := sorted(SETTINGS - of_generator):
        raise UserError(f"config.{missing[0]} is missing: give a file that raeg made")
    for name, rule in GENERATOR_RULES.items():
        if not rule.accepts(settings[name]):
            raise UserError(f"config.{name}={settings[name]!r} is impossible: it must be {rule}")
    if not all(isinstance(name, str) for name in settings["classifiers.targets"]):
        raise TypeError("names of targets aren't strings")
    config = ConfigDict(unflatten_dict(settings, sep=".")).lock()
    check_stages(config.generator)
    return config


def _check_arrays(
    config: ConfigDict, modules: Mapping[str, nn.Module], arrays: Mapping[str, np.ndarray]
) -> None:
    """Stops at arrays that aren't those of the networks, such as of another version's."""
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise UserError(f"{name} is {array.dtype}, not float32: give a file that raeg made")
    trees: dict[str, Any] = {
        "classifiers": {
            name: variable_shapes(module, train=False) for name, module in modules.items()
        }
    }
    if "learned" in config.generator.stages:
        # Each block and layer has arrays: no file can ask for a network much larger than itself.
        if max(sum(config.generator.blocks), config.generator.depth) > len(arrays):
            raise UserError("it has fewer arrays than blocks or layers: give a file that raeg made")
        trees["params"] = variable_shapes(unet_from_config(config.generator))["params"]
    expected = {name: list(x.shape) for name, x in flatten_dict(trees, sep="/").items()}
    given = {name: list(array.shape) for name, array in arrays.items()}
    for name in sorted(given.keys() | expected.keys()):
        if given.get(name) != expected.get(name):
            raise UserError(
                f"{name} is {given.get(name, 'missing')} in it and "
                f"{expected.get(name, 'missing')} in this version's networks: use the version of "
                "raeg-jax that exported it"
            )


def _by_name(trees: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in flatten_dict(trees, sep="/").items()}


def _tree(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return unflatten_dict({name: jnp.asarray(array) for name, array in arrays.items()}, sep="/")


def _split(
    arrays: Mapping[str, np.ndarray], prefixes: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the arrays whose names begin with one of these, and the others."""
    found = {name: array for name, array in arrays.items() if name.startswith(prefixes)}
    return found, {name: array for name, array in arrays.items() if name not in found}
