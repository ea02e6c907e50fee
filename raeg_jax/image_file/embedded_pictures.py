"""Finds pictures inside metadata: a small copy of the original would make its protection void.

A block of bytes holds a picture if it contains what each file of a picture format contains, as it
is or as base64, hexadecimal digits, UTF-16 or zlib data, one inside the other. Of a JPEG that is
the frame header, which no decoder can do without; its start mark, three bytes, stands in colour
profiles, too. (Sources: ITU-T T.81, section B.2.2; RFC 1950, 1952 and 4648; Adobe's XMP
specification, part 1, section 8.3.)
"""

import base64
import html
import re
import urllib.parse
import zlib
from collections.abc import Iterator

from raeg_jax.image_file import exif

# Each one begins with a fixed byte, without which the search takes ten times as long.
_SIGNATURES = re.compile(
    b"|".join(
        (
            rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]\x00(?:\x0b.{5}\x01|\x0e.{5}\x02|"
            rb"\x11.{5}\x03|\x14.{5}\x04)",
            rb"\x89PNG\r\n\x1a\n",
            rb"IHDR.{8}[\x01\x02\x04\x08\x10][\x00\x02\x03\x04\x06]\x00\x00",
            rb"GIF8[79]a.{6}[\x00\x31]",
            rb"RIFF.{4}WEBP",
            rb"BM.{4}\x00{4}.{4}[\x0c\x28\x34\x38\x6c\x7c]\x00{3}",
            rb"P[56]\s+\d+\s+\d+\s+\d+\s",
            rb"jP  \r\n\x87\n",
            rb"\xff\x4f\xff\x51\x00",
            rb"JXL \r\n\x87\n",
            rb"ftyp(?:hei[cx]|hevc|mif1|msf1|avi[fs])",
            rb"8BPS\x00[\x01\x02]",
            rb"II\+\x00\x08\x00\x00\x00",
            rb"MM\x00\+\x00\x08\x00\x00",
        )
    ),
    re.DOTALL,
)
_TIFF = re.compile(rb"II\*\x00|MM\x00\*")
# What may stand between the letters of one text: marks of XML, escapes of JSON.
_BETWEEN = re.compile(rb"<!\[CDATA\[|\]\]>|<!--.*?-->", re.DOTALL)
# Letters of base64, also as entities or escaped, with spaces: as many as the least pictures have.
_RUN = re.compile(rb"(?:[\w+/=\s-]|&#?\w{1,8};|%[0-9A-Fa-f]{2}|\\[nrt/]){64,}")
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{64,}")
# The first two bytes of zlib's (RFC 1950: deflate, any window, no dictionary) and gzip's streams.
_PACKED = re.compile(
    b"|".join(
        re.escape(bytes((first, second)))
        for first in range(0x08, 0x80, 0x10)
        for second in range(256)
        if (256 * first + second) % 31 == 0 and not second & 0x20
    )
    + rb"|\x1f\x8b\x08"
)
_FIRST_BYTES, _UNPACKED_BYTES = 2**8, 2**20
_DEPTH = 3
# Whatever the prefix: older versions of Photoshop have `xapGImg`.
_XMP_PREVIEW = re.compile(
    rb"""(<[\w.-]*GImg:image(?:\s[^<>]*)?>)[^<]*"""
    rb"""|(GImg:image\s*=\s*")[^"]*|(GImg:image\s*=\s*')[^']*"""
)


def holds_picture(block: bytes) -> bool:
    """Whether a picture is in a block of bytes, in whatever coding."""
    return any(
        _SIGNATURES.search(view)
        or any(exif.has_preview(view[match.start() :]) for match in _TIFF.finditer(view))
        for view in _views(block, _DEPTH)
    )


def xmp_without_preview(xmp: bytes) -> bytes:
    """Empties the elements and attributes of an XMP packet that are for previews."""
    return _XMP_PREVIEW.sub(lambda match: next(filter(None, match.groups())), xmp)


def without_pictures(text: bytes) -> bytes:
    """Empties those parts of a text (as XMP) that are pictures in base64 or hexadecimal digits."""
    return _RUN.sub(lambda run: b"" if holds_picture(run[0]) else run[0], text)


def _views(block: bytes, depth: int) -> Iterator[bytes]:
    """Yields a block and all that is coded in it, down to a depth."""
    yield block
    if depth:
        for decoded in _decoded(block):
            yield from _views(decoded, depth - 1)


def _decoded(block: bytes) -> Iterator[bytes]:
    """Yields what is packed in a block or written in it as base64 or hexadecimal digits."""
    for match in _PACKED.finditer(block):
        # 47: zlib and gzip, with any window. Most matches are no stream: their first bytes show it.
        stream, start = zlib.decompressobj(47), match.start()
        try:
            first = stream.decompress(block[start : start + _FIRST_BYTES])
            rest = block[start + _FIRST_BYTES : start + _UNPACKED_BYTES]
            yield first + stream.decompress(rest, _UNPACKED_BYTES)
        except zlib.error:
            continue
    # Without zeros, UTF-16 and UTF-32 are ASCII.
    for run in _RUN.findall(_BETWEEN.sub(b"", block.replace(b"\0", b""))):
        # Entities and escapes may stand for anything else, which decoders of base64 overlook.
        letters = re.sub(rb"\\[nrt]|[^\w+/=-]", b"", _unescaped(run))
        for digits in _HEXADECIMAL.findall(letters):
            for start in (0, 1):
                even = digits[start : len(digits) - (len(digits) - start) % 2]
                yield bytes.fromhex(even.decode())
        for part in letters.translate(bytes.maketrans(b"-_", b"+/")).split(b"="):
            # A word before the base64 may stand in the same run.
            for start in range(4):
                yield base64.b64decode(part[start : len(part) - (len(part) - start) % 4])


def _unescaped(run: bytes) -> bytes:
    if b"&" not in run and b"%" not in run:
        return run
    text = urllib.parse.unquote(html.unescape(run.decode()), "latin-1")
    return text.encode("latin-1", "replace")
