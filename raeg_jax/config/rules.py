"""Rules that say which values a setting may have: a number, one of some names, text, ..."""

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.errors import UserError


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
class NameOrFile(OneOf):
    """One of the names of a registry, or the name of a file of a kind, without a folder."""

    suffix: str

    def accepts(self, value: Any) -> bool:
        """Whether the value is allowed."""
        if super().accepts(value):
            return True
        is_file = isinstance(value, str) and value.endswith(self.suffix) and value != self.suffix
        return is_file and value.isprintable() and not {"/", "\\"} & set(value)

    def __str__(self):
        return f"{super().__str__()}, or the name of a file NAME{self.suffix} without a folder"


@dataclasses.dataclass(frozen=True)
class Joined:
    """One of the names of a registry, or several with '+' between.

    Attributes:
      names: of the registry.
      first: of another registry, for the first name; () where that is one of `names` too.
    """

    names: Collection[str]
    first: Collection[str] = ()

    def unknown(self, value: str) -> list[str]:
        """The parts of a value that no registry has."""
        first, *others = value.split("+")
        found = [] if first in (self.first or self.names) else [first]
        return found + [name for name in others if name not in self.names]

    def accepts(self, value: Any) -> bool:
        """Whether the value is allowed."""
        return isinstance(value, str) and not self.unknown(value)

    def __str__(self):
        names = ", ".join(self.names)
        if self.first:
            return f"one of {', '.join(self.first)}, followed by any of +({names}) or none"
        return f"one of {names}, or several with + between"


@dataclasses.dataclass(frozen=True)
class OfType:
    """Any value of a type: `str`, `bool` or `tuple`."""

    type: type

    def accepts(self, value: Any) -> bool:
        """Whether the value is allowed."""
        return isinstance(value, self.type)

    def __str__(self):
        return {bool: "True or False", str: "text", tuple: "a tuple"}[self.type]


@dataclasses.dataclass(frozen=True)
class Each:
    """A tuple of `least` entries or more, each of which follows one rule."""

    rule: Number | OneOf | Joined | OfType
    least: int = 1

    def accepts(self, value: Any) -> bool:
        """Whether the value is allowed."""
        return (
            isinstance(value, tuple | list)
            and len(value) >= self.least
            and all(self.rule.accepts(entry) for entry in value)
        )

    def __str__(self):
        count = "one or more entries" if self.least else "any number of entries"
        return f"{count}, each {self.rule}"


@dataclasses.dataclass(frozen=True)
class Interval:
    """A tuple of two numbers, the smaller one first."""

    number: Number

    def accepts(self, value: Any) -> bool:
        """Whether the value is allowed."""
        return Each(self.number).accepts(value) and len(value) == 2 and value[0] <= value[1]

    def __str__(self):
        return f"two entries, smallest first, each {self.number}"


Rule = Number | OneOf | Joined | OfType | Each | Interval

# Common rules.
COUNT, NATURAL = Number(1, whole=True), Number(0, whole=True)
POSITIVE, NONNEGATIVE = Number(0, strict=True), Number(0)
TEXT, SWITCH = OfType(str), OfType(bool)
# In dB. Rounding to 8 bits alone leaves at most 58.9 dB.
PSNR = Number(5, 58)


def check(config: ConfigDict, rules: Mapping[str, Rule]) -> None:
    """Checks the settings that have a rule.

    Args:
      config: the whole configuration.
      rules: by dotted name, such as 'loss.kappa'.

    Raises:
      UserError: the first impossible setting, with its value and what is allowed.
    """
    for name, rule in rules.items():
        value: Any = config
        for part in name.split("."):
            if part not in value:
                raise UserError(f"config.{name} is missing: start the config from configs/base.py")
            value = value[part]
        if not rule.accepts(value):
            plain = tuple(value) if isinstance(value, list) else value
            raise UserError(
                f"config.{name}={plain!r} is impossible: it must be {rule}{_unknown(rule, value)}"
            )


def _unknown(rule: Rule, value: Any) -> str:
    """The end of the message: which of many joined names is unknown."""
    if isinstance(rule, Each) and isinstance(rule.rule, Joined) and not isinstance(value, str):
        names = [entry for entry in value if isinstance(entry, str)]
        for name in itertools.chain.from_iterable(map(rule.rule.unknown, names)):
            return f"; there is no {name!r}"
    return ""
