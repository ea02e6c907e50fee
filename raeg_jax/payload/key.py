"""The owner's key: 32 random bytes in a text file, and the subkeys derived from them.

HKDF-SHA256 (RFC 5869) derives an independent subkey for each purpose, so that one of them tells
nothing of the others.
"""

import base64
import dataclasses
import os
import secrets

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from raeg_jax.errors import UserError
from raeg_jax.files import RefusedFileError, open_file, write_new

KEY_SIZE = 32
KEY_ID_SIZE = 2
_HEADER = "raeg-key-1"
# A key file has two lines; a photograph given by mistake isn't read to its end.
_MAX_FILE = 4096


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
