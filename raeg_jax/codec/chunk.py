"""A private PNG chunk for a payload that finds no room in the pixels.

The four letters of `raEg` say, by their case, that readers may ignore it (ancillary), that it is
private, and that editors may copy it when they change the picture. It is described in the PNG
specification, third edition, sections 5.3 to 5.4.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

from raeg_jax.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NAME = b"raEg"


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


def join(parts: Iterable[tuple[bytes, bytes | memoryview]]) -> bytes:
    """Undoes `chunks`: returns the bytes of a PNG file.

    Args:
      parts: (four letters, content) of all chunks, from the header to the end mark.
    """
    return b"".join([SIGNATURE, *(_encode(kind, content) for kind, content in parts)])


def _encode(kind: bytes, content: bytes | memoryview) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])
