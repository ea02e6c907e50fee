"""What a setting may be, and which values those of the generator may have."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any

from raeg_jax.attacks.guide import LOSSES
from raeg_jax.attacks.patterns import COLOURS
from raeg_jax.attacks.shortcut import PATTERNS
from raeg_jax.invertible.conditioner import CONDITIONERS
from raeg_jax.invertible.coupling import COUPLINGS
from raeg_jax.invertible.generator import DOWNSAMPLINGS
from raeg_jax.invertible.masks import MASKS
from raeg_jax.invertible.mixing import MIXINGS


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`.

    Attributes:
      strict: `low` and `high` themselves are not allowed.
      whole: only integers are.
    """

    low: float
    high: float = math.inf
    strict: bool = False
    whole: bool = False

    def accepts(self, value: Any) -> bool:
        """Whether the value is allowed."""
        kind = int if self.whole else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
            return False
        if self.strict:
            return self.low < value < self.high
        return self.low <= value <= self.high

    def __str__(self):
        kind = "a whole number" if self.whole else "a number"
        if math.isinf(self.high):
            return f"{kind} {'above' if self.strict else 'of at least'} {self.low}"
        return f"{kind} {'strictly ' if self.strict else ''}between {self.low} and {self.high}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of the names of a registry."""

    names: Collection[str]

    def accepts(self, value: Any) -> bool:
        """Whether the value is allowed."""
        return isinstance(value, str) and value in self.names

    def __str__(self):
        return f"one of {', '.join(self.names)}"


@dataclasses.dataclass(frozen=True)
class Each:
    """A tuple whose entries all follow one rule; `least` entries or more."""

    rule: Number | OneOf
    least: int = 1

    def accepts(self, value: Any) -> bool:
        """Whether the value is allowed."""
        return (
            isinstance(value, tuple | list)
            and len(value) >= self.least
            and all(self.rule.accepts(entry) for entry in value)
        )

    def __str__(self):
        some = "one or more entries, each " if self.least else "any number of entries, each "
        return some + str(self.rule)


_COUNT, _RATE, _WEIGHT = Number(1, whole=True), Number(0, strict=True), Number(0)

# Apart from the other rules: generators also come in files, from anyone.
GENERATOR_RULES: dict[str, Number | OneOf | Each] = {
    "generator.coupling": OneOf(COUPLINGS),
    "generator.conditioner": OneOf(CONDITIONERS),
    "generator.mixing": OneOf(MIXINGS),
    "generator.downsampling": OneOf(DOWNSAMPLINGS),
    "generator.blocks": Each(_COUNT),
    "generator.widths": Each(_COUNT),
    "generator.depth": _COUNT,
    "generator.clamp": _RATE,
    "generator.token_planes": Number(0, 16, whole=True),
    "generator.shortcut.target_psnr": Number(5, 58),
    "generator.shortcut.pattern": OneOf(PATTERNS),
    "generator.shortcut.period": Number(2, 32, whole=True),
    "generator.shortcut.cycles": Each(_COUNT),
    "generator.shortcut.colours": Each(OneOf(COLOURS)),
    "generator.shortcut.waves": Number(1, 16, whole=True),
    "generator.shortcut.cell": Number(1, 32, whole=True),
    "generator.shortcut.cells": Number(1, 8, whole=True),
    "generator.shortcut.seed": Number(0, 2**31 - 1, whole=True),
    "generator.gradient.arithmetic": OneOf(("fixed", "float")),
    "generator.gradient.target_psnr": Number(5, 58),
    "generator.gradient.rounds": Number(1, 1000, whole=True),
    "generator.gradient.attack_steps": Number(1, 1000, whole=True),
    "generator.gradient.step": _RATE,
    "generator.gradient.least_step": Number(0, 64),
    "generator.gradient.bound": Number(1, 255, whole=True),
    "generator.gradient.margin": Number(0, 127, whole=True),
    "generator.gradient.loss": OneOf(LOSSES),
    "generator.gradient.kappa": _WEIGHT,
    "generator.gradient.mask": OneOf(MASKS),
    "generator.gradient.smoothing": Number(0, 16),
}
