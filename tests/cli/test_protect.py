"""Folders of images there and back."""

import hashlib
import json
import re

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from raeg_jax.cli import operations
from raeg_jax.cli.pipeline import Loaded
from raeg_jax.cli.protect import Protection
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, read_image_file
from raeg_jax.payload.seal import find_payload, open_sealed
from tests.cli import documented
from tests.cli.conftest import KEY, files, pixels, save
from tests.cli.fake_codec import BROKEN, CLASS_NAMES, IMPOSSIBLE, Bundle, Protector

NAMES = ["anchor/deep/two", "anchor/one", "ibis/small", "ibis/three", "top"]
MANIFEST = ".raeg-manifest.jsonl"


def label_of(path):
    return int(open_sealed(find_payload(read_image_file(path)).blob, KEY).side_info[0, 0])


def lines(folder):
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


def test_a_folder_goes_there_and_back(raeg, photos, tmp_path):
    result = raeg("protect", photos, tmp_path / "out")
    assert result.out == (
        "5 images protected; payload in the pixels of 4, in a PNG chunk of 1; mean PSNR 48.13 dB\n"
    )
    assert files(tmp_path / "out") == [MANIFEST, *(f"{name}.png" for name in NAMES)]
    result = raeg("recover", tmp_path / "out", tmp_path / "back")
    assert result.out.startswith("5 images recovered; payload in the pixels of 4")
    assert files(tmp_path / "back") == [MANIFEST, *(f"{name}.png" for name in NAMES)]
    originals = [path for path in photos.rglob("*") if path.is_file()]
    for original in originals:
        name = original.relative_to(photos).with_suffix(".png")
        expected = read_image_file(original).pixels
        assert np.any(read_image_file(tmp_path / "out" / name).pixels != expected)
        np.testing.assert_array_equal(read_image_file(tmp_path / "back" / name).pixels, expected)


@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "PNG"])
def test_all_formats_carry_the_payload(raeg, tmp_path, kind):
    original = save(tmp_path / "photos" / "a.png", pixels())
    raeg("protect", original.parent, tmp_path / "out", "--format", kind)
    protected = tmp_path / "out" / f"a.{kind.lower()}"
    assert read_image_file(protected).format == kind.upper()
    raeg("recover", tmp_path / "out", tmp_path / "back")
    back = read_image_file(tmp_path / "back" / "a.png")
    np.testing.assert_array_equal(back.pixels, pixels())


def test_a_single_file_goes_to_a_name_or_into_a_folder(raeg, tmp_path):
    original = save(tmp_path / "a.png", pixels())
    raeg("protect", original, tmp_path / "new" / "b.webp")
    raeg("protect", original, tmp_path / "folder")
    raeg("protect", original, f"{tmp_path}/folder.d/", "--format", "tiff")
    assert files(tmp_path / "new") == ["b.webp"]
    assert files(tmp_path / "folder") == ["a.png"]
    assert files(tmp_path / "folder.d") == ["a.tiff"]
    raeg("recover", tmp_path / "new" / "b.webp", tmp_path / "c.tif")
    np.testing.assert_array_equal(read_image_file(tmp_path / "c.tif").pixels, pixels())
    refused = raeg("protect", original, tmp_path / "new" / "b.webp", status=1)
    assert "b.webp exists: name another output, or give --overwrite" in refused.err
    raeg("protect", original, tmp_path / "new" / "b.webp", "--overwrite")


@pytest.mark.parametrize("single", [True, False])
def test_a_name_that_another_run_takes_meanwhile_is_left_to_it(raeg, tmp_path, monkeypatch, single):
    save(tmp_path / "photos" / "a.bmp", pixels(1))
    out, protect = tmp_path / "out" / "a.png", Protector.protect

    def late(self, images, *more):
        save(out, pixels(2))
        return protect(self, images, *more)

    monkeypatch.setattr(Protector, "protect", late)
    source = tmp_path / "photos" / ("a.bmp" if single else "")
    result = raeg("protect", source, out.parent, status=1)
    documented.check("an output that another run made meanwhile", 1, result.err.splitlines()[-1])
    np.testing.assert_array_equal(read_image_file(out).pixels, pixels(2))
    assert set(files(out.parent)) <= {MANIFEST, "a.png"}
    if single:
        raeg("protect", source, out.parent, "--overwrite")
        assert files(out.parent) == ["a.png"]
        assert np.any(read_image_file(out).pixels != pixels(2))


def test_names_may_be_as_long_as_the_file_system_lets_them(raeg, tmp_path):
    long = save(tmp_path / "photos" / (250 * "a" + ".bmp"), pixels())
    raeg("protect", long, tmp_path / "single")
    assert files(tmp_path / "single") == [250 * "a" + ".png"]
    # Both would get one name, and so get a suffix more.
    save(long.with_suffix(".tiff"), pixels(1))
    result = raeg("protect", long.parent, tmp_path / "out", status=1)
    reported = [line for line in result.err.splitlines() if line.startswith("failed: ")]
    assert len(reported) == 2
    for line in reported:
        documented.check("too long a name", 1, line)


