"""Bad input of all kinds: each gets the sentence of docs/tool.md, and all other images are done."""

import errno
import io
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from raeg_jax.cli.manifest import NAME, open_manifest
from raeg_jax.image_file import png
from raeg_jax.image_file.read import read_image_file
from raeg_jax.image_file.write import write_image_file
from raeg_jax.payload.seal import VERSION
from tests.cli import documented
from tests.cli.conftest import files, pixels, save


def png_bytes(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


# Originals that can't be protected: name -> (suffix, how the file is made).


def bomb(path, raeg):
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    start, end = png.encode_chunk(b"IHDR", header), png.encode_chunk(b"IEND", b"")
    path.write_bytes(png.SIGNATURE + start + png.encode_chunk(b"IDAT", zlib.compress(b"")) + end)


def frames(path, raeg):
    images = [Image.fromarray(pixels(i)) for i in range(3)]
    images[0].save(path, save_all=True, append_images=images[1:])


def protected(path, raeg):
    save(path, pixels())
    raeg("protect", path, path.with_name("protected.png"))
    path.with_name("protected.png").replace(path)


ORIGINALS = {
    "not an image": (".jpg", lambda p, r: p.write_text("text")),
    "an empty file": (".png", lambda p, r: p.touch()),
    "a pipe or a device": (".png", lambda p, r: os.mkfifo(p)),
    "a link to nothing": (".png", lambda p, r: p.symlink_to("nowhere")),
    "a truncated photograph": (".png", lambda p, r: p.write_bytes(png_bytes(pixels())[:-99])),
    "a damaged photograph": (
        ".jpg",
        lambda p, r: p.write_bytes(b"\xff\xd8\xff" + b"damage" * 99),
    ),
    "16 bits a sample": (".png", lambda p, r: save(p, pixels()[..., 0].astype(np.uint16))),
    "CMYK": (".jpg", lambda p, r: Image.fromarray(pixels()).convert("CMYK").save(p)),
    "an animation": (".gif", frames),
    "several pages": (".tiff", frames),
    "another kind of image": (
        ".heic",
        lambda p, r: p.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)),
    ),
    "a decompression bomb": (".png", bomb),
    "a protected image": (".png", protected),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_bad_original_is_reported_and_the_others_are_done(raeg, tmp_path, name):
    suffix, make = ORIGINALS[name]
    photos = tmp_path / "photos"
    save(photos / "good.png", pixels(1))
    save(photos / "zebra.png", pixels(2))
    bad = photos / f"bad{suffix}"
    make(bad, raeg)
    result = raeg("protect", photos, tmp_path / "out", status=None)
    (reported,) = (line for line in result.err.splitlines() if line.startswith("failed: "))
    assert reported.startswith(f"failed: {bad} ")
    documented.check(name, result.status, reported)
    assert files(tmp_path / "out") == [NAME, "good.png", "zebra.png"]
    assert result.out.startswith("2 images protected; ")


# Protected images that can't be recovered: name -> how one is changed.


def rewrite(change):
    def make(path, raeg):
        picture = read_image_file(path)
        pixels = np.array(picture.pixels)
        changed = change(pixels)
        path.unlink()
        Image.fromarray(pixels if changed is None else changed).save(path)

    return make


def tamper(pixels):
    pixels[-1, -1] ^= 1


def with_payload(change):
    """Puts a changed payload beside an original."""

    def make(path, raeg):
        save(path, pixels(3, 12, 12))
        raeg("protect", path, path.with_name("x.png"))
        written = path.with_name("x.png")
        picture = read_image_file(written)
        write_image_file(path, picture, payload_chunk=change(picture.payload_chunk))
        written.unlink()

    return make


def newer(blob):
    body = bytes([VERSION + 1]) + blob[1:-4]
    return body + struct.pack("<I", zlib.crc32(body))


def by_another(option, name):
    def make(path, raeg):
        save(path.with_name("original.png"), pixels(5))
        if option == "--key":
            raeg("keygen", raeg.folder / name)
        else:
            (raeg.folder / name).write_bytes(b"other generator")
        original = path.with_name("original.png")
        raeg("protect", original, path, "--overwrite", option, raeg.folder / name)
        original.unlink()

    return make


