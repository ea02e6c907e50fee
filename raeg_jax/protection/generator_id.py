"""The id by which protected images know their generator: a hash of what recovery depends on."""

import itertools
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from raeg_jax.config import run_config
from raeg_jax.config.generator_rules import GENERATOR_RULES
from raeg_jax.generator.build import has_patterns
from raeg_jax.networks.weights import PublishedNetwork
from raeg_jax.payload.payload import GENERATOR_ID_SIZE
from raeg_jax.protection import generator_file
from raeg_jax.protection.published_networks import without_sources

# How the names of the learned stage's arrays begin.
LEARNED = ("params/",)
# Name of the array of learned patterns.
PATTERNS = "patterns"
# All of `config.generator`.
SETTINGS = frozenset((*GENERATOR_RULES, "generator.stages", "generator.gradient.views"))
# Settings of `generator.shortcut` that only other patterns have.
_OTHER_PATTERNS: dict[str, tuple[str, ...]] = {
    "waves": ("cell", "cells"),
    "cells": ("period", "cycles", "waves"),
}
_OTHER_PATTERNS["learned"] = (*itertools.chain(*_OTHER_PATTERNS.values()), "colours", "seed")
# Settings of `generator.gradient` that shortcut stages have, too: those of couplings.
_OF_COUPLINGS = ("rounds", "step", "least_step", "bound", "margin", "mask")


def generator_id(
    config: ConfigDict,
    arrays: Mapping[str, np.ndarray],
    published: Mapping[str, PublishedNetwork] = MappingProxyType({}),
) -> bytes:
    """Returns 8 bytes, equal for generators that recover each other's images, else different.

    They are a hash of all that recovery depends on:

    - `config.generator.stages` and `token_planes`;
    - with a learned stage, its arrays and the other settings of `config.generator` but for those of
      `shortcut` and `gradient`;
    - with a shortcut stage, of `config.generator.shortcut` what its pattern has, and of `gradient`
      what couplings have; of learned patterns also their array;
    - with a gradient stage, the names of `config.classifiers.targets` in order, their arrays, and
      all of `config.generator.gradient`: `target_psnr`, `step` and `least_step` give the shifts'
      size, `rounds` is the most that recovery can undo; of published targets also architecture
      and preprocessing, as the latter scales what they see;
    - with a learned stage and others, also `config.loss.target_psnr`: shifts are as large as what
      the stage before leaves.

    Nothing else counts: no image size, data, training, class names or held-out classifiers; nor a
    setting that came later (`run_config.LATER`) and has the value that changes nothing.

    Args:
      config: the whole configuration.
      arrays: float32, by name: `params/...` of the learned stage, `classifiers/NAME/...`; int8
        `patterns`; others may be there.
      published: what published classifiers are; others than the targets may be there.
    """
    stages = config.generator.stages
    counted = {"generator.stages", "generator.token_planes"}
    needed: tuple[str, ...] = ()
    of_gradient, of_shortcut = (
        {name for name in SETTINGS if name.startswith(f"generator.{group}.")}
        for group in ("gradient", "shortcut")
    )
    if "learned" in stages:
        counted |= SETTINGS - of_gradient - of_shortcut
        needed += LEARNED
    if "shortcut" in stages:
        other = _OTHER_PATTERNS[config.generator.shortcut.pattern]
        counted |= of_shortcut - {f"generator.shortcut.{name}" for name in other}
        counted |= {f"generator.gradient.{name}" for name in _OF_COUPLINGS}
    if has_patterns(config.generator):
        needed += (PATTERNS,)
    if "gradient" in stages:
        counted |= of_gradient | {"classifiers.targets"}
        needed += prefixes(config.classifiers.targets)
    if "learned" in stages and len(stages) > 1:
        counted.add("loss.target_psnr")
    settings = run_config.LATER | flatten_dict(run_config.to_json(config), sep=".")
    hashed_settings = {
        name: settings[name]
        for name in counted
        if name not in run_config.LATER or settings[name] != run_config.LATER[name]
    }
    targets = {name: published[name] for name in config.classifiers.targets if name in published}
    if "gradient" in stages and targets:
        hashed_settings["published"] = without_sources(targets)
    hashed = generator_file.digest(
        ["raeg generator 1", hashed_settings],
        {name: array for name, array in arrays.items() if name.startswith(needed)},
    )
    return hashed[:GENERATOR_ID_SIZE]


def prefixes(classifiers: Iterable[str]) -> tuple[str, ...]:
    """How the names of the arrays of classifiers begin."""
    return tuple(f"classifiers/{name}/" for name in classifiers)
