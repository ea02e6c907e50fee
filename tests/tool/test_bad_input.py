"""Bad input of all kinds: each gets its own sentence, and all other images are done.

docs/tool.md has a table of these; the test at the end keeps it complete.
"""

import io
import pathlib
import re
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from raeg_jax.codec import chunk
from raeg_jax.codec.envelope import VERSION
from raeg_jax.codec.picture import read_picture
from raeg_jax.codec.writing import write_picture
from raeg_jax.tool.manifest import NAME, opened
from tests.tool.conftest import files, pixels, save

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "tool.md"


def png_bytes(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


# Originals that can't be protected: name -> (suffix, how the file is made, what is told).


def bomb(path, raeg):
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    start, end = chunk._encode(b"IHDR", header), chunk._encode(b"IEND", b"")
    path.write_bytes(chunk.SIGNATURE + start + chunk._encode(b"IDAT", zlib.compress(b"")) + end)


def frames(path, raeg):
    images = [Image.fromarray(pixels(i)) for i in range(3)]
    images[0].save(path, save_all=True, append_images=images[1:])


def protected(path, raeg):
    save(path, pixels())
    raeg("protect", path, path.with_name("protected.png"))
    path.with_name("protected.png").replace(path)


ORIGINALS = {
    "not an image": (".jpg", lambda p, r: p.write_text("text"), "is not an image in JPEG, PNG,"),
    "an empty file": (".png", lambda p, r: p.touch(), "is empty: copy it again"),
    "a link to nothing": (".png", lambda p, r: p.symlink_to("nowhere"), "can't be read .No such"),
    "a truncated photograph": (
        ".png",
        lambda p, r: p.write_bytes(png_bytes(pixels())[:-99]),
        "is truncated: copy it again",
    ),
    "a damaged photograph": (
        ".jpg",
        lambda p, r: p.write_bytes(b"\xff\xd8\xff" + b"damage" * 99),
        "is damaged",
    ),
    "16 bits a sample": (
        ".png",
        lambda p, r: save(p, pixels()[..., 0].astype(np.uint16)),
        "has more than 8 bits a sample: convert it to 8 bits first",
    ),
    "CMYK": (
        ".jpg",
        lambda p, r: Image.fromarray(pixels()).convert("CMYK").save(p),
        "is CMYK, and its conversion to RGB isn't exact: convert it to RGB first",
    ),
    "an animation": (".gif", frames, "has 3 frames or pages: save each as a file of its own"),
    "several pages": (".tiff", frames, "has 3 frames or pages: save each as a file of its own"),
    "another kind of image": (
        ".heic",
        lambda p, r: p.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)),
        "is not an image in JPEG, .*: convert it to PNG",
    ),
    "a decompression bomb": (
        ".png",
        bomb,
        "has more than [0-9,]+ pixels, as files made to exhaust",
    ),
    "a protected image": (".png", protected, "is protected already: give the original"),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_bad_original_is_told_and_the_others_are_done(raeg, tmp_path, name):
    suffix, make, message = ORIGINALS[name]
    photos = tmp_path / "photos"
    save(photos / "good.png", pixels(1))
    save(photos / "zebra.png", pixels(2))
    bad = photos / f"bad{suffix}"
    make(bad, raeg)
    result = raeg("protect", photos, tmp_path / "out", status=1)
    (told,) = (line for line in result.err.splitlines() if line.startswith("failed: "))
    assert re.match(f"failed: {re.escape(str(bad))} {message}", told)
    assert files(tmp_path / "out") == [NAME, "good.png", "zebra.png"]
    assert result.out.startswith("2 images protected; ")


# Protected images that can't be recovered: name -> (how one is changed, what is told).


def rewrite(change):
    def make(path, raeg):
        picture = read_picture(path)
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
        picture = read_picture(written)
        write_picture(path, picture, payload_chunk=change(picture.payload_chunk))
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
    Image.fromarray(read_picture(path).pixels).save(path, "JPEG", quality=95)


PROTECTED = {
    "never protected": (lambda p, r: save(p, pixels(7)), "no message is hidden in this image"),
    "locked by another key": (
        by_another("--key", "other.key"),
        "locked by the key [0-9a-f]{4}, bu",
    ),
    "made by another generator": (
        by_another("--generator", "other"),
        "protected by the generator [0-9a-f]{16}, but this is",
    ),
    "changed pixels": (rewrite(tamper), "this image was changed"),
    "cropped": (rewrite(lambda pixels: pixels[1:]), "(no message is hidden|was changed)"),
    "saved as JPEG": (as_jpeg, "(no message is hidden|was changed)"),
    "a truncated protected file": (
        lambda p, r: p.write_bytes(p.read_bytes()[:-99]),
        "is truncated: copy it again",
    ),
    "a damaged payload": (
        with_payload(lambda blob: blob[:30] + b"?" + blob[31:]),
        "the payload's checksum is wrong",
    ),
    "a payload of a later version": (with_payload(newer), "the payload has format 2, and this"),
    "a lost payload": (with_payload(lambda blob: None), "no message is hidden in this image"),
}


