"""From a configuration, trained parameters and classifiers to the whole generator."""

import itertools
import math
import operator
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.attacks.fixed_guide import FixedGuide
from raeg_jax.attacks.guide import Guide, parse_view
from raeg_jax.attacks.patterns import count_waves
from raeg_jax.attacks.shortcut import Shortcut
from raeg_jax.errors import UserError
from raeg_jax.image.metrics import mse_of_psnr
from raeg_jax.invertible.chain import Chain, Learned
from raeg_jax.invertible.generator import generator_from_config
from raeg_jax.invertible.gradient_coupling import GradientCoupling
from raeg_jax.networks.folding import fix
from raeg_jax.networks.frozen import FrozenClassifier

# In the order in which they may follow each other.
STAGES = ("learned", "shortcut", "gradient")
# Stage -> setting of the PSNR to the original that it aims at, in decibels.
TARGETS = {
    "learned": "loss.target_psnr",
    "shortcut": "generator.shortcut.target_psnr",
    "gradient": "generator.gradient.target_psnr",
}
# Of the squared distance, for a stage after others that may take all of it.
_LEAST_SHARE = 0.1


def assemble(
    config: ConfigDict, params: Any, classifiers: Mapping[str, tuple[nn.Module, Any]]
) -> Chain:
    """Builds the generator of `config.generator.stages`.

    Args:
      config: the whole configuration.
      params: of the learned stage; not used where there is none.
      classifiers: (module, variables) by name, of the targets at least: gradient couplings follow
        their gradients.

    Raises:
      UserError: stages or settings that are impossible; see `check_stages`.
    """
    check_stages(config.generator)
    make = {
        "learned": lambda: Learned(generator_from_config(config.generator), params),
        "shortcut": lambda: shortcut_stage(config),
        "gradient": lambda: gradient_stage(config, classifiers),
    }
    return Chain(tuple(make[name]() for name in config.generator.stages))


def target_psnrs(config: ConfigDict) -> dict[str, float]:
    """The PSNR to the original that each stage aims at, in decibels, in the order of the stages."""
    return {name: operator.attrgetter(TARGETS[name])(config) for name in config.generator.stages}


def crowded(config: ConfigDict) -> list[tuple[str, str]]:
    """Neighbouring stages of which the first leaves the second no distance."""
    psnrs = target_psnrs(config)
    return [
        (first, last) for first, last in itertools.pairwise(psnrs) if psnrs[first] <= psnrs[last]
    ]


def check_targets(config: ConfigDict) -> None:
    """Stops if a stage leaves no distance to the one after it.

    Raises:
      UserError: naming both PSNRs.
    """
    psnrs = target_psnrs(config)
    for first, last in crowded(config):
        raise UserError(
            f"config.{TARGETS[first]}={psnrs[first]} must be above config.{TARGETS[last]}="
            f"{psnrs[last]}: the {first} stage would use up what the {last} stage may change"
        )


def shortcut_stage(config: ConfigDict) -> GradientCoupling:
    """The stage of `config.generator.shortcut`: couplings that a pattern of the class guides."""
    settings = config.generator.shortcut
    conditioner = Shortcut(
        settings.pattern,
        settings.period,
        tuple(settings.cycles),
        settings.waves,
        settings.cell,
        settings.cells,
        tuple(settings.colours),
        settings.seed,
    )
    return _coupling(config, "shortcut", conditioner)


def gradient_stage(
    config: ConfigDict, classifiers: Mapping[str, tuple[nn.Module, Any]]
) -> GradientCoupling:
    """The gradient coupling of `config.generator.gradient` against the target classifiers."""
    settings = config.generator.gradient
    targets = {name: classifiers[name] for name in config.classifiers.targets}
    common = {
        "reach": math.sqrt(_own_mse(config, "gradient")),
        "steps": settings.attack_steps,
        "loss": settings.loss,
        "kappa": settings.kappa,
    }
    if settings.arithmetic == "fixed":
        fixed = tuple(fix(name, *pair) for name, pair in targets.items())
        conditioner = FixedGuide(fixed, **common)
    else:
        conditioner = Guide(
            tuple(FrozenClassifier(*pair) for pair in targets.values()),
            views=tuple(parse_view(view) for view in settings.views),
            smoothing=settings.smoothing,
            **common,
        )
    return _coupling(config, "gradient", conditioner)


