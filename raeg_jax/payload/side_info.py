"""The side information of a generator's stages as the table of numbers that a payload holds."""

import numpy as np

from raeg_jax.generator.chain import Chain, LearnedStage
from raeg_jax.generator.gradient_coupling import GradientCoupling, SideInfo
from raeg_jax.payload.errors import DamagedPayloadError

LABEL = "label"
# Kind of stage -> its side information, and the fields of that. Their order is part of the format.
_FIELDS: dict[type, tuple[type, tuple[str, ...]]] = {
    LearnedStage: (tuple, ()),
    GradientCoupling: (SideInfo, (LABEL, "rounds", "part")),
}


def columns(chain: Chain) -> list[str]:
    """Names of the table's columns, stage by stage."""
    return [name for stage in chain.stages for name in _FIELDS[type(stage)][1]]


def to_table(chain: Chain, side_info: tuple[tuple | SideInfo, ...], count: int) -> np.ndarray:
    """Writes the side information of a batch.

    Args:
      chain: the stages.
      side_info: of each stage, from `Chain.forward` on `count` images.
      count: number of images.

    Returns:
      int64 [count, columns].
    """
    table = [
        np.asarray(getattr(of_stage, name), np.int64)
        for stage, of_stage in zip(chain.stages, side_info, strict=True)
        for name in _FIELDS[type(stage)][1]
    ]
    return np.stack(table, axis=-1) if table else np.zeros((count, 0), np.int64)


def from_table(chain: Chain, table: np.ndarray) -> tuple[tuple | SideInfo, ...]:
    """Undoes `to_table`: the side information for `Chain.inverse`, int32 [count] each.

    Args:
      chain: the stages.
      table: integers [count, columns].
    """
    values = iter(table.astype(np.int32).T)
    fields = [_FIELDS[type(stage)] for stage in chain.stages]
    return tuple(kind(**{name: next(values) for name in names}) for kind, names in fields)


def check_columns(chain: Chain, table: np.ndarray) -> None:
    """Makes sure that a payload's table is one of these stages.

    Args:
      chain: the stages.
      table: integers [tiles, columns].

    Raises:
      DamagedPayloadError: it has another number of columns.
    """
    needed = len(columns(chain))
    if table.shape[1] != needed:
        raise DamagedPayloadError(
            f"the payload has {table.shape[1]} columns of side information, and its generator "
            f"needs {needed}: update raeg-jax, or take an untouched copy of the image"
        )
