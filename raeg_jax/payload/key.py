"""The owner's key: 32 random bytes in a text file; its subkeys, and the token that it draws.

HKDF-SHA256 (RFC 5869) derives an independent subkey for each purpose, so that one of them tells
nothing of the others.

The secret token are planes of +1 and -1 that only the key's owner can draw. SHAKE-256 draws them
from a subkey and a nonce, so they are the same for ever, with every version of JAX and NumPy.
"""

import base64
import dataclasses
import hashlib
import os
import secrets

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from raeg_jax.errors import UserError
from raeg_jax.files import RefusedFileError, open_file, write_new

KEY_SIZE = 32
KEY_ID_SIZE = 2
_HEADER = "raeg-key-1"
# A key file has two lines; a photograph given by mistake isn't read to its end.
_MAX_FILE = 4096
# Side in pixels of the squares on which a plane is constant. White noise on single pixels would
# vanish below the first level of a U-shaped network, where it is averaged; a square of 2^n pixels
# is seen unchanged down to level n. Larger squares are also fewer, and so easier to guess: a plane
# of 64 x 64 pixels has 256 squares of 4 pixels and 16 of 16.
CELL = 4


@dataclasses.dataclass(frozen=True, repr=False)
class Key:
    """The owner's key; `repr` shows its public id only.

    Attributes:
      secret: 32 bytes.
    """

    secret: bytes

    def __post_init__(self):
        if len(self.secret) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(self.secret)}")

    def __repr__(self) -> str:
        return f"Key(id={self.id!r})"

    @property
    def id(self) -> str:
        """Four hex digits by which messages name the key; they say nothing about the secret."""
        return self._derive(b"raeg key id", KEY_ID_SIZE).hex()

    @property
    def token_key(self) -> bytes:
        """32 bytes that draw the token planes."""
        return self._derive(b"raeg token 1", KEY_SIZE)

    def payload_key(self, nonce: bytes) -> bytes:
        """32 bytes that lock the payload of one image.

        Args:
          nonce: the image's.
        """
        return self._derive(b"raeg payload 1", KEY_SIZE, nonce)

    def _derive(self, purpose: bytes, length: int, salt: bytes | None = None) -> bytes:
        return HKDF(SHA256(), length, salt, purpose).derive(self.secret)


def generate_key() -> Key:
    """Draws a key from the operating system's random numbers."""
    return Key(secrets.token_bytes(KEY_SIZE))


def write_key(path: os.PathLike | str, key: Key) -> None:
    """Writes a key file that only its owner may read.

    Args:
      path: of the new file; its folder must exist.
      key: the key to write.

    Raises:
      UserError: the file exists (replacing a key loses all images that it locked), or it can't be
        written.
    """
    text = (
        f"# raeg key {key.id}: keep it secret and keep a copy, nothing else brings images back.\n"
        f"{_HEADER} {base64.urlsafe_b64encode(key.secret).decode()}\n"
    )
    try:
        write_new(path, text.encode(), mode=0o600)
    except FileExistsError:
        raise UserError(
            f"{path} exists, and a key is never replaced: choose another name"
        ) from None
    except OSError as error:
        raise UserError(f"can't write the key file {path}: {error.strerror or error}") from error


def read_key(path: os.PathLike | str) -> Key:
    """Reads a key file: one line `raeg-key-1 KEY` beside empty lines and `#` comments.

    Args:
      path: of the key file.

    Raises:
      UserError: no such file, no key in it, a damaged key, or one of a later version.
    """
    try:
        with open_file(path) as file:
            content = file.read(_MAX_FILE)
    except RefusedFileError as error:
        raise UserError(f"{path} {error}: name your key file") from None
    except FileNotFoundError:
        message = f"there is no key file {path}: make one with `raeg keygen`, or name yours"
        raise UserError(message) from None
    except OSError as error:
        raise UserError(f"can't read the key file {path}: {error.strerror or error}") from error
    # Editors such as Notepad put a mark at the beginning.
    text = content.decode("utf-8-sig", errors="replace")
    lines = [line.split() for line in text.splitlines()]
    lines = [line for line in lines if line and not line[0].startswith("#")]
    # Messages never repeat what the file holds: it may be a key.
    if len(lines) != 1 or not lines[0][0].startswith("raeg-key-"):
        raise UserError(f"{path} isn't a key file: it should have one line `{_HEADER} KEY`")
    if lines[0][0] != _HEADER:
        raise UserError(f"{path} holds a key of a later version: update raeg-jax to use it")
    try:
        secret = base64.b64decode("".join(lines[0][1:]), altchars="-_", validate=True)
    except ValueError:
        secret = b""
    if len(secret) != KEY_SIZE:
        raise UserError(f"the key in {path} is damaged or cut off: take it from your copy")
    return Key(secret)


@dataclasses.dataclass(frozen=True)
class Token:
    """An image's token, of which each tile has its own part, and a number for the whole image.

    Attributes:
      key: `Key.token_key`, 32 bytes.
      nonce: the image's, 12 bytes.
      count: number of planes.
    """

    key: bytes
    nonce: bytes
    count: int

    def planes(self, height: int, width: int, tile: int) -> np.ndarray:
        """The planes of a tile, see `draw_planes`."""
        return draw_planes(self.key, self.nonce, height, width, self.count, tile=tile)

    @property
    def draw(self) -> int:
        """A number below 2^31 for the whole image, the same for all sizes, tiles and counts.

        It chooses among the patterns of a class (`generator.learned_pattern`).
        """
        drawn = hashlib.shake_256(b"raeg draw " + self.key + self.nonce).digest(4)
        return int.from_bytes(drawn, "little") % 2**31


def draw_planes(
    token_key: bytes, nonce: bytes, height: int, width: int, count: int, *, tile: int = 0
) -> np.ndarray:
    """Draws the token planes of an image or of one of its tiles.

    Tiles, sizes and counts are part of the seed: tokens that differ in one of them have nothing in
    common.

    Args:
      token_key: `Key.token_key`, 32 bytes.
      nonce: the image's, 12 bytes.
      height: of the image or tile, in pixels.
      width: of the image or tile, in pixels.
      count: number of planes.
      tile: index of the tile in its image.

    Returns:
      int8 [height, width, count], each value +1 or -1 with equal probability, constant on squares
      of `CELL` pixels; the last squares are cut off where `CELL` doesn't divide the size.
    """
    rows, columns = -(-height // CELL), -(-width // CELL)
    bits = rows * columns * count
    # Numbers before fixed-length bytes: no two requests have the same seed.
    seed = b"raeg token %d %d %d %d %d " % (height, width, count, tile, CELL) + token_key + nonce
    drawn = np.frombuffer(hashlib.shake_256(seed).digest(-(-bits // 8)), np.uint8)
    signs = 1 - 2 * np.unpackbits(drawn, count=bits, bitorder="little").astype(np.int8)
    grid = signs.reshape(rows, columns, count)
    return grid.repeat(CELL, axis=0).repeat(CELL, axis=1)[:height, :width]
