"""Builds the generator from a configuration, trained parameters and classifiers."""

import itertools
import math
import operator
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.adversarial.distortions import DISTORTIONS
from raeg_jax.errors import UserError
from raeg_jax.exact.folding import fold_classifier
from raeg_jax.generator.chain import Chain, LearnedStage
from raeg_jax.generator.gradient_coupling import Conditioner, GradientCoupling
from raeg_jax.generator.guide import FixedGuide, Guide
from raeg_jax.generator.learned_pattern import LearnedPattern, check_patterns
from raeg_jax.generator.photograph import is_of_photographs
from raeg_jax.generator.photograph_guide import FRAMES, PhotographGuide, View
from raeg_jax.generator.shortcut import Shortcut, count_waves
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.image.metrics import mse_of_psnr
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.networks.layers import own_preprocessing

# In the only order that a chain may have.
STAGES = ("learned", "shortcut", "gradient")
# Stage -> name of the setting of its target PSNR to the original, in decibels.
TARGETS = {
    "learned": "loss.target_psnr",
    "shortcut": "generator.shortcut.target_psnr",
    "gradient": "generator.gradient.target_psnr",
}
# Least share of its squared distance that a stage is given, however much the stages before it use.
_LEAST_SHARE = 0.1


def build_generator(
    config: ConfigDict,
    params: Any,
    classifiers: Mapping[str, tuple[nn.Module, Any]],
    patterns: np.ndarray | None = None,
) -> Chain:
    """Builds the generator of `config.generator.stages`.

    Args:
      config: the whole configuration.
      params: of the learned stage; ignored without one.
      classifiers: (module, variables) by name, including the targets, whose gradients gradient
        stages follow.
      patterns: int8 [K, V, G, G, 3], the learned ones of a shortcut stage; ignored where it has
        none (`has_patterns`).

    Raises:
      UserError: stages or settings that are impossible, see `check_stages`; or patterns that are
        missing or can't be any, see `check_patterns`.
    """
    check_stages(config.generator)
    make = {
        "learned": lambda: LearnedStage(unet_from_config(config.generator), params),
        "shortcut": lambda: shortcut_stage(config, patterns),
        "gradient": lambda: gradient_stage(config, classifiers),
    }
    return Chain(tuple(make[name]() for name in config.generator.stages))


def has_patterns(settings: ConfigDict) -> bool:
    """Whether a generator of `config.generator` has learned patterns."""
    return "shortcut" in settings.stages and settings.shortcut.pattern == "learned"


def needs_labels(settings: ConfigDict) -> bool:
    """Whether a generator of `config.generator` must know the class of each image."""
    return tuple(settings.stages) != ("learned",) or settings.class_planes > 0


def target_psnrs(config: ConfigDict) -> dict[str, float]:
    """The target PSNR of each stage to the original, in decibels, in the order of the stages."""
    stages = config.generator.stages
    return {name: operator.attrgetter(TARGETS[name])(config) for name in stages}


def stages_without_budget(config: ConfigDict) -> list[tuple[str, str]]:
    """Pairs of successive stages of which the first leaves no distortion budget to the second."""
    psnrs = target_psnrs(config)
    return [
        (first, last) for first, last in itertools.pairwise(psnrs) if psnrs[first] <= psnrs[last]
    ]


def check_targets(config: ConfigDict) -> None:
    """Stops if a stage leaves no distortion budget to the one after it.

    Raises:
      UserError: naming both PSNRs.
    """
    psnrs = target_psnrs(config)
    for first, last in stages_without_budget(config):
        raise UserError(
            f"config.{TARGETS[first]}={psnrs[first]} must be above config.{TARGETS[last]}="
            f"{psnrs[last]}: the {first} stage would use up what the {last} stage may change"
        )


def shortcut_stage(config: ConfigDict, patterns: np.ndarray | None = None) -> GradientCoupling:
    """The stage of `config.generator.shortcut`: couplings along a pattern of the class.

    Args:
      config: the whole configuration.
      patterns: int8 [K, V, G, G, 3], the learned ones; ignored where the pattern is another.

    Raises:
      UserError: learned patterns are missing, or can't be any.
    """
    settings = config.generator.shortcut.to_dict()
    if settings["pattern"] == "learned":
        check_patterns(patterns)
        return _coupling(config, "shortcut", LearnedPattern(jnp.asarray(patterns)))
    del settings["target_psnr"]
    lists = {name: tuple(settings[name]) for name in ("cycles", "colours")}
    return _coupling(config, "shortcut", Shortcut(**settings | lists))