@pytest.mark.parametrize("strip", [(), ("--strip",)])
def test_what_a_file_was_comes_back(raeg, tmp_path, strip):
    """A grey image with alpha, stored sideways."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    grey, alpha = pixels(height=20)[..., 0], pixels(9, height=20)[..., 0]
    original = save(tmp_path / "photos" / "a.png", np.dstack([grey, alpha]), exif=exif)
    raeg("protect", original.parent, tmp_path / "out", *strip)
    protected = read_image_file(tmp_path / "out" / "a.png")
    assert (protected.mode, protected.orientation) == ("rgb", 1)
    assert (b"Maker" in protected.metadata.exif) == (not strip)
    raeg("recover", tmp_path / "out", tmp_path / "back")
    with Image.open(original) as before, Image.open(tmp_path / "back" / "a.png") as after:
        assert after.mode == "LA"
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
        assert dict(after.getexif()) == ({0x0112: 6} if strip else dict(before.getexif()))


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_lost_metadata_are_reported_in_one_note_unless_they_are_stripped(raeg, tmp_path, kind):
    info = PngInfo()
    info.add_text("prompt", "a photograph")
    info.add(b"plCe", b"somewhere")
    folder = tmp_path / "photos"
    for name in ("a.png", "b.png"):
        save(folder / name, pixels(), pnginfo=info)
    save(folder / "c.png", pixels())
    result = raeg("protect", folder, tmp_path / "out", "--format", kind)
    note = "a.png: left out: plCe"
    if kind != "png":
        note += f"; {'WebP' if kind == 'webp' else 'TIFF'} has no place for the text 'prompt'"
    notes = [line for line in result.err.splitlines() if line.startswith("note: ")]
    # Images are finished in any order.
    assert len(notes) == 1
    assert notes[0].replace("b.png", "a.png") == f"note: {note} (and 1 more image)"
    recovered = raeg("recover", tmp_path / "out", tmp_path / "back", "--format", "webp")
    reported = "WebP has no place for the text 'prompt'"
    assert recovered.err.count(reported) == recovered.err.count("note: ") == (kind == "png")
    assert "note:" not in raeg("verify", tmp_path / "out").err
    result = raeg("protect", folder, tmp_path / "bare", "--format", kind, "--strip")
    assert "note:" not in result.err


def test_warnings_of_pillow_are_notes_of_the_file(raeg, tmp_path, recwarn):
    # An artist's name that would end after the file.
    exif = b"II*\0\x08\0\0\0\1\0\x3b\1\2\0\x63\0\0\0\x1a\0\0\0" + bytes(4)
    save(tmp_path / "photos" / "a.jpg", pixels(), exif=b"Exif\0\0" + exif)
    result = raeg("protect", tmp_path / "photos", tmp_path / "out")
    assert result.err.count("note: a.jpg: it is damaged in part (") == 1
    assert "Warning" not in result.err
    assert not recwarn


def test_alpha_that_webp_left_out_comes_back_opaque(raeg, tmp_path):
    opaque = np.dstack([pixels(), np.full((24, 24), 255, np.uint8)])
    save(tmp_path / "photos" / "a.png", opaque)
    raeg("protect", tmp_path / "photos", tmp_path / "out", "--format", "webp")
    result = raeg("recover", tmp_path / "out", tmp_path / "back")
    assert "note: a.webp: it has no alpha channel, as WebP leaves out" in result.err
    with Image.open(tmp_path / "back" / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), opaque)


@pytest.mark.parametrize(
    ("arguments", "other", "of_named", "of_top"),
    [
        ((), "ibis", 1, None),
        ((), "heron", None, None),
        (("--labels", "none"), "ibis", None, None),
        (("--labels", "folders"), "ibis", 1, "failed"),
    ],
)
def test_labels_come_from_folders_or_from_the_targets(
    raeg, tmp_path, arguments, other, of_named, of_top
):
    save(tmp_path / "photos" / "ibis" / "deep" / "a.png", pixels(1))
    save(tmp_path / "photos" / other / "b.png", pixels(3))
    save(tmp_path / "photos" / "top.png", pixels(2))
    status = 1 if of_top == "failed" else 0
    result = raeg("protect", tmp_path / "photos", tmp_path / "out", *arguments, status=status)
    # The fake writes the number of classes for an image whose label isn't given.
    found = label_of(tmp_path / "out" / "ibis" / "deep" / "a.png")
    assert found == (len(CLASS_NAMES) if of_named is None else of_named)
    if status:
        assert "top.png is in no folder with the name of a class" in result.err
    else:
        assert label_of(tmp_path / "out" / "top.png") == len(CLASS_NAMES)


def test_other_files_are_left_out_and_named(raeg, photos, tmp_path):
    (photos / "notes.txt").write_text("notes")
    (photos / ".hidden.png").write_text("hidden")
    (photos / "linked").symlink_to(photos / "anchor")
    result = raeg("protect", photos, tmp_path / "out")
    assert "left out: 2 other files, such as linked, notes.txt" in result.err
    assert len(files(tmp_path / "out")) == 6


def test_one_bad_image_in_a_batch_leaves_the_others_alone(raeg, tmp_path):
    for number in range(4):
        save(tmp_path / "photos" / f"{number}.png", pixels(number))
    broken, impossible = pixels(8), pixels(9)
    broken[0, 0, 0], impossible[0, 0, 0] = BROKEN, IMPOSSIBLE
    save(tmp_path / "photos" / "broken.png", broken)
    save(tmp_path / "photos" / "impossible.png", impossible)
    result = raeg("protect", tmp_path / "photos", tmp_path / "out", status=1)
    assert result.err.count("failed: ") == 2
    assert "broken.png: unexpectedly failed (RuntimeError: a fault of ours): please" in result.err
    assert "failed: impossible.png: an impossible image: give another one\n" in result.err
    assert result.out.startswith("4 images protected")
    assert result.out.endswith("2 failed\n")
    reasons = {
        line["source"]: line["failed"] for line in lines(tmp_path / "out") if "failed" in line
    }
    assert reasons.keys() == {"broken.png", "impossible.png"}


def test_the_manifest_tells_of_every_file_and_no_secrets(raeg, photos, tmp_path):
    raeg("protect", photos, tmp_path / "out")
    head, *entries = lines(tmp_path / "out")
    assert head == {
        "raeg_manifest": 2,
        "command": "protect",
        "generator": b"generato".hex(),
        "key": KEY.id,
        "format": "png",
        "strip": False,
        "labels": "auto",
        "tries": 1,
    }
    by_name = {entry["source"]: entry for entry in entries}
    assert by_name.keys() == set(files(photos))
    small, one = by_name["ibis/small.png"], by_name["anchor/one.png"]
    assert (small["payload"], one["payload"]) == ("chunk", "pixels")
    assert small["output"] == "ibis/small.png"
    assert one["psnr"] == pytest.approx(48.131)
    original = (photos / "anchor" / "one.png").read_bytes()
    assert one["source_sha256"] == hashlib.sha256(original).hexdigest()
    assert one.keys() == {
        *("source", "source_sha256", "output", "sha256", "output_size", "output_mtime_ns"),
        *("payload", "psnr"),
    }


def test_what_targets_still_read_is_counted_and_resuming_counts_anew(
    raeg, photos, tmp_path, monkeypatch
):
    given = []

    def read(images):
        """One target sees the lowest bit of an image, the other always the same."""
        given.append(len(images))
        bits = np.array([image[0, 0, 0] & 1 for image in images])
        return {"together": 1 - bits, "same": np.full(len(images), 3), "bit": bits}

    monkeypatch.setattr(operations, "make_target_reader", lambda *_: read)
    (photos / "bad.png").touch()
    save(photos / "impossible.png", np.full((24, 24, 3), IMPOSSIBLE, np.uint8))
    result = raeg("protect", photos, tmp_path / "out", status=1)
    # Hiding a payload may change the bit again.
    _, *entries = lines(tmp_path / "out")
    kept = {e["source"]: e["targets"] for e in entries if "targets" in e}
    assert kept.keys() == set(files(photos)) - {"bad.png", "impossible.png"}
    assert all(each["together"] == each["bit"] and each["same"] for each in kept.values())
    count = sum(each["bit"] for each in kept.values())
    assert result.out.endswith(
        f"\nits targets still read {count} of 5 images as before (same 5, bit {count})\n"
    )
    # Originals and protected images, in a pass for each batch.
    assert sum(given) == 10
    save(photos / "one.png", pixels(8))
    result = raeg("protect", photos, tmp_path / "out", status=1)
    assert re.search(r" still read [01] of 1 image as before \(same 1, bit [01]\)\n", result.out)


def test_only_what_could_be_protected_is_read():
    class Refusing(Protector):
        def protect(self, images, labels, modes, orientations):
            done = super().protect(images, labels, modes, orientations)
            return [done[0], UserError("no room"), done[2]]

    operation = Protection(
        Refusing(Bundle(), KEY), None, readings=lambda images: {"sum": [x.sum() for x in images]}
    )
    batch = [Loaded(None, ImageFile(pixels(number))) for number in range(3)]
    first, refused, last = operation.transform(batch)
    assert str(refused) == "no room"
    for index, value in ((0, first), (2, last)):
        same = value.protected.pixels.sum() == pixels(index).sum()
        assert value.kept == {"sum": same}


def test_options_reach_the_protector_and_the_manifest(raeg, tmp_path):
    for number in range(10):
        save(tmp_path / "photos" / f"{number}.png", pixels(number, 24, 24 if number % 3 else 30))
    raeg("protect", tmp_path / "photos", tmp_path / "out", "--batch-size", "4", "--tries", "5")
    (protector,) = raeg.protectors
    assert sorted(size for size, *_ in protector.batches) == [2, 4, 4]
    assert protector.tries == lines(tmp_path / "out")[0]["tries"] == 5
