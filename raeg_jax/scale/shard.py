"""Shards: which share of a source `--shard i/N` works on."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import TypeVar

from raeg_jax.errors import UserError

_TEXT = re.compile(r"(\d+)/(\d+)")
_SUFFIX = re.compile(r"-(\d{4,})-of-(\d{4,})")

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, order=True)
class Shard:
    """One of several shares of a source, of about the same size.

    Attributes:
      number: from 1 to `count`.
      count: number of shares.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def suffix(self) -> str:
        """Tells the files of a shard in an output folder from those of the others."""
        return f"-{self.number:04}-of-{self.count:04}"

    def has(self, name: str) -> bool:
        """Whether a file of a folder is in the share: by its name, so that others move none.

        Args:
          name: relative to the source, '/' between folders.
        """
        # A name that isn't Unicode has its bytes as lone surrogates.
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def among(self, files: Sequence[T]) -> Sequence[T]:
        """Returns the share of a data set's record files: every so-manieth."""
        return files[self.number - 1 :: self.count]


def parse(text: str) -> Shard:
    """Returns the shard of `--shard`.

    Raises:
      UserError: there can be none of that name.
    """
    found = _TEXT.fullmatch(text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"--shard={text} is impossible: give i/N with i from 1 to N, such as 3/16")
    return Shard(int(found[1]), int(found[2]))


def of_suffix(suffix: str) -> Shard | None:
    """Returns the shard whose files have a suffix; None where no shard's have it."""
    found = _SUFFIX.fullmatch(suffix)
    return Shard(int(found[1]), int(found[2])) if found else None
