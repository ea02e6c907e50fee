"""All experiments, and the settings that they have."""

import functools
import operator
from collections.abc import Iterable

from ml_collections import ConfigDict

from raeg_jax.config.rules import COUNT, NATURAL, PSNR, Number, OneOf, Rule, check
from raeg_jax.errors import UserError
from raeg_jax.experiments import (
    accuracy,
    defences,
    distortion,
    pirates,
    poisons,
    quality,
    token,
    transfer,
    variants,
)
from raeg_jax.experiments.experiment import Experiment
from raeg_jax.methods.attack import ATTACKS
from raeg_jax.methods.recovery import TRANSFORMS

# In the order in which they are done: the longest last.
EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        quality, accuracy, defences, distortion, transfer, token, variants, pirates, poisons,
    )
}  # fmt: skip

# Those that several experiments share, and those of methods.
_SHARED: dict[str, Rule] = {
    "suite.images": NATURAL,
    "comparison.psnr": PSNR,
    "comparison.images": NATURAL,
    "comparison.attack": OneOf(ATTACKS),
    "comparison.steps": COUNT,
    "comparison.loss": OneOf(("untargeted", "features")),
    "comparison.momentum": Number(0, 1),
    "comparison.crop_share": Number(0.01, 1),
    **{
        f"comparison.{method}.{name}": rule
        for method, transform in TRANSFORMS.items()
        for name, rule in transform.rules.items()
    },
}
SETTINGS: dict[str, Rule] = functools.reduce(
    operator.or_, (dict(each.settings) for each in EXPERIMENTS.values()), _SHARED
)


def check_settings(config: ConfigDict, experiments: Iterable[Experiment]) -> None:
    """Checks the settings of all experiments, and of some whether they are possible together.

    Args:
      config: the whole configuration.
      experiments: these.

    Raises:
      UserError: the first impossible one, with its value and what is allowed.
    """
    check(config, SETTINGS)
    for experiment in experiments:
        if experiment.check is not None:
            experiment.check(config)


def choose(names: str, compared: bool) -> list[Experiment]:
    """The experiments that `--suite` names.

    Args:
      names: with commas between; 'full' for all that belong to it.
      compared: only those that take `--method`.

    Raises:
      UserError: an unknown one.
    """
    known = {name: each for name, each in EXPERIMENTS.items() if each.compares or not compared}
    chosen = names.split(",")
    if unknown := [name for name in chosen if name not in (*known, "full")]:
        raise UserError(
            f"--suite={names}: {'with --method ' if compared else ''}there is no experiment "
            f"{unknown[0]!r}; choose 'full' or some of {', '.join(known)}"
        )
    if "full" in chosen:
        chosen = [name for name, each in known.items() if each.in_full or name in chosen]
    return [known[name] for name in dict.fromkeys(chosen)]
