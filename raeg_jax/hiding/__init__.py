"""Reversible data hiding: a message goes into an image's samples, and both come back exactly."""

from raeg_jax.hiding.embedding import (
    CapacityError,
    ChangedError,
    NotMarkedError,
    capacity,
    embed,
    extract,
)

__all__ = ["CapacityError", "ChangedError", "NotMarkedError", "capacity", "embed", "extract"]
