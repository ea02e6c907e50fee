"""Image files for tests, and what Pillow can't put into them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from raeg_jax.image_file import png

RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
# Options with which Pillow keeps all samples.
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}, "TIFF": {}}


def encode(kind="PNG", image=RGB, **options):
    """The bytes of an image file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_text(name, content, **options):
    """A PNG with a text, perhaps with `zip=True`."""
    info = PngInfo()
    info.add_text(name, content, **options)
    return encode(pnginfo=info)


def put_chunk(data: bytes, content: bytes, name: bytes = png.PAYLOAD_CHUNK) -> bytes:
    """Puts a chunk, by default with a payload, into a PNG, right after its header."""
    header, *others = png.read_chunks(data)
    return png.join_chunks([header, (name, content), *others])


def segment(marker, content):
    """A JPEG with another segment at its start."""
    jpeg = encode("JPEG")
    return jpeg[:2] + struct.pack(">BBH", 255, marker, 2 + len(content)) + content + jpeg[2:]


def riff(name, content=b""):
    """A WebP file with another chunk at its end."""
    webp = encode("WEBP")
    content += bytes(len(content) % 2)
    webp = webp[:4] + struct.pack("<I", len(webp) + len(content)) + webp[8:]
    return webp + name + struct.pack("<I", len(content)) + content


def png_of(samples, depth, colour, *chunks):
    """A PNG by hand, of samples [H, W] or [H, W, C] below 2**depth: Pillow can't write them all."""
    flat = samples.reshape(len(samples), -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        bits = np.unpackbits(flat[..., None].astype(np.uint8), axis=-1)[..., 8 - depth :]
        rows = [np.packbits(row).tobytes() for row in bits.reshape(len(flat), -1)]
    header = struct.pack(">IIBBBBB", samples.shape[1], len(samples), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    result = b"\x89PNG\r\n\x1a\n"
    for kind, content in [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        result += struct.pack(">I", len(content)) + kind + content + checksum
    return result
