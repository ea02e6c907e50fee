"""Payloads for tests."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from raeg_jax.codec import chunk
from raeg_jax.codec.key import Key
from raeg_jax.codec.overflow import Overflow
from raeg_jax.codec.payload import MAX_CODE, Payload, SourceMode

KEY = Key(bytes(range(32)))
SMALL = Payload(
    nonce=bytes(range(12)),
    generator_id=bytes.fromhex("0123456789abcdef"),
    height=64,
    width=64,
    sha256=bytes(range(100, 132)),
    codes=np.array([[17, 9, 31, 2]]),
    overflow=Overflow(np.array([100, 900, 1500]), np.array([2, 1, 4])),
)

WITH_AUXILIARY = dataclasses.replace(SMALL, auxiliary=bytes(range(200)))


def put_chunk(png: bytes, content: bytes, name: bytes = chunk.NAME) -> bytes:
    """Puts a chunk, by default with a payload, into a PNG, right after its header."""
    header, *others = chunk.chunks(png)
    return chunk.join([header, (name, content), *others])


def equal(one: Payload, other: Payload) -> bool:
    """Whether all fields are the same."""
    pairs = zip(_plain(one).values(), _plain(other).values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _plain(payload):
    fields = {f.name: getattr(payload, f.name) for f in dataclasses.fields(payload)}
    ranks, amounts = fields.pop("overflow")
    return fields | {"ranks": ranks, "amounts": amounts}


@st.composite
def payloads(draw) -> Payload:
    """Any payload of up to about a hundred tiles."""
    height, width = draw(st.integers(1, 3000)), draw(st.integers(1, 3000))
    tile = draw(st.just(0) | st.integers(max(height, width) // 10 + 1, 4000))
    tiles = -(-height // tile) * -(-width // tile) if tile else 1
    columns = draw(st.integers(0, 6))
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    bound = draw(st.sampled_from([1, 128, 70_000, MAX_CODE + 1]))
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
        codes=seed.integers(0, bound, (tiles, columns)),
        overflow=Overflow(ranks, seed.geometric(0.3, count)),
        auxiliary=draw(st.just(b"") | st.binary(max_size=300)),
    )
