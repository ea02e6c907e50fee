"""From a configuration, trained parameters and classifiers to the whole generator."""

import math
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.attacks.fixed_guide import FixedGuide
from raeg_jax.attacks.guide import Guide, parse_view
from raeg_jax.errors import UserError
from raeg_jax.image.metrics import mse_of_psnr
from raeg_jax.invertible.chain import Chain, Learned
from raeg_jax.invertible.generator import generator_from_config
from raeg_jax.invertible.gradient_coupling import GradientCoupling
from raeg_jax.networks.folding import fix
from raeg_jax.networks.frozen import FrozenClassifier

# In the order in which they may follow each other.
STAGES = ("learned", "gradient")
# Of the squared distance, for a gradient stage after a learned one that may take all of it.
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
        "gradient": lambda: gradient_stage(config, classifiers),
    }
    return Chain(tuple(make[name]() for name in config.generator.stages))


def gradient_stage(
    config: ConfigDict, classifiers: Mapping[str, tuple[nn.Module, Any]]
) -> GradientCoupling:
    """The gradient coupling of `config.generator.gradient` against the target classifiers.

    After a learned stage its shifts are as large as the distance which that stage leaves to it.
    """
    settings = config.generator.gradient
    max_mse = mse_of_psnr(settings.target_psnr)
    own_mse = max_mse
    if "learned" in config.generator.stages:
        own_mse = max(max_mse - mse_of_psnr(config.loss.target_psnr), _LEAST_SHARE * max_mse)
    targets = {name: classifiers[name] for name in config.classifiers.targets}
    common = {
        "reach": math.sqrt(own_mse),
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
    return GradientCoupling(
        conditioner=conditioner,
        step=max(settings.step * math.sqrt(own_mse), settings.least_step),
        max_mse=max_mse,
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
    """Stops at what is wrong in `config.generator.stages` and `config.generator.gradient`.

    Raises:
      UserError: naming the setting, its value and the way out.
    """
    stages = tuple(settings.stages)
    if stages not in (("learned",), ("gradient",), STAGES):
        raise UserError(
            f"config.generator.stages={stages!r} is impossible: it must be ('learned',), "
            "('gradient',) or ('learned', 'gradient')"
        )
    if stages == STAGES and not generator_from_config(settings).exact:
        raise UserError(
            f"config.generator.coupling={settings.coupling!r} gives fractions, which a gradient "
            "stage after it could not undo: use 'integer', or one stage alone"
        )
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
    if gradient.step * reach > _MOST_STEP:
        raise UserError(
            f"config.generator.gradient.step={gradient.step} at target_psnr={gradient.target_psnr} "
            f"shifts by {gradient.step * reach:.0f}: use at most {_MOST_STEP / reach:.2f}"
        )
    most = int(reach / _LEAST_ATTACK_STEP)
    if gradient.arithmetic == "fixed" and gradient.attack_steps > most:
        raise UserError(
            f"config.generator.gradient.attack_steps={gradient.attack_steps} at target_psnr="
            f"{gradient.target_psnr} makes steps that fixed point rounds away: use at most {most}, "
            "or arithmetic='float'"
        )
