"""By what payloads tell the compared methods from one another and from generators; no JAX."""

import hashlib

from raeg_jax.payload.payload import GENERATOR_ID_SIZE

NAMES = ("rae", "rit")


def method_id(name: str) -> bytes:
    """What a payload has in place of a generator's id: 8 bytes.

    All settings that recovery depends on are in the auxiliary data.
    """
    return hashlib.sha256(f"raeg baseline {name} 1".encode()).digest()[:GENERATOR_ID_SIZE]


def name_of(generator_id: bytes) -> str | None:
    """The method that has this id, if one has."""
    return next((name for name in NAMES if method_id(name) == generator_id), None)