def gradient_stage(
    config: ConfigDict, classifiers: Mapping[str, tuple[nn.Module, Any]]
) -> GradientCoupling:
    """The gradient coupling of `config.generator.gradient` against the target classifiers."""
    settings = config.generator.gradient
    targets = {name: classifiers[name] for name in config.classifiers.targets}
    reach = math.sqrt(_mse_budget(config, "gradient"))
    if sees_photographs(settings):
        return _coupling(config, "gradient", _photograph_guide(settings, targets, reach))
    common = {
        "reach": reach,
        "steps": settings.attack_steps,
        "loss": settings.loss,
        "views": tuple(parse_view(view) for view in settings.views),
        "smoothing": settings.smoothing,
        "kappa": settings.kappa,
        "others": settings.others,
    }
    if settings.arithmetic == "fixed":
        return _coupling(config, "gradient", FixedGuide(_folded(targets), **common))
    guide = Guide(tuple(FrozenClassifier(*pair) for pair in targets.values()), **common)
    return _coupling(config, "gradient", guide)


def _folded(targets):
    return tuple(fold_classifier(name, *pair) for name, pair in targets.items())


def sees_photographs(gradient: ConfigDict) -> bool:
    """Whether a gradient stage of these settings sees whole photographs, and not tiles."""
    return any(View.parse(view) for view in gradient.views)


def _photograph_guide(settings, targets, reach):
    for name, (module, _) in targets.items():
        if own_preprocessing(module) is None:
            raise UserError(
                f"config.generator.gradient.views={tuple(settings.views)!r} are of photographs, "
                f"which the target {name}, with classes of the run, doesn't see whole: use "
                "published targets without heads, or views of tiles, such as 'identity'"
            )
    return PhotographGuide(
        _folded(targets),
        reach,
        steps=settings.attack_steps,
        others=settings.others,
        momentum=settings.momentum,
        views=tuple(view for text in settings.views if (view := View.parse(text))),
    )


def with_psnr(chain: Chain, config: ConfigDict, psnr: float) -> Chain:
    """A generator with another target PSNR of its last stage, which must see photographs.

    Args:
      chain: of `config`.
      config: the whole configuration.
      psnr: in decibels.

    Raises:
      UserError: the last stage sees tiles, or an impossible PSNR.
    """
    *others, last = chain.stages
    if not is_of_photographs(last):
        raise UserError(
            f"psnr={psnr:g} can't be chosen for this generator, which has a PSNR of its own: leave "
            "it out, or use a generator whose gradient stage sees photographs"
        )
    with config.unlocked():
        config = config.copy_and_resolve_references()
        config.generator.gradient.target_psnr = float(psnr)
    check_stages(config.generator)
    check_targets(config)
    guide = last.conditioner.replace(reach=math.sqrt(_mse_budget(config, "gradient")))
    return Chain((*others, _coupling(config, "gradient", guide)))


def _mse_budget(config: ConfigDict, name: str) -> float:
    """The mean squared error of a stage's target that the stages before it leave to the stage."""
    psnrs = target_psnrs(config)
    before = list(psnrs)[: list(psnrs).index(name)]
    target = mse_of_psnr(psnrs[name])
    used = mse_of_psnr(psnrs[before[-1]]) if before else 0.0
    return max(target - used, _LEAST_SHARE * target)


def _coupling(config: ConfigDict, name: str, conditioner: Conditioner) -> GradientCoupling:
    """The rounds of a stage, with shifts as large as its budget."""
    settings = config.generator.gradient
    return GradientCoupling(
        conditioner=conditioner,
        step=max(settings.step * math.sqrt(_mse_budget(config, name)), settings.least_step),
        max_mse=mse_of_psnr(target_psnrs(config)[name]),
        rounds=settings.rounds,
        bound=settings.bound,
        margin=settings.margin,
        mask=settings.mask,
        token_planes=config.generator.token_planes,
    )


# In pixel units: longer shifts could overflow 32 bits.
_MOST_STEP = 200
# Of reach / steps, in pixel units: steps, 2.5 times as long, must not be shorter than a sixteenth.
_LEAST_ATTACK_STEP = 1 / 40


