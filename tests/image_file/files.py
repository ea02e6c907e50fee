"""Image files for tests."""

from raeg_jax.codec import chunk


def put_chunk(png: bytes, content: bytes, name: bytes = chunk.NAME) -> bytes:
    """Puts a chunk, by default with a payload, into a PNG, right after its header."""
    header, *others = chunk.chunks(png)
    return chunk.join([header, (name, content), *others])
