"""An independent search for pictures in what a file has beside its own image data."""

import base64
import html
import io
import re
import struct
import zlib

import tifffile
from PIL import Image

_BEGINNINGS = re.compile(rb"\xff\xd8|\x89PNG|GIF8|RIFF|II[*+]\0|MM\0[*+]|BM|P[56]\s|8BPS")
# JPEG, PNG, WebP, GIF and TIFF in base64; JPEG in hexadecimal digits.
_WRITTEN = re.compile(rb"/9j/|iVBORw0|UklGR|R0lGOD|SUkqA|TU0AK|ffd8ff", re.IGNORECASE)


def hidden_pictures(data: bytes) -> list[str]:
    """Returns the formats of all pictures that Pillow decodes from a file's other bytes."""
    return [kind for part in _parts(data) for view in _views(part) for kind in _decoded(view)]


def _parts(data):
    if data.startswith(b"\x89PNG"):
        position = 8
        while position < len(data):
            (length,) = struct.unpack_from(">I", data, position)
            name, content = data[position + 4 : position + 8], data[position + 8 :][:length]
            if name != b"IDAT":
                yield content
            position += 12 + length
    elif data.startswith(b"RIFF"):
        position = 12
        while position < len(data):
            (length,) = struct.unpack_from("<I", data, position + 4)
            if not data[position:].startswith((b"VP8", b"ALPH")):
                yield data[position + 8 :][:length]
            position += 8 + length + length % 2
    elif data.startswith(b"\xff\xd8"):
        # Without its start mark the file's own picture is none.
        yield data[2:]
    else:
        rest = bytearray(data)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
                rest[start : start + length] = bytes(length)
        yield bytes(rest[8:])


def _views(part):
    yield part
    # Packed texts begin after their names.
    for start in range(min(len(part), 120)):
        try:
            packed = zlib.decompressobj().decompress(part[start:])
        except zlib.error:
            continue
        yield packed
        part += packed
    text = html.unescape(part.replace(b"\0", b"").decode("latin-1")).encode("latin-1", "replace")
    text = re.sub(rb"<!--.*?-->|<!\[CDATA\[|\]\]>|\\n|\s", b"", text)
    for found in _WRITTEN.finditer(text):
        run = re.match(rb"[A-Za-z0-9+/]*", text[found.start() :])[0]
        if found[0].lower() == b"ffd8ff":
            yield bytes.fromhex(re.match(rb"(?:[0-9a-f]{2})*", run, re.IGNORECASE)[0].decode())
        else:
            yield base64.b64decode(run[: len(run) // 4 * 4])


def _decoded(view):
    for found in _BEGINNINGS.finditer(view):
        try:
            with Image.open(io.BytesIO(view[found.start() :])) as image:
                image.load()
                yield image.format
        except Exception:
            continue
