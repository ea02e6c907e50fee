"""Which values the settings of a generator may have; generator files, from anyone, follow them.

Files of version 0.1.0 lack settings that came later: each of these has an entry in
`run_config.LATER` too, with the value that changes nothing.
"""

from raeg_jax.config import rules
from raeg_jax.generator.conditioner import CONDITIONERS
from raeg_jax.generator.coupling import CLAMPINGS, COUPLINGS
from raeg_jax.generator.guide import GUIDE_LOSSES
from raeg_jax.generator.masking import MASKS
from raeg_jax.generator.mixing import MIXINGS
from raeg_jax.generator.shortcut import COLOURS, PATTERNS
from raeg_jax.generator.unet import DOWNSAMPLINGS

# `generator.stages` and `generator.gradient.views` have checks of their own (`check_stages`).
GENERATOR_RULES: dict[str, rules.Rule] = {
    "generator.coupling": rules.OneOf(COUPLINGS),
    "generator.conditioner": rules.OneOf(CONDITIONERS),
    "generator.mixing": rules.OneOf(MIXINGS),
    "generator.downsampling": rules.OneOf(DOWNSAMPLINGS),
    "generator.blocks": rules.Each(rules.COUNT),
    "generator.widths": rules.Each(rules.COUNT),
    "generator.depth": rules.COUNT,
    "generator.clamp": rules.POSITIVE,
    "generator.clamping": rules.OneOf(CLAMPINGS),
    "generator.token_planes": rules.Number(0, 16, whole=True),
    "generator.class_planes": rules.Number(0, 16, whole=True),
    "generator.shortcut.target_psnr": rules.PSNR,
    "generator.shortcut.pattern": rules.OneOf((*PATTERNS, "learned")),
    "generator.shortcut.period": rules.Number(2, 32, whole=True),
    "generator.shortcut.cycles": rules.Each(rules.COUNT),
    "generator.shortcut.colours": rules.Each(rules.OneOf(COLOURS)),
    "generator.shortcut.waves": rules.Number(1, 16, whole=True),
    "generator.shortcut.cell": rules.Number(1, 32, whole=True),
    "generator.shortcut.cells": rules.Number(1, 8, whole=True),
    "generator.shortcut.seed": rules.Number(0, 2**31 - 1, whole=True),
    "generator.gradient.arithmetic": rules.OneOf(("fixed", "float")),
    "generator.gradient.target_psnr": rules.PSNR,
    "generator.gradient.rounds": rules.Number(1, 1000, whole=True),
    "generator.gradient.attack_steps": rules.Number(1, 1000, whole=True),
    "generator.gradient.step": rules.POSITIVE,
    "generator.gradient.least_step": rules.Number(0, 64),
    "generator.gradient.bound": rules.Number(1, 255, whole=True),
    "generator.gradient.margin": rules.Number(0, 127, whole=True),
    "generator.gradient.loss": rules.OneOf(GUIDE_LOSSES),
    "generator.gradient.kappa": rules.NONNEGATIVE,
    "generator.gradient.others": rules.COUNT,
    "generator.gradient.mask": rules.OneOf(MASKS),
    "generator.gradient.momentum": rules.Number(0, 0.99),
    "generator.gradient.smoothing": rules.Number(0, 16),
}