@pytest.mark.parametrize("name", PROTECTED)
def test_a_bad_protected_image_is_told_and_the_others_are_recovered(raeg, tmp_path, name):
    change, message = PROTECTED[name]
    for number, stem in enumerate(("bad", "good", "zebra")):
        save(tmp_path / "photos" / f"{stem}.png", pixels(number))
    out = tmp_path / "out"
    raeg("protect", tmp_path / "photos", out)
    change(out / "bad.png", raeg)
    result = raeg("recover", out, tmp_path / "back", status=1)
    (told,) = (line for line in result.err.splitlines() if line.startswith("failed: "))
    assert re.match(rf"failed: (.*/)?bad\.png:? {message}", told)
    assert files(tmp_path / "back") == [NAME, "good.png", "zebra.png"]
    for number, stem in ((1, "good"), (2, "zebra")):
        back = read_picture(tmp_path / "back" / f"{stem}.png")
        np.testing.assert_array_equal(back.pixels, pixels(number))


# Outputs that can't be: name -> (arguments of protection, preparation, exit status, what is told).


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


def nothing(folder, raeg):
    pass


OUT = ("photos", "out")
PLACES = {
    "an output that is there": (OUT, existing, 1, "out/good.png exists and isn't of this run: "),
    "a class that the generator doesn't know": (
        (*OUT, "--labels", "folders"),
        nothing,
        1,
        "photos/good.png is in no folder with the name of a class of the generator .such as anchor",
    ),
    "no room for the payload in a WebP or TIFF": (
        (*OUT, "--format", "webp"),
        tiny,
        1,
        "has no room for the payload in its pixels, and a .webp file none beside them: use --for",
    ),
    "too large for WebP": ((*OUT, "--format", "webp"), long, 1, "good.webp: WebP holds at most"),
    "no source": (("nowhere", "out"), nothing, 2, "nowhere doesn't exist: check the name"),
    "a source without images": (
        ("empty", "out"),
        lambda folder, raeg: save(folder / "empty" / "a.ico", pixels()),
        2,
        "there are no images in empty, only 1 other file, such as a.ico: name a folder with im",
    ),
    "the output is the source": (
        ("photos", "photos"),
        nothing,
        2,
        "photos is in the source folder",
    ),
    "the output is in the source": (
        ("photos", "photos/new/out"),
        nothing,
        2,
        "photos/new/out is in the source folder photos, whose images it would mix with its own",
    ),
    "the source is in the output": (
        ("photos", "."),
        nothing,
        2,
        "photos is in the output folder ., so originals could be replaced: name another output",
    ),
    "the output is a file": (
        ("photos", "generator"),
        nothing,
        2,
        "generator is a file: name a folder for what is made of the images",
    ),
    "a file onto itself": (
        ("photos/good.png", "photos/good.png", "--overwrite"),
        nothing,
        2,
        "photos/good.png is the source itself: name another output",
    ),
    "output as JPEG": (
        (*OUT, "--format", "jpeg"),
        nothing,
        2,
        "JPEG changes pixels, and the original could not be recovered: use .png, .webp or .tiff",
    ),
    "output named as JPEG": (
        ("photos/good.png", "out.jpg"),
        nothing,
        2,
        "out.jpg: JPEG changes pixels, and the original could not be recovered: use .png, .webp",
    ),
    "no key file": (
        (*OUT, "--key", "none"),
        nothing,
        2,
        "there is no key file none: make one with",
    ),
    "not a key file": ((*OUT, "--key", "generator"), nothing, 2, "generator isn't a key file: it"),
    "no generator file": ((*OUT, "--generator", "none"), nothing, 2, "there is no generator file"),
    "the output of another run": (
        OUT,
        other_key,
        2,
        "out holds the work of a run with key [0-9a-f]",
    ),
    "a damaged manifest": (OUT, damaged_manifest, 2, ".raeg-manifest.jsonl, line 1, is not what"),
}


@pytest.mark.parametrize("name", PLACES)
def test_impossible_places_are_told_and_nothing_is_replaced(raeg, tmp_path, monkeypatch, name):
    arguments, prepare, status, message = PLACES[name]
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photos" / "good.png", pixels(1))
    prepare(tmp_path, raeg)
    before = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    result = raeg("protect", *arguments, status=status)
    start = "failed: " if status == 1 else "error: "
    told = [line for line in result.err.splitlines() if line.startswith(start)]
    assert len(told) == 1, result.err
    assert re.search(message, told[0])
    after = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    new = after.keys() - before.keys()
    assert {path: after[path] for path in before if path not in ("out/" + NAME,)} == {
        path: content for path, content in before.items() if path not in ("out/" + NAME,)
    }
    assert new <= {"out/" + NAME}


def test_a_folder_in_use_is_refused(raeg, photos, tmp_path):
    with opened(tmp_path / "out", {}):
        result = raeg("protect", photos, tmp_path / "out", status=2)
    assert "error: another run is at work in" in result.err
    shutil.rmtree(tmp_path / "out")
    raeg("protect", photos, tmp_path / "out")


def test_the_documentation_has_all_of_these():
    rows = re.findall(r"^\| ([^|`]+?) \| [12] \|", DOCS.read_text(), re.MULTILINE)
    kinds = {*ORIGINALS, *PROTECTED, *PLACES}
    assert set(rows) >= kinds
    assert len(kinds) >= 20
