"""Keys: their file, what is derived from them, and that they don't leak."""

import hashlib
import hmac
import os
import stat

import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.payload.key import CELL, Key, Token, draw_planes, generate_key, read_key, write_key

FIXED = Key(bytes(range(32)))
NONCE = bytes(12)
LINE = "raeg-key-1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
TOKEN_KEY, TOKEN_NONCE = bytes(range(32)), bytes(range(12))


def test_a_written_key_is_read_again_and_only_its_owner_may_read_it(tmp_path):
    key, path = generate_key(), tmp_path / "owner.key"
    write_key(path, key)
    assert read_key(path) == key
    assert os.listdir(tmp_path) == ["owner.key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_file_is_never_replaced(tmp_path):
    path = tmp_path / "owner.key"
    path.write_text("anything")
    with pytest.raises(UserError, match=r"owner\.key exists"):
        write_key(path, FIXED)
    assert path.read_text() == "anything"


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"can't write the key file .*No such file"):
        write_key(tmp_path / "none" / "owner.key", FIXED)


def test_generated_keys_differ():
    assert len({generate_key() for _ in range(5)}) == 5


def test_the_secret_is_not_shown():
    assert repr(FIXED) == str(FIXED) == "Key(id='e961')"


def _hkdf(secret, salt, purpose, length):
    """RFC 5869 for outputs of at most 32 bytes."""
    extracted = hmac.digest(salt, secret, "sha256")
    return hmac.digest(extracted, purpose + b"\1", "sha256")[:length]


def test_subkeys_are_those_of_the_format():
    # Without a salt HKDF takes zeros.
    assert FIXED.id == _hkdf(FIXED.secret, bytes(32), b"raeg key id", 2).hex()
    assert FIXED.token_key == _hkdf(FIXED.secret, bytes(32), b"raeg token 1", 32)
    assert FIXED.payload_key(NONCE) == _hkdf(FIXED.secret, NONCE, b"raeg payload 1", 32)


@pytest.mark.parametrize(
    "content",
    [
        LINE,
        f"\r\n# mine\r\n# raeg key\r\n\r\n  {LINE}  \r\n",
        # The mark that editors put at the beginning.
        f"\ufeff{LINE}",
        f"\ufeff# raeg key\n{LINE}\n",
    ],
)
def test_comments_empty_lines_and_the_marks_of_editors_are_allowed(tmp_path, content):
    (tmp_path / "owner.key").write_bytes(content.encode())
    assert read_key(tmp_path / "owner.key") == FIXED


def test_a_key_must_have_32_bytes():
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        Key(bytes(31))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "isn't a key file"),
        (b"# only a comment\n", "isn't a key file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100, "isn't a key file"),
        (LINE.encode() + b"\n" + LINE.encode(), "isn't a key file"),
        (LINE.replace("-1", "-2").encode(), "a later version"),
        (LINE[:-8].encode(), "damaged or cut off"),
        (LINE[:-1].encode(), "damaged or cut off"),
        (LINE.replace("AAEC", "AA C").encode(), "damaged or cut off"),
        (LINE.replace("AAEC", "AA*C").encode(), "damaged or cut off"),
        (LINE.replace("AAEC", "AAÄC").encode(), "damaged or cut off"),
        (b"raeg-key-1", "damaged or cut off"),
    ],
)
def test_a_bad_key_file_is_refused_without_showing_it(tmp_path, content, message):
    path = tmp_path / "owner.key"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_key(path)
    assert str(path) in str(caught.value)
    assert "AwQFBgc" not in str(caught.value)


def test_a_missing_key_file_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match=r"no key file .*none\.key.*raeg keygen"):
        read_key(tmp_path / "none.key")


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"can't read the key file .*Is a directory"):
        read_key(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="name your key file"):
        read_key(tmp_path / "pipe")


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (64, 64)])
def test_planes_are_signs_and_constant_on_cells(size):
    planes = draw_planes(TOKEN_KEY, TOKEN_NONCE, *size, 3)
    assert planes.dtype == np.int8
    assert set(np.unique(planes)) == {-1, 1}
    cells = planes[::CELL, ::CELL].repeat(CELL, 0).repeat(CELL, 1)
    np.testing.assert_array_equal(planes, cells[: size[0], : size[1]])


@pytest.mark.parametrize(
    "change",
    [
        {"token_key": bytes(32)},
        {"nonce": bytes(12)},
        {"height": 257},
        {"width": 257},
        {"count": 3},
        {"tile": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_anything_else_gives_unrelated_planes(change):
    usual = {"token_key": TOKEN_KEY, "nonce": TOKEN_NONCE, "height": 256, "width": 256, "count": 2}
    planes = draw_planes(**usual)
    assert abs(planes.mean()) < 0.05
    other = draw_planes(**(usual | change))[:256, :256, :2]
    # 8192 independent signs have a standard deviation of 0.011.
    assert abs((planes * other).mean()) < 0.05


def test_each_image_draws_a_number_whatever_its_planes():
    token = Token(TOKEN_KEY, TOKEN_NONCE, 0)
    # Written by hand from docs/format.md.
    drawn = hashlib.shake_256(b"raeg draw " + TOKEN_KEY + TOKEN_NONCE).digest(4)
    assert token.draw == int.from_bytes(drawn, "little") & 0x7FFFFFFF
    assert token.draw == Token(TOKEN_KEY, TOKEN_NONCE, 2).draw == 862384264
    others = {Token(bytes(32), TOKEN_NONCE, 0).draw, Token(TOKEN_KEY, bytes(12), 0).draw}
    assert len(others | {token.draw}) == 3
    numbers = [Token(TOKEN_KEY, bytes(11) + bytes([n]), 0).draw for n in range(256)]
    assert max(numbers) < 2**31
    counts = np.bincount(np.array(numbers) % 4)
    # 64 are expected, with a standard deviation of 7.
    assert counts.min() > 40


def test_planes_never_change():
    planes = draw_planes(TOKEN_KEY, TOKEN_NONCE, 10, 6, 2)
    assert "".join("+" if v > 0 else "-" for v in planes[::4, ::4].ravel()) == "-++-+-------"
    digest = hashlib.sha256(
        Token(TOKEN_KEY, TOKEN_NONCE, 3).planes(33, 20, 7).tobytes()
    ).hexdigest()
    assert digest == "6f4d01b8b4393b4ab144b15abd255c723c64f8faffea3507058a8083d56e2754"
