"""Keys: their file, what is derived from them, and that they don't leak."""

import hmac
import os
import stat

import pytest

from raeg_jax.codec.key import Key, generate, read_key, write_key
from raeg_jax.errors import UserError

FIXED = Key(bytes(range(32)))
NONCE = bytes(12)


def test_a_written_key_is_read_again(tmp_path):
    key = generate()
    write_key(tmp_path / "owner.key", key)
    assert read_key(tmp_path / "owner.key") == key
    assert os.listdir(tmp_path) == ["owner.key"]


def test_only_the_owner_may_read_a_key_file(tmp_path):
    write_key(tmp_path / "owner.key", FIXED)
    assert stat.S_IMODE((tmp_path / "owner.key").stat().st_mode) == 0o600


def test_a_key_file_is_never_replaced(tmp_path):
    path = tmp_path / "owner.key"
    path.write_text("anything")
    with pytest.raises(UserError, match=r"owner\.key exists"):
        write_key(path, FIXED)
    assert path.read_text() == "anything"


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(UserError, match=r"can't write the key file .*No such file"):
        write_key(tmp_path / "none" / "owner.key", FIXED)


def test_generated_keys_differ():
    assert len({generate() for _ in range(5)}) == 5


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


def test_each_purpose_nonce_and_key_has_its_own_subkey():
    other = Key(bytes(32))
    derived = [FIXED.token_key, FIXED.payload_key(NONCE), FIXED.payload_key(b"another one.")]
    derived += [other.token_key, other.payload_key(NONCE)]
    assert len({*derived, FIXED.secret}) == 6


def test_comments_empty_lines_and_windows_newlines_are_allowed(tmp_path):
    path = tmp_path / "owner.key"
    write_key(path, FIXED)
    comment, line = path.read_text().splitlines()
    path.write_bytes(f"\r\n# mine\r\n{comment}\r\n\r\n  {line}  \r\n".encode())
    assert read_key(path) == FIXED


def test_a_key_file_may_begin_with_the_mark_of_an_editor(tmp_path):
    path = tmp_path / "owner.key"
    write_key(path, FIXED)
    for content in (path.read_text(), path.read_text().splitlines()[1]):
        path.write_text(content, encoding="utf-8-sig")
        assert read_key(path) == FIXED


def test_a_key_must_have_32_bytes():
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        Key(bytes(31))


LINE = "raeg-key-1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def test_the_line_of_these_tests_is_a_key(tmp_path):
    (tmp_path / "owner.key").write_text(LINE)
    assert read_key(tmp_path / "owner.key") == FIXED


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
def test_a_bad_key_file_is_told_without_showing_it(tmp_path, content, message):
    path = tmp_path / "owner.key"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_key(path)
    assert str(path) in str(caught.value)
    assert "AwQFBgc" not in str(caught.value)


def test_a_missing_key_file_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match=r"no key file .*none\.key.*raeg keygen"):
        read_key(tmp_path / "none.key")


def test_a_folder_is_no_key_file(tmp_path):
    with pytest.raises(UserError, match=r"can't read the key file .*Is a directory"):
        read_key(tmp_path)
