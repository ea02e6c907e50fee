"""A private PNG chunk for a payload that finds no room in the pixels.

The four letters of `raEg` say, by their case, that readers may ignore it (ancillary), that it is
private, and that editors may copy it when they change the picture. It is described in the PNG
specification, third edition, sections 5.3 to 5.4.
"""

import struct
import zlib
from collections.abc import Iterator

from raeg_jax.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NAME = b"raEg"
# The specification's limit for one chunk.
MAX_LENGTH = 2**31 - 1


def chunks(png: bytes, name: str = "the PNG") -> Iterator[tuple[bytes, memoryview]]:
    """Walks over the chunks of a PNG file up to its end mark, checking them.

    Args:
      png: the bytes of the file.
      name: of the file, for messages.

    Yields:
      (four letters, content) of one chunk after the other.

    Raises:
      UserError: it ends before its end mark, or a checksum is wrong.
    """
    view = memoryview(png)
    position = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if position + 12 > len(png):
            raise UserError(f"{name} is truncated: copy it again from where it came")
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + 12 + length
        if end > len(png):
            raise UserError(f"{name} is truncated: copy it again from where it came")
        (checksum,) = struct.unpack_from(">I", png, end - 4)
        if zlib.crc32(view[position + 4 : end - 4]) != checksum:
            raise UserError(
                f"{name} is damaged, the checksum of its chunk {kind.decode('latin-1')!r} is "
                "wrong: copy it again from where it came"
            )
        yield kind, view[position + 8 : end - 4]
        position = end


def get_chunk(png: bytes, name: str = "the PNG") -> bytes | None:
    """Returns the payload in a file's `raEg` chunk.

    Args:
      png: the bytes of the file.
      name: of the file, for messages.

    Returns:
      None where there is no such chunk, as in files that aren't PNG.

    Raises:
      UserError: the file is truncated, or a chunk damaged.
    """
    if not png.startswith(SIGNATURE):
        return None
    return next((bytes(content) for kind, content in chunks(png, name) if kind == NAME), None)


def put_chunk(png: bytes, payload: bytes) -> bytes:
    """Puts a payload into a PNG file, in place of one that is there.

    Args:
      png: the bytes of the file.
      payload: at most 2^31 - 1 bytes.

    Returns:
      the bytes of the file with the chunk right after its header; all others as they were.

    Raises:
      UserError: as for `chunks`.
      ValueError: not a PNG, or too long a payload.
    """
    if not png.startswith(SIGNATURE):
        raise ValueError("only a PNG file takes a payload chunk")
    if len(payload) > MAX_LENGTH:
        raise ValueError(f"a chunk holds at most {MAX_LENGTH} bytes, not {len(payload)}")
    parts = [SIGNATURE]
    for kind, content in chunks(png):
        if kind != NAME:
            parts.append(_encode(kind, content))
        if kind == b"IHDR":
            parts.append(_encode(NAME, payload))
    return b"".join(parts)


def _encode(kind: bytes, content: bytes | memoryview) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])
