"""Payloads for tests."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from raeg_jax.payload.key import Key
from raeg_jax.payload.overflow import Overflow
from raeg_jax.payload.payload import MAX_SIDE_INFO, Payload, SourceMode

KEY = Key(bytes(range(32)))
SMALL = Payload(
    nonce=bytes(range(12)),
    generator_id=bytes.fromhex("0123456789abcdef"),
    height=64,
    width=64,
    sha256=bytes(range(100, 132)),
    side_info=np.array([[17, 9, 31, 2]]),
    overflow=Overflow(np.array([100, 900, 1500]), np.array([2, 1, 4])),
)
WITH_AUXILIARY = dataclasses.replace(SMALL, auxiliary=bytes(range(200)))


def equal(one: Payload, other: Payload) -> bool:
    """Whether all fields are the same."""
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(a == b if isinstance(a, int | bytes) else np.array_equal(a, b) for a, b in pairs)


@st.composite
def payloads(draw) -> Payload:
    """Any payload of up to about a hundred tiles."""
    height, width = draw(st.integers(1, 3000)), draw(st.integers(1, 3000))
    tile = draw(st.just(0) | st.integers(max(height, width) // 10 + 1, 4000))
    tiles = -(-height // tile) * -(-width // tile) if tile else 1
    columns = draw(st.integers(0, 6))
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    bound = draw(st.sampled_from([1, 128, 70_000, MAX_SIDE_INFO + 1]))
    count = draw(st.integers(0, min(40, 3 * height * width)))
    ranks = np.sort(seed.choice(3 * height * width, count, replace=False))
    return Payload(
        nonce=draw(st.binary(min_size=12, max_size=12)),
        generator_id=draw(st.binary(min_size=8, max_size=8)),
        height=height,
        width=width,
        sha256=seed.bytes(32),
        tile=tile,
        batch=draw(st.just(0) | st.integers(1, 5000)),
        mode=draw(st.sampled_from(SourceMode)),
        orientation=draw(st.integers(1, 8)),
        side_info=seed.integers(0, bound, (tiles, columns)),
        overflow=Overflow(ranks, seed.geometric(0.3, count)),
        auxiliary=draw(st.just(b"") | st.binary(max_size=300)),
    )