def as_jpeg(path, raeg):
    Image.fromarray(read_image_file(path).pixels).save(path, "JPEG", quality=95)


PROTECTED = {
    "never protected": lambda p, r: save(p, pixels(7)),
    "locked by another key": by_another("--key", "other.key"),
    "made by another generator": by_another("--generator", "other"),
    "changed pixels": rewrite(tamper),
    "cropped": rewrite(lambda pixels: pixels[1:]),
    "saved as JPEG": as_jpeg,
    "a truncated protected file": lambda p, r: p.write_bytes(p.read_bytes()[:-99]),
    "a damaged payload": with_payload(lambda blob: blob[:30] + b"?" + blob[31:]),
    "a payload of a later version": with_payload(newer),
    "a lost payload": with_payload(lambda blob: None),
}


@pytest.mark.parametrize("name", PROTECTED)
def test_a_bad_protected_image_is_reported_and_the_others_are_recovered(raeg, tmp_path, name):
    for number, stem in enumerate(("bad", "good", "zebra")):
        save(tmp_path / "photos" / f"{stem}.png", pixels(number))
    out = tmp_path / "out"
    raeg("protect", tmp_path / "photos", out)
    PROTECTED[name](out / "bad.png", raeg)
    result = raeg("recover", out, tmp_path / "back", status=None)
    (reported,) = (line for line in result.err.splitlines() if line.startswith("failed: "))
    assert "bad.png" in reported
    documented.check(name, result.status, reported)
    assert files(tmp_path / "back") == [NAME, "good.png", "zebra.png"]
    for number, stem in ((1, "good"), (2, "zebra")):
        back = read_image_file(tmp_path / "back" / f"{stem}.png")
        np.testing.assert_array_equal(back.pixels, pixels(number))


# Outputs that can't be: name -> (arguments of protection, preparation).


def existing(folder, raeg):
    save(folder / "out" / "good.png", pixels(40))


def long(folder, raeg):
    save(folder / "photos" / "good.png", pixels(1, 8, 16_384))


def tiny(folder, raeg):
    save(folder / "photos" / "good.png", pixels(1, 8, 8))


def other_key(folder, raeg):
    raeg("keygen", folder / "other.key")
    raeg("protect", folder / "photos", folder / "out", "--key", folder / "other.key")


def damaged_manifest(folder, raeg):
    raeg("protect", folder / "photos", folder / "out")
    (folder / "out" / NAME).write_text("text\n")


def circle(folder, raeg):
    (folder / "circle").symlink_to("circle")


def nothing(folder, raeg):
    pass


OUT = ("photos", "out")
PLACES = {
    "an output that is there": (OUT, existing),
    "a class that the generator doesn't know": ((*OUT, "--labels", "folders"), nothing),
    "no room for the payload in a WebP or TIFF": ((*OUT, "--format", "webp"), tiny),
    "too large for WebP": ((*OUT, "--format", "webp"), long),
    "no source": (("nowhere", "out"), nothing),
    "a source without images": (
        ("empty", "out"),
        lambda folder, raeg: save(folder / "empty" / "a.ico", pixels()),
    ),
    "the output is the source": (("photos", "photos"), nothing),
    "the output is in the source": (("photos", "photos/new/out"), nothing),
    "the source is in the output": (("photos", "."), nothing),
    "the output is a file": (("photos", "generator"), nothing),
    "a name that no file can have": (("photos", 300 * "x"), nothing),
    "a link that leads round in a circle": (("photos", "circle/out"), circle),
    "a file onto itself": (("photos/good.png", "photos/good.png", "--overwrite"), nothing),
    "output as JPEG": ((*OUT, "--format", "jpeg"), nothing),
    "output named as JPEG": (("photos/good.png", "out.jpg"), nothing),
    "no key file": ((*OUT, "--key", "none"), nothing),
    "not a key file": ((*OUT, "--key", "generator"), nothing),
    "no generator file": ((*OUT, "--generator", "none"), nothing),
    "the output of another run": (OUT, other_key),
    "a damaged manifest": (OUT, damaged_manifest),
}


