"""Stops a comparison with an impossible setting before anything is loaded."""

from ml_collections import ConfigDict

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.config.generator_rules import GENERATOR_RULES
from raeg_jax.config.rules import Each, Number, OneOf
from raeg_jax.errors import UserError
from raeg_jax.experiments.settings import check_group
from raeg_jax.methods.attack import ATTACKS
from raeg_jax.methods.registry import TITLES

_COUNT, _NATURAL, _BYTE = Number(1, whole=True), Number(0, whole=True), Number(0, 255, whole=True)
_PSNR = GENERATOR_RULES["generator.gradient.target_psnr"]
_SIDES = Each(Number(1, 255, whole=True))

RULES = {
    "psnr": _PSNR,
    "images": _NATURAL,
    "psnrs": Each(_PSNR, least=0),
    "curve_images": _NATURAL,
    "seeds": _COUNT,
    "attack": OneOf(ATTACKS),
    "steps": _COUNT,
    "distortions": Each(OneOf(DEFENCES), least=0),
    "rae.sides": _SIDES,
    "rit.sides": _SIDES,
    "rit.classes": Number(1, 255, whole=True),
    "rit.quantum": Number(1, 255, whole=True),
    "rit.limit": _BYTE,
    "rit.smooth": _BYTE,
}


def check(config: ConfigDict) -> None:
    """Checks `config.comparison`.

    Raises:
      UserError: the first impossible setting, with its value and what is allowed.
    """
    check_group(config, "comparison", RULES)


def choose(names: str) -> tuple[str, ...]:
    """The methods that a flag names, with commas between.

    Raises:
      UserError: an unknown one.
    """
    chosen = tuple(dict.fromkeys(names.split(",")))
    if unknown := [name for name in chosen if name not in TITLES]:
        raise UserError(
            f"--method={names}: there is no method {unknown[0]!r}; choose some of "
            f"{', '.join(TITLES)}"
        )
    return chosen
