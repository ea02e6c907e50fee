"""Stops a suite with an impossible setting before anything is loaded."""

import functools
import operator
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.config.generator_rules import GENERATOR_RULES
from raeg_jax.config.rules import Each, Number, OneOf
from raeg_jax.errors import UserError
from raeg_jax.experiments.pirates import TRAININGS
from raeg_jax.networks.classifiers import CLASSIFIERS

_COUNT, _NATURAL = Number(1, whole=True), Number(0, whole=True)

RULES = {
    "images": _NATURAL,
    "psnrs": Each(GENERATOR_RULES["generator.gradient.target_psnr"]),
    "guesses": _NATURAL,
    "remover_steps": _COUNT,
    "remover_pairs": Each(_NATURAL, least=0),
    "pirates.architectures": Each(OneOf(CLASSIFIERS)),
    "pirates.seeds": _COUNT,
    "pirates.steps": _COUNT,
    "pirates.looks": _COUNT,
    "pirates.images": _NATURAL,
    "pirates.defences": Each(OneOf(DEFENCES), least=0),
    "pirates.trainings": Each(OneOf(TRAININGS), least=0),
    "pirates.shares": Each(Number(0, 1, strict=True), least=0),
}


def check(config: ConfigDict) -> None:
    """Checks `config.suite`.

    Raises:
      UserError: the first impossible setting, with its value and what is allowed.
    """
    check_group(config, "suite", RULES)
    if twice := set(config.suite.pirates.architectures) & set(config.classifiers.targets):
        raise UserError(
            f"config.suite.pirates.architectures has {sorted(twice)[0]!r}, which is a target: a "
            "pirate must be another network than those that were attacked"
        )


def check_group(config: ConfigDict, name: str, rules: Mapping[str, Any]) -> None:
    """Checks the settings of a group.

    Args:
      config: whole.
      name: of the group.
      rules: for its settings.

    Raises:
      UserError: the first impossible one, with its value and what is allowed.
    """
    for path, rule in rules.items():
        value = functools.reduce(operator.getitem, path.split("."), config[name])
        if not rule.accepts(value):
            raise UserError(f"config.{name}.{path}={value!r} is impossible: it must be {rule}")
