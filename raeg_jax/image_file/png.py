"""Chunks of PNG files (PNG specification, third edition, sections 5.3, 5.4 and 11.3).

`raEg` is a private chunk of ours, for a payload that doesn't fit into the pixels. Its four letters
say, by their case, that readers may ignore it (ancillary), that it is private, and that editors may
copy it when they change the image.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

from PIL.PngImagePlugin import MAX_TEXT_CHUNK, MAX_TEXT_MEMORY

from raeg_jax.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PAYLOAD_CHUNK = b"raEg"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
PROFILE_NOTE = "its colour profile is left out: programs that read PNG refuse one so large"
_TEXT_NOTE = "a text in it is left out: programs that read PNG refuse one so large"
_TRUNCATED = "{} is truncated: copy it again from where it came"

# Four letters and the content.
Chunk = tuple[bytes, bytes | memoryview]


def read_chunks(png: bytes, name: str = "the PNG") -> Iterator[tuple[bytes, memoryview]]:
    """Checks and yields the chunks of a PNG file, (four letters, content), up to its end mark.

    Args:
      png: the bytes of the file.
      name: of the file, for messages.

    Raises:
      UserError: the file ends before its end mark, or a checksum is wrong.
    """
    view = memoryview(png)
    position = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if position + 12 > len(png):
            raise UserError(_TRUNCATED.format(name))
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + 12 + length
        if end > len(png):
            raise UserError(_TRUNCATED.format(name))
        (checksum,) = struct.unpack_from(">I", png, end - 4)
        if zlib.crc32(view[position + 4 : end - 4]) != checksum:
            raise UserError(
                f"{name} is damaged, the checksum of its chunk {kind.decode('latin-1')!r} is "
                "wrong: copy it again from where it came"
            )
        yield kind, view[position + 8 : end - 4]
        position = end


def join_chunks(chunks: Iterable[Chunk]) -> bytes:
    """Undoes `read_chunks`: returns the bytes of a PNG file, chunks from header to end mark."""
    return b"".join([SIGNATURE, *(encode_chunk(kind, content) for kind, content in chunks)])


def encode_chunk(kind: bytes, content: bytes | memoryview) -> bytes:
    """Returns a chunk's bytes: length, four letters, content and checksum."""
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])


def text_keyword(content: bytes) -> str:
    """Returns the keyword that a text chunk begins with."""
    return content.partition(b"\0")[0].decode("latin-1")


def profile_fits(profile: bytes) -> bool:
    """Whether Pillow reads a colour profile from a PNG; one of exactly its limit may fail."""
    return len(profile) < MAX_TEXT_CHUNK


def without_oversized(chunks: Iterable[Chunk]) -> tuple[list[Chunk], list[str]]:
    """Leaves out the colour profiles and texts that Pillow refuses, so that the pixels can be read.

    Pillow stops reading a PNG at a colour profile or text that unpacks to more than a megabyte, and
    at 64 MB of texts in all: decompression bombs look like that. Some real profiles do, too, and
    JPEG, TIFF and WebP hold those without any limit.

    Args:
      chunks: of a PNG file; they are not unpacked beyond Pillow's limit.

    Returns:
      the other chunks, and a note for each chunk that is left out.
    """
    readable, notes, text_bytes = [], [], 0
    for kind, content in chunks:
        if kind == b"iCCP" and _unpacked_size(kind, bytes(content)) is None:
            notes.append(PROFILE_NOTE)
            continue
        if kind in TEXTS:
            size = _unpacked_size(kind, bytes(content))
            if size is None or text_bytes + size > MAX_TEXT_MEMORY:
                notes.append(_TEXT_NOTE)
                continue
            text_bytes += size
        readable.append((kind, content))
    return readable, notes


def _unpacked_size(kind: bytes, content: bytes) -> int | None:
    """Returns how many bytes a profile or text unpacks to, or None for more than Pillow reads."""
    rest = content.partition(b"\0")[2]
    if kind == b"iTXt":
        packed = rest[:1] != b"\0" and rest[1:2] == b"\0"
        rest = b"\0".join(rest[2:].split(b"\0", 2)[2:])
    else:
        packed = kind != b"tEXt"
        # A byte says how it is packed, and there is only one way.
        rest = rest[1:] if packed else rest
    if not packed:
        return len(rest)
    unpacking = zlib.decompressobj()
    try:
        size = len(unpacking.decompress(rest, MAX_TEXT_CHUNK))
    except zlib.error:
        return 0  # Pillow overlooks such a chunk.
    return None if unpacking.unconsumed_tail else size
