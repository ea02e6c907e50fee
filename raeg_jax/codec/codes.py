"""What a generator's stages leave for recovery, as the table of numbers that a payload holds."""

from typing import Any

import numpy as np

from raeg_jax.codec.errors import DamagedPayloadError
from raeg_jax.invertible.chain import Chain, Learned
from raeg_jax.invertible.gradient_coupling import Code, GradientCoupling

LABEL = "label"
# Kind of stage -> what it leaves, and the fields of that. Their order is part of the format.
_CODES: dict[type, tuple[type, tuple[str, ...]]] = {
    Learned: (tuple, ()),
    GradientCoupling: (Code, (LABEL, "rounds", "part")),
}


def columns(chain: Chain) -> list[str]:
    """Names of the table's columns, stage by stage."""
    return [name for stage in chain.stages for name in _CODES[type(stage)][1]]


def to_table(chain: Chain, code: tuple[Any, ...], count: int) -> np.ndarray:
    """Writes what the stages left.

    Args:
      chain: the stages.
      code: of `Chain.forward` on `count` images.
      count: number of images.

    Returns:
      int64 [count, columns].
    """
    found = [
        np.asarray(getattr(own, name), np.int64)
        for stage, own in zip(chain.stages, code, strict=True)
        for name in _CODES[type(stage)][1]
    ]
    return np.stack(found, axis=-1) if found else np.zeros((count, 0), np.int64)


def from_table(chain: Chain, table: np.ndarray) -> tuple[Any, ...]:
    """Undoes `to_table`: the code for `Chain.inverse`, int32 [count] each.

    Args:
      chain: the stages.
      table: integers [count, columns].
    """
    left = iter(table.astype(np.int32).T)
    kinds = [_CODES[type(stage)] for stage in chain.stages]
    return tuple(kind(**{name: next(left) for name in names}) for kind, names in kinds)


def check_columns(chain: Chain, table: np.ndarray) -> None:
    """Makes sure that a payload's table is one of these stages.

    Raises:
      DamagedPayloadError: it has another number of columns.
    """
    if table.shape[1] != len(columns(chain)):
        raise DamagedPayloadError(
            f"the payload has {table.shape[1]} code columns, and its generator needs "
            f"{len(columns(chain))}: update raeg-jax, or take an untouched copy of the image"
        )