def _own_mse(config: ConfigDict, name: str) -> float:
    """What the stages before leave a stage of the squared distance that it may go."""
    psnrs = target_psnrs(config)
    before = list(psnrs)[: list(psnrs).index(name)]
    most = mse_of_psnr(psnrs[name])
    taken = mse_of_psnr(psnrs[before[-1]]) if before else 0.0
    return max(most - taken, _LEAST_SHARE * most)


def _coupling(config: ConfigDict, name: str, conditioner: Any) -> GradientCoupling:
    """The rounds of a stage; its shifts are as large as the distance that is left to it."""
    settings = config.generator.gradient
    return GradientCoupling(
        conditioner=conditioner,
        step=max(settings.step * math.sqrt(_own_mse(config, name)), settings.least_step),
        max_mse=mse_of_psnr(target_psnrs(config)[name]),
        rounds=settings.rounds,
        bound=settings.bound,
        margin=settings.margin,
        mask=settings.mask,
        token_planes=config.generator.token_planes,
    )


# In pixel units: longer shifts could overflow 32 bits, and with less of an attack's reach for each
# of its steps they would be below a sixteenth.
_MOST_STEP = 200
_LEAST_ATTACK_STEP = 1 / 40


def check_stages(settings: ConfigDict) -> None:
    """Stops at what is wrong in `config.generator`: its stages, `shortcut` and `gradient`.

    Raises:
      UserError: naming the setting, its value and the way out.
    """
    stages = tuple(settings.stages)
    if not stages or stages != tuple(name for name in STAGES if name in stages):
        raise UserError(
            f"config.generator.stages={stages!r} is impossible: it must be one or more of "
            f"{STAGES}, in this order"
        )
    if "learned" in stages[:-1] and not generator_from_config(settings).exact:
        raise UserError(
            f"config.generator.coupling={settings.coupling!r} gives fractions, which a "
            f"{stages[1]} stage after it could not undo: use 'integer', or one stage alone"
        )
    if "shortcut" in stages:
        _check_shortcut(settings.shortcut)
    for name in ("shortcut", "gradient"):
        if name in stages:
            _check_step(settings.gradient.step, name, settings[name].target_psnr)
    gradient = settings.gradient
    if not gradient.views:
        raise UserError("config.generator.gradient.views is empty: write ('identity',)")
    for view in gradient.views:
        parse_view(view)
    if gradient.attack_steps % len(gradient.views):
        raise UserError(
            f"config.generator.gradient.attack_steps={gradient.attack_steps} must be a multiple of "
            f"the number of views, {len(gradient.views)}: each has as many steps"
        )
    views = tuple(gradient.views)
    if gradient.arithmetic == "fixed" and (views != ("identity",) or gradient.smoothing):
        raise UserError(
            f"config.generator.gradient.arithmetic='fixed' knows no views={views!r} or smoothing="
            f"{gradient.smoothing}: write ('identity',) and 0.0, or use arithmetic='float'"
        )
    reach = math.sqrt(mse_of_psnr(gradient.target_psnr))
    most = int(reach / _LEAST_ATTACK_STEP)
    if gradient.arithmetic == "fixed" and gradient.attack_steps > most:
        raise UserError(
            f"config.generator.gradient.attack_steps={gradient.attack_steps} at target_psnr="
            f"{gradient.target_psnr} makes steps that fixed point rounds away: use at most {most}, "
            "or arithmetic='float'"
        )


def _check_step(step: float, name: str, psnr: float) -> None:
    reach = math.sqrt(mse_of_psnr(psnr))
    if step * reach > _MOST_STEP:
        raise UserError(
            f"config.generator.gradient.step={step} at config.generator.{name}.target_psnr={psnr} "
            f"shifts by {step * reach:.0f}: use at most {_MOST_STEP / reach:.2f}"
        )


def _check_shortcut(settings: ConfigDict) -> None:
    cycles, colours = tuple(settings.cycles), tuple(settings.colours)
    if len(set(colours)) < len(colours):
        raise UserError(f"config.generator.shortcut.colours={colours!r} names one twice")
    if settings.pattern == "cells":
        return
    if len(cycles) != 2 or not cycles[0] <= cycles[1] <= settings.period // 2:
        raise UserError(
            f"config.generator.shortcut.cycles={cycles!r} is impossible: write the least and the "
            f"most cycles in a period of {settings.period} pixels, at most {settings.period // 2}"
        )
    if settings.waves > (there := count_waves(settings.period, cycles, colours)):
        raise UserError(
            f"config.generator.shortcut.waves={settings.waves} is more than the {there} waves that "
            f"cycles={cycles!r} and colours={colours!r} allow: use fewer, or widen these"
        )