@pytest.mark.parametrize("name", PLACES)
def test_impossible_places_are_reported_and_nothing_is_replaced(raeg, tmp_path, monkeypatch, name):
    arguments, prepare = PLACES[name]
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photos" / "good.png", pixels(1))
    prepare(tmp_path, raeg)
    before = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    result = raeg("protect", *arguments, status=None)
    lines = result.err.splitlines()
    (reported,) = (line for line in lines if line.startswith(("failed: ", "error: ")))
    documented.check(name, result.status, reported)
    after = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    new = after.keys() - before.keys()
    assert {path: after[path] for path in before if path not in ("out/" + NAME,)} == {
        path: content for path, content in before.items() if path not in ("out/" + NAME,)
    }
    assert new <= {"out/" + NAME}


@pytest.mark.parametrize("source", ["", "top.tiff"])
def test_a_folder_without_permission_is_reported(raeg, photos, tmp_path, monkeypatch, source):
    """Root has all permissions, so calls are refused as they are to others."""

    def refuse(call):
        def refusing(path, *arguments, **options):
            if "closed/" in str(path):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return call(path, *arguments, **options)

        return refusing

    for name in ("stat", "lstat", "mkdir"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))
    result = raeg("protect", photos / source, tmp_path / "closed" / "out", status=None)
    reported = result.err.splitlines()[-1]
    if source:
        assert result.status == 1
        assert "closed/out/top.png can't be written (Permission denied): name another" in reported
    else:
        documented.check("a folder without permission", result.status, reported)


@pytest.mark.parametrize("what", ["protected", "original", "key", "manifest", "inspected"])
def test_no_pipe_is_waited_for(raeg, tmp_path, what):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number, stem in enumerate(("bad", "good")):
        save(photos / f"{stem}.jpg", pixels(number))
    raeg("protect", photos, out)
    pipe = {
        "protected": out / "bad.png",
        "original": photos / "bad.jpg",
        "manifest": out / NAME,
    }.get(what, tmp_path / "pipe")
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    reported = f"{pipe} is not a file: "
    if what == "key":
        assert reported in raeg("verify", out, "--key", pipe, status=2).err
    elif what == "inspected":
        assert reported in raeg("inspect", pipe, status=2).err
    elif what == "manifest":
        assert reported in raeg("protect", photos, out, status=2).err
        raeg("verify", out, "--originals", photos)
    else:
        result = raeg("verify", out, "--originals", photos, status=1)
        assert f"FAILED  {reported}" in result.out
        assert "exact   good.png" in result.out
        if what == "protected":
            result = raeg("recover", out, tmp_path / "back", status=1)
            assert f"failed: {reported}" in result.err
            assert files(tmp_path / "back") == [NAME, "good.png"]


def test_files_are_looked_at_before_they_are_read(raeg, tmp_path):
    """These are as large as none that could be read here."""
    for name, start in (("a.jpg", b"\0"), ("b.jpg", b"\xff\xd8\xff\xe0")):
        (tmp_path / name).write_bytes(start)
        os.truncate(tmp_path / name, 2**40)
    for name, kind in (("a", "not an image"), ("b", "a file of more than a gigabyte")):
        result = raeg("verify", tmp_path / f"{name}.jpg", status=1)
        (reported,) = (line for line in result.out.splitlines() if line.startswith("FAILED"))
        documented.check(kind, 1, reported.replace("FAILED  ", "failed: "))
    # A digest of their bytes isn't begun either.
    result = raeg("protect", tmp_path, f"{tmp_path}-out", status=1)
    assert "2 failed" in result.out


def test_a_folder_in_use_is_refused(raeg, photos, tmp_path):
    with open_manifest(tmp_path / "out", {}):
        result = raeg("protect", photos, tmp_path / "out", status=2)
    assert "error: another run is at work in" in result.err
    shutil.rmtree(tmp_path / "out")
    raeg("protect", photos, tmp_path / "out")


def test_the_documentation_has_all_of_these():
    """Status and text are compared where each is tried."""
    kinds = {*ORIGINALS, *PROTECTED, *PLACES}
    assert documented.rows().keys() >= kinds
    assert len(kinds) >= 20
