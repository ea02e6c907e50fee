"""A run that is given again: what is finished stays, what isn't is done, nothing is lost."""

import errno
import json
import os
import re
import shutil
from types import SimpleNamespace

import pytest

from raeg_jax.cli import outputs
from raeg_jax.cli.manifest import NAME
from raeg_jax.errors import UserError
from tests.cli import documented
from tests.cli.conftest import KEY, files, pixels, save
from tests.cli.fake_codec import Protector


@pytest.fixture
def photos(tmp_path):
    for number in range(6):
        save(tmp_path / "photos" / f"{number}.png", pixels(number))
    return tmp_path / "photos"


@pytest.fixture
def out(raeg, photos, tmp_path):
    raeg("protect", photos, tmp_path / "out")
    raeg.protectors.clear()
    return tmp_path / "out"


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files(folder) if name != NAME}


def protected(raeg):
    """Number of images that the last run protected."""
    return sum(size for size, *_ in raeg.protectors[-1].batches)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("copied", ["", "photos", "out"])
def test_what_is_finished_is_not_done_again(raeg, photos, out, tmp_path, copied, overwrite):
    """Copies are known by their contents."""
    if copied:
        shutil.copytree(tmp_path / copied, tmp_path / "copy", copy_function=shutil.copyfile)
        shutil.rmtree(tmp_path / copied)
        (tmp_path / "copy").rename(tmp_path / copied)
    before = contents(out), (out / NAME).read_bytes()
    result = raeg("protect", photos, out, *overwrite)
    assert result.out == "0 images protected; 6 were done before\n"
    assert protected(raeg) == 0
    assert (contents(out), (out / NAME).read_bytes()) == before


def test_new_images_and_lost_outputs_are_done(raeg, photos, out):
    before = contents(out)
    (out / "3.png").unlink()
    save(photos / "new" / "6.png", pixels(6))
    result = raeg("protect", photos, out)
    assert result.out.startswith("2 images protected")
    assert protected(raeg) == 2
    assert contents(out).items() >= before.items()


@pytest.mark.parametrize("command", ["protect", "recover"])
def test_another_folders_images_are_not_taken_for_those_that_are_finished(raeg, tmp_path, command):
    """Of the same names, sizes and times, as copies of a camera's or an archive's may be."""
    sources = [tmp_path / "one", tmp_path / "two"]
    for number, source in enumerate(sources):
        save(tmp_path / f"photos{number}" / "0001.bmp", pixels(number))
        save(tmp_path / f"photos{number}" / "0002.bmp", pixels(9))
        raeg("protect", tmp_path / f"photos{number}", source, "--format", "tiff")
        if command == "protect":
            source = tmp_path / f"photos{number}"
            sources[number] = source
        for path in source.glob("0*"):
            os.utime(path, ns=(5, 5))
    raeg(command, sources[0], tmp_path / "out")
    before = contents(tmp_path / "out")
    result = raeg(command, sources[1], tmp_path / "out", status=1)
    (first,) = sources[1].glob("0001*")
    documented.check("another image of a finished one's name", 1, result.err.splitlines()[-1])
    assert f"failed: {first} has changed since" in result.err
    assert result.out.endswith("; 1 were done before; 1 failed\n")
    assert contents(tmp_path / "out") == before
    raeg(command, sources[1], tmp_path / "out", "--overwrite")
    raeg(command, sources[1], tmp_path / "other")
    assert contents(tmp_path / "out") == contents(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("source", r"photos/2\.png has changed since .*out/2\.png was made of it, or is anothe"),
        ("output", r"out/2\.png has changed since it was written: move it away, or give --overw"),
        ("other", r"out/other\.png exists and isn't of this run: name another output folder, or"),
    ],
)
def test_what_would_be_replaced_is_reported_and_replaced_only_if_asked_for(
    raeg, photos, out, change, message
):
    changed = {"source": photos / "2.png", "output": out / "2.png", "other": out / "other.png"}
    save(changed[change], pixels(50))
    name = changed[change].name
    if change == "other":
        save(photos / name, pixels(51))
    before = contents(out)
    result = raeg("protect", photos, out, status=1)
    assert re.search(message, result.err)
    before_it = 6 if change == "other" else 5
    assert result.out == f"0 images protected; {before_it} were done before; 1 failed\n"
    assert contents(out) == before
    raeg("protect", photos, out, "--overwrite")
    assert contents(out).keys() == before.keys()
    assert {n for n in before if contents(out)[n] != before[n]} == {name}
    assert protected(raeg) == 1


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_another_images_finished_output_is_never_replaced(raeg, tmp_path, overwrite):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number, name in enumerate(("a.jpg", "a.png.jpg")):
        save(photos / name, pixels(number))
    raeg("protect", photos, out)
    before = contents(out)
    assert list(before) == ["a.png", "a.png.png"]
    # It would keep its name, which the output of `a.jpg` has.
    save(photos / "a.png", pixels(2))
    result = raeg("protect", photos, out, *overwrite, status=1)
    documented.check("an output that is another image's", 1, result.err.splitlines()[-1])
    assert contents(out) == before
    # Without the other image nobody misses its output.
    (photos / "a.jpg").unlink()
    result = raeg("protect", photos, out, *overwrite, status=None)
    assert (result.status, contents(out) == before) == ((0, False) if overwrite else (1, True))


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_nothing_is_written_through_a_link_into_the_source(raeg, tmp_path, overwrite):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number, name in enumerate(("a.png", "sub/b.bmp", "sub/c.png", "sub/deep/d.png")):
        save(photos / name, pixels(number))
    before = contents(photos)
    out.mkdir()
    (out / "sub").symlink_to("../photos/sub")
    result = raeg("protect", photos, out, *overwrite, status=1)
    reported = [line for line in result.err.splitlines() if line.startswith("failed: ")]
    assert len(reported) == 3
    for line in reported:
        documented.check("a link in the output folder that leads into the source", 1, line)
    assert contents(photos) == before
    assert (out / "a.png").is_file()


