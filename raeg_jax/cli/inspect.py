"""What a file holds: a protected image, with the key and without, or a generator."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, read_image_file
from raeg_jax.methods import transform
from raeg_jax.payload import seal
from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import Payload
from raeg_jax.payload.seal import find_payload
from raeg_jax.protection import generator_file, shipped

if TYPE_CHECKING:
    from raeg_jax.protection.loaded_generator import LoadedGenerator

_CODES_SHOWN = 4


def inspect(path: pathlib.Path, key: Key | None) -> dict[str, str]:
    """Describes a protected file, for which no generator is needed, or a generator file.

    Args:
      path: of the image or generator.
      key: the owner's, without which the content of the payload stays hidden; of no use for a
        generator.

    Returns:
      Lines to be shown, in order, by what they are about.

    Raises:
      UserError: not an image that can be read, or no payload in it, or another key; or a generator
        that can't be used.
    """
    if _is_generator(path):
        # JAX takes seconds to import.
        from raeg_jax.protection.loaded_generator import load_generator

        return _generator_lines(load_generator(path))
    picture = read_image_file(path)
    lines = _picture_lines(picture)
    try:
        found = find_payload(picture)
        public = seal.read_public_header(found.blob)
        lines |= {
            "payload": f"{len(found.blob)} bytes "
            + ("hidden in the pixels" if found.in_pixels else "in a PNG chunk"),
            "payload format": str(public.version),
            "generator": _generator(public.generator_id),
            "key": public.key_id,
            "nonce": public.nonce.hex(),
        }
        if key is not None:
            lines |= _payload_lines(seal.open_sealed(found.blob, key))
    except PayloadError as error:
        raise type(error)(f"{path}: {error}") from error
    return lines


def _is_generator(path: pathlib.Path) -> bool:
    try:
        generator_file.check_start(path)
    except (OSError, UserError):
        return False
    return True


def _generator_lines(generator: LoadedGenerator) -> dict[str, str]:
    machines = "any machine" if generator.portable else "the same kind of machine only"
    names = generator.class_names
    lines = {
        "generator": generator.id.hex(),
        "stages": " and ".join(generator.config.generator.stages),
        "recovery": f"on {machines}",
        "classes": f"{len(names)}, from {names[0]} to {names[-1]}",
    }
    if generator.patterns is not None:
        classes, variants, side = generator.patterns.shape[:3]
        lines["patterns"] = f"{variants} for each of {classes} classes, {side} x {side} cells"
    described = enumerate(classifier_lines(generator), 1)
    return lines | {f"classifier {number}": line for number, line in described}


def classifier_lines(generator: LoadedGenerator) -> list[str]:
    """A line for each classifier of a generator: its role, network, and the source of weights."""
    lines = []
    for name in generator.classifiers:
        role = "target" if name in generator.config.classifiers.targets else "no target"
        if network := generator.published.get(name):
            seen = network.preprocessing
            how = f"which see {seen.crop} pixels of {seen.resize}, {seen.interpolation}"
            if seen.of_run:
                size = f"to {seen.crop}" if seen.interpolates else f"toward {seen.crop}"
                how = f"with a head of the run, which see images enlarged {size} pixels"
            lines.append(
                f"{name} ({role}): {network.architecture} with published weights of "
                f"{network.source or 'an unknown file'}, {how}"
            )
        else:
            lines.append(f"{name} ({role}): trained by the run on its data")
    return lines


def _picture_lines(picture: ImageFile) -> dict[str, str]:
    height, width = picture.pixels.shape[:2]
    parts = {name: getattr(picture.metadata, name) for name in ("exif", "icc", "xmp")}
    metadata = [f"{name} {len(content)} bytes" for name, content in parts.items() if content]
    return {
        "file": f"{picture.format}, {width} x {height} pixels"
        + (", with alpha" if picture.alpha is not None else ""),
        "metadata": ", ".join(metadata) or "none",
    }


def _generator(generator_id: bytes) -> str:
    name = transform.name_of(generator_id)
    if name:
        return f"none, made by {name.upper()}"
    mine = shipped.name_of(generator_id)
    return generator_id.hex() + (f" ({mine}, which comes with raeg-jax)" if mine else "")


def _payload_lines(payload: Payload) -> dict[str, str]:
    mode = payload.mode.name.lower().replace("_", " with ")
    # A generator that needs to know nothing of its tiles has rows without columns.
    rows = payload.side_info.tolist() if payload.side_info.size else []
    codes = "; ".join(" ".join(map(str, row)) for row in rows[:_CODES_SHOWN])
    more = len(rows) - _CODES_SHOWN
    lines = {
        "original": f"{mode}, {payload.width} x {payload.height} pixels, EXIF orientation "
        f"{payload.orientation}",
        "SHA-256 of its pixels": payload.sha256.hex(),
        "recovery": "on any machine"
        if payload.portable
        else f"on the same machine only, in batches of {payload.batch}",
        "tiles": f"{payload.tiles} of {payload.tile} pixels a side" if payload.tile else "one",
        "codes": (codes or "none") + (f"; and {more} more" if more > 0 else ""),
        "values outside 0..255": str(len(payload.overflow.ranks)),
    }
    if payload.auxiliary:
        lines["auxiliary data"] = f"{len(payload.auxiliary)} bytes"
    return lines
