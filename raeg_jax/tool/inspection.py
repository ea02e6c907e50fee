"""What a protected file tells, with the key and without."""

import pathlib

from raeg_jax.image_file.read import ImageFile, read_image_file
from raeg_jax.methods import transform
from raeg_jax.payload import seal
from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import Payload
from raeg_jax.tool.payloads import find

_CODES_SHOWN = 4


def inspect(path: pathlib.Path, key: Key | None) -> dict[str, str]:
    """Reads what a file says of itself; no generator is needed.

    Args:
      path: of the image.
      key: the owner's, without which the content of the payload stays hidden.

    Returns:
      Lines to be shown, in order: what is told, by its name.

    Raises:
      UserError: not an image that can be read, or no payload in it, or another key.
    """
    picture = read_image_file(path)
    lines = _picture_lines(picture)
    try:
        found = find(picture)
        outside = seal.read_public_header(found.blob)
        lines |= {
            "payload": f"{len(found.blob)} bytes "
            + ("hidden in the pixels" if found.in_pixels else "in a PNG chunk"),
            "payload format": str(outside.version),
            "generator": _generator(outside.generator_id),
            "key": outside.key_id,
            "nonce": outside.nonce.hex(),
        }
        if key is not None:
            lines |= _payload_lines(seal.open_sealed(found.blob, key))
    except PayloadError as error:
        raise type(error)(f"{path}: {error}") from error
    return lines


def _picture_lines(picture: ImageFile) -> dict[str, str]:
    height, width = picture.pixels.shape[:2]
    kept = picture.metadata
    names = ("exif", "icc", "xmp")
    metadata = [f"{name} {len(getattr(kept, name))} bytes" for name in names if getattr(kept, name)]
    return {
        "file": f"{picture.format}, {width} x {height} pixels"
        + (", with alpha" if picture.alpha is not None else ""),
        "metadata": ", ".join(metadata) or "none",
    }


def _generator(generator_id: bytes) -> str:
    name = transform.name_of(generator_id)
    return f"none, made by {name.upper()}" if name else generator_id.hex()


def _payload_lines(payload: Payload) -> dict[str, str]:
    mode = payload.mode.name.lower().replace("_", " with ")
    tiles = f"{payload.tiles} of {payload.tile} pixels a side" if payload.tile else "one"
    # A generator that needs to know nothing of its tiles has rows without columns.
    rows = payload.side_info.tolist() if payload.side_info.size else []
    codes = "; ".join(" ".join(map(str, row)) for row in rows[:_CODES_SHOWN])
    left = len(rows) - _CODES_SHOWN
    return {
        "original": f"{mode}, {payload.width} x {payload.height} pixels, EXIF orientation "
        f"{payload.orientation}",
        "SHA-256 of its pixels": payload.sha256.hex(),
        "recovery": "on any machine"
        if payload.portable
        else f"on the same machine only, in batches of {payload.batch}",
        "tiles": tiles,
        "codes": (codes or "none") + (f"; and {left} more" if left > 0 else ""),
        "values outside 0..255": str(len(payload.overflow.ranks)),
    } | ({"auxiliary data": f"{len(payload.auxiliary)} bytes"} if payload.auxiliary else {})