def test_a_failed_image_is_tried_again(raeg, photos, out):
    (photos / "bad.png").write_bytes(b"")
    assert "bad.png is empty" in raeg("protect", photos, out, status=1).err
    save(photos / "bad.png", pixels(9))
    assert raeg("protect", photos, out).out.startswith("1 image protected")


def test_a_file_that_is_no_longer_alone_keeps_its_output(raeg, photos, out):
    save(photos / "2.tiff", pixels(60))
    raeg("protect", photos, out)
    assert protected(raeg) == 1
    assert {"2.png", "2.tiff.png"} <= set(files(out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "webp"), "with format png, and this run has webp"),
        (("--strip",), "with strip False, and this run has True"),
        (("--labels", "none"), "with labels auto, and this run has none"),
        (("--tries", "2"), "with tries 1, and this run has 2"),
        (("--key", "other.key"), "with key [0-9a-f]{4}, and this run has [0-9a-f]{4}"),
        (("--generator", "other"), "with generator [0-9a-f]{16}, and this run has [0-9a-f]{16}"),
    ],
)
def test_other_settings_are_refused(raeg, photos, out, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    raeg("keygen", "other.key")
    (tmp_path / "other").write_bytes(b"another generator")
    result = raeg("protect", photos, out, *arguments, status=2)
    assert re.search(message, result.err)
    assert result.err.endswith(", or name another folder\n")


def test_a_run_in_which_all_failed_binds_nobody(raeg, out, tmp_path):
    raeg("keygen", tmp_path / "wrong.key")
    raeg("recover", out, tmp_path / "back", "--key", tmp_path / "wrong.key", status=1)
    raeg("recover", out, tmp_path / "back")
    assert len(contents(tmp_path / "back")) == 6
    head, *lines = map(json.loads, (tmp_path / "back" / NAME).read_text().splitlines())
    assert head["key"] == KEY.id
    assert not any("failed" in line for line in lines)


def test_an_output_folder_of_protection_takes_no_recovered_images(raeg, photos, out, tmp_path):
    result = raeg("recover", photos, out, status=2)
    assert "with command protect, and this run has recover" in result.err


def test_ctrl_c_ends_in_a_sentence_and_the_run_resumes(raeg, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    protect = Protector.protect

    def interrupted(self, images, *more):
        if len(self.batches) == 2:
            raise KeyboardInterrupt
        return protect(self, images, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Protector, "protect", interrupted)
        result = raeg("protect", photos, out, "--batch-size", "1", status=130)
    assert result.err.splitlines()[-1].startswith("interrupted: ")
    assert result.err.endswith(" of 6 images done, and the same command resumes from there\n")
    assert not (out / outputs.STAGING).exists()
    raeg("protect", photos, out, "--batch-size", "1")
    assert len(contents(out)) == 6


@pytest.mark.parametrize("after", [0, 1, 4, 7])
def test_a_full_disk_ends_the_run_with_nothing_half_written(
    raeg, photos, tmp_path, monkeypatch, after
):
    """The disk is waited for once for the manifest's head, for each file, and for their lines."""
    out, calls, fsync = tmp_path / "out", [], os.fsync
    raeg("protect", photos, tmp_path / "undisturbed")

    def full(number):
        calls.append(number)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        if after:
            result = raeg("protect", photos, out, "--batch-size", "1", status=1)
            assert "error: no room is left for " in result.err
            assert " of 6 images done, and the same command resumes from there\n" in result.err
        else:
            result = raeg("protect", photos, out, status=2)
            assert "out can't be written (No space left on device)" in result.err
    assert not [name for name in files(out) if name != NAME and (out / name).stat().st_size == 0]
    assert not (out / outputs.STAGING).exists()
    expected = contents(tmp_path / "undisturbed")
    assert contents(out).items() <= expected.items()
    raeg("protect", photos, out)
    assert contents(out) == expected


@pytest.mark.parametrize("free", [0, 10**9])
def test_an_encoder_that_fails_without_reason_has_met_a_full_disk_if_it_is_one(
    raeg, photos, tmp_path, monkeypatch, free
):
    def fail(*arguments, **options):
        cause = OSError("encoder error -2 when writing image file")
        raise UserError("it can't be written") from cause

    monkeypatch.setattr(outputs, "write_image_file", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    result = raeg("protect", photos, tmp_path / "out", status=1)
    assert ("error: no room is left for " in result.err) == (free == 0)
    assert result.err.count("failed: it can't be written") == (6 if free else 0)


def test_where_there_are_no_hard_links_files_get_their_names_too(
    raeg, photos, tmp_path, monkeypatch
):
    def refused(*arguments, **options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    raeg("protect", photos, tmp_path / "out")
    assert len(contents(tmp_path / "out")) == 6
    # Killed between taking a name and giving it to the file.
    (tmp_path / "out" / "3.png").write_bytes(b"")
    assert raeg("protect", photos, tmp_path / "out").out.startswith("1 image protected")
