"""Leaves out of a PNG what Pillow refuses to unpack, so that the pixels can be read all the same.

Pillow stops reading a PNG at a colour profile or text that unpacks to more than a megabyte, and at
64 MB of texts in all: decompression bombs look like that. Real profiles do too, and JPEG, TIFF and
WebP hold those without any limit. Who gets our files reads them with such programs, so what they
refuse is left out, whatever it is.
"""

import zlib
from collections.abc import Iterable

from PIL.PngImagePlugin import MAX_TEXT_CHUNK, MAX_TEXT_MEMORY

PROFILE_NOTE = "its colour profile is left out: programs that read PNG refuse one so large"
_TEXT_NOTE = "a text in it is left out: programs that read PNG refuse one so large"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")

Part = tuple[bytes, bytes | memoryview]


def fits(profile: bytes) -> bool:
    """Whether Pillow reads a colour profile from a PNG; one of just its limit may fail."""
    return len(profile) < MAX_TEXT_CHUNK


def without(parts: Iterable[Part]) -> tuple[list[Part], list[str]]:
    """Leaves out colour profiles and texts that Pillow refuses.

    Args:
      parts: (four letters, content) of a PNG's chunks; not unpacked beyond Pillow's limit.

    Returns:
      the others, and a note for each that is left out.
    """
    kept, notes, texts = [], [], 0
    for kind, content in parts:
        size = 0
        if kind == b"iCCP" or kind in _TEXTS:
            size = _size(kind, bytes(content))
        if kind in _TEXTS and size is not None:
            size = size if texts + size <= MAX_TEXT_MEMORY else None
            texts += size or 0
        if size is None:
            notes.append(PROFILE_NOTE if kind == b"iCCP" else _TEXT_NOTE)
        else:
            kept.append((kind, content))
    return kept, notes


def _size(kind: bytes, content: bytes) -> int | None:
    """Returns how many bytes a chunk unpacks to, or None where they are too many."""
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
