"""Pillow's warnings become notes of the file, and those of others are shown."""

import concurrent.futures
import io
import struct
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from raeg_jax.codec.picture import decode_picture
from raeg_jax.codec.pillow_warnings import pillow_warnings
from raeg_jax.codec.writing import lost, write_picture
from raeg_jax.tool.room import BYTES_A_PIXEL, room_of

# An artist's name that should go on after the end of the block.
EXIF = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x13B, 2, 99, 26) + bytes(4) + b"me"


def damaged(kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(buffer, kind, exif=EXIF)
    return buffer.getvalue()


def pillow_warns(text):
    source = compile(f"import warnings; warnings.warn({text!r})", Image.__file__, "exec")
    exec(source, {"__name__": "PIL.Image"})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_damage_is_noted_and_nothing_is_shown(tmp_path, recwarn, kind, suffix):
    picture = decode_picture(damaged(kind), "photo")
    (note,) = picture.notes
    assert note.startswith("it is damaged in part (")
    assert "corrupt" in note.lower() or "tag 315" in note.lower()
    lost(picture, f"photo{suffix}")
    write_picture(tmp_path / f"photo{suffix}", picture, orientation=6)
    assert not recwarn


def test_large_images_are_no_reason_to_warn(recwarn, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(buffer, "PNG")
    assert decode_picture(buffer.getvalue(), "photo").notes == ()
    assert room_of(buffer) == 20 + len(buffer.getvalue()) // BYTES_A_PIXEL
    assert not recwarn


def test_each_thread_gets_its_own_warnings_and_others_are_shown(recwarn):
    barrier = threading.Barrier(3)

    def read(number):
        with pillow_warnings() as messages:
            barrier.wait()
            pillow_warns(f"of {number}")
            barrier.wait()
        return messages

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = [pool.submit(read, number) for number in (1, 2)]
        barrier.wait()
        warnings.warn("of somebody else", stacklevel=1)
        barrier.wait()
    assert [one.result() for one in results] == [["of 1"], ["of 2"]]
    assert [str(one.message) for one in recwarn] == ["of somebody else"]


def test_afterwards_all_is_as_it_was():
    before = warnings.showwarning, list(warnings.filters)
    with pillow_warnings() as outer:
        with pillow_warnings() as inner:
            pillow_warns("inside")
        pillow_warns("outside")
    assert (inner, outer) == (["inside"], ["outside"])
    assert (warnings.showwarning, list(warnings.filters)) == before