def check_stages(settings: ConfigDict) -> None:
    """Checks `stages`, `shortcut` and `gradient` of `config.generator`.

    Raises:
      UserError: names the wrong setting, its value and the way out.
    """
    stages, gradient = tuple(settings.stages), settings.gradient
    if not stages or stages != tuple(name for name in STAGES if name in stages):
        raise UserError(
            f"config.generator.stages={stages!r} is impossible: it must be one or more of "
            f"{STAGES}, in this order"
        )
    if "learned" in stages[:-1] and not unet_from_config(settings).exact:
        raise UserError(
            f"config.generator.coupling={settings.coupling!r} gives fractions, which a "
            f"{stages[1]} stage after it could not undo: use 'integer', or one stage alone"
        )
    if "shortcut" in stages:
        _check_shortcut(settings.shortcut)
    for name in ("shortcut", "gradient"):
        if name in stages:
            psnr = settings[name].target_psnr
            reach = math.sqrt(mse_of_psnr(psnr))
            if gradient.step * reach > _MOST_STEP:
                raise UserError(
                    f"config.generator.gradient.step={gradient.step} at config.generator.{name}."
                    f"target_psnr={psnr} shifts by {gradient.step * reach:.0f}: use at most "
                    f"{_MOST_STEP / reach:.2f}"
                )
    if not gradient.views:
        raise UserError("config.generator.gradient.views is empty: write ('identity',)")
    if sees_photographs(gradient):
        _check_photographs(gradient)
    else:
        for view in gradient.views:
            parse_view(view)
        if gradient.momentum:
            raise UserError(
                f"config.generator.gradient.momentum={gradient.momentum} goes with views of "
                f"photographs ({', '.join(FRAMES)}): write 0.0, or such views"
            )
    if gradient.attack_steps % len(gradient.views):
        raise UserError(
            f"config.generator.gradient.attack_steps={gradient.attack_steps} must be a multiple of "
            f"the number of views, {len(gradient.views)}: each has as many steps"
        )
    if gradient.arithmetic == "fixed" and gradient.loss == "features":
        raise UserError(
            "config.generator.gradient.arithmetic='fixed' has no loss='features', whose cosines "
            "need roots and quotients of floating point: use 'untargeted', or arithmetic='float'"
        )
    if gradient.loss == "features" and gradient.others > 1:
        raise UserError(
            f"config.generator.gradient.others={gradient.others} goes with margins to other "
            "classes, and loss='features' has no classes: write 1, or use 'untargeted'"
        )
    reach = math.sqrt(mse_of_psnr(gradient.target_psnr))
    most = int(reach / _LEAST_ATTACK_STEP)
    if gradient.arithmetic == "fixed" and gradient.attack_steps > most:
        raise UserError(
            f"config.generator.gradient.attack_steps={gradient.attack_steps} at target_psnr="
            f"{gradient.target_psnr} makes steps that fixed point rounds away: use at most {most}, "
            "a lower PSNR, or arithmetic='float'"
        )


def _check_photographs(gradient: ConfigDict) -> None:
    for view in gradient.views:
        if View.parse(view) is None:
            raise UserError(
                f"config.generator.gradient.views has {view!r} beside views of photographs: these "
                f"are {', '.join(FRAMES)}, each with +jpeg:<1 to 100> or without"
            )
    needed = {"arithmetic": "fixed", "mask": "diagonal", "loss": "untargeted", "smoothing": 0.0}
    for name, value in needed.items():
        if gradient[name] != value:
            raise UserError(
                f"config.generator.gradient.{name}={gradient[name]!r} doesn't go with views of "
                f"photographs: write {value!r}, or views of tiles, such as 'identity'"
            )


def parse_view(text: str) -> tuple[str, float]:
    """Reads a view: 'name' or 'name:strength' of a distortion that has fixed point, too.

    Returns:
      The name and the strength, an int where strengths are whole numbers.

    Raises:
      UserError: an unknown name, or an impossible strength.
    """
    fixed = {name: one for name, one in DISTORTIONS.items() if one.fixed}
    plain = [name for name, one in fixed.items() if not one.limits]
    if text in plain:
        return text, 0.0
    views = {name: one.limits for name, one in fixed.items() if one.limits}
    name, _, number = str(text).partition(":")
    try:
        low, high = views[name]
        strength = int(number) if DISTORTIONS[name].is_whole else float(number)
        if low <= strength <= high:
            return name, strength
    except (KeyError, ValueError):
        pass
    raise UserError(
        f"view {text!r} is unknown: write {', '.join(plain)}, or one of "
        + ", ".join(f"{name}:<{low:g} to {high:g}>" for name, (low, high) in views.items())
    )


def _check_shortcut(settings: ConfigDict) -> None:
    if settings.pattern == "learned":
        return
    cycles, colours = tuple(settings.cycles), tuple(settings.colours)
    if len(set(colours)) < len(colours):
        raise UserError(f"config.generator.shortcut.colours={colours!r} names a colour twice")
    if settings.pattern == "cells":
        return
    if len(cycles) != 2 or not cycles[0] <= cycles[1] <= settings.period // 2:
        raise UserError(
            f"config.generator.shortcut.cycles={cycles!r} is impossible: write the least and the "
            f"most cycles in a period of {settings.period} pixels, at most {settings.period // 2}"
        )
    if settings.waves > (count := count_waves(settings.period, cycles, colours)):
        raise UserError(
            f"config.generator.shortcut.waves={settings.waves} is more than the {count} waves that "
            f"cycles={cycles!r} and colours={colours!r} allow: use fewer, or widen these"
        )
