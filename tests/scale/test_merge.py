"""Merging shards."""

import json
import os

import pytest

from raeg_jax.cli.manifest import MERGED, NAME, manifest_path
from raeg_jax.scale import merge
from raeg_jax.scale.shard import Shard
from tests.cli import datasets
from tests.cli.conftest import files, pixels, save

SHARDS = [Shard(number, 3) for number in (1, 2, 3)]


@pytest.fixture
def out(raeg, photos, tmp_path):
    folder = tmp_path / "out"
    for shard in SHARDS:
        raeg("protect", photos, folder, "--shard", shard)
    return folder


def claims(path):
    head, *lines = map(json.loads, path.read_text().splitlines())
    return head, sorted(lines, key=lambda line: line["source"])


def test_a_merged_folder_is_as_one_run_leaves_it(raeg, photos, out, tmp_path):
    assert raeg("merge", out).out == "3 shards merged: 5 images\n"
    raeg("protect", photos, tmp_path / "whole")
    assert files(out) == files(tmp_path / "whole")
    head, lines = claims(out / NAME)
    other_head, other_lines = claims(tmp_path / "whole" / NAME)
    assert head == {**other_head, MERGED: {"count": 3, "finished": 5, "failed": 0}}
    for one, other in zip(lines, other_lines, strict=True):
        assert {**one, "output_mtime_ns": 0} == {**other, "output_mtime_ns": 0}
    # The same command without --shard skips all, as a second merge does.
    assert "5 were done before" in raeg("protect", photos, out).out
    assert raeg("merge", out).out == "3 shards merged: 5 images\n"
    assert "leave --shard=1/3 out" in raeg("protect", photos, out, "--shard=1/3", status=2).err


def test_recovered_shards_are_merged_too(raeg, out, tmp_path):
    for number in (1, 2):
        raeg("recover", out, tmp_path / "back", "--shard", f"{number}/2")
    assert raeg("merge", tmp_path / "back").out == "2 shards merged: 5 images\n"


def test_failed_images_stay_failed_and_are_tried_again(raeg, photos, tmp_path):
    broken = save(photos / "broken.png", pixels(6))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-40])
    out = tmp_path / "out"
    failed = next(shard for shard in SHARDS if shard.has("broken.png"))
    for shard in SHARDS:
        raeg("protect", photos, out, "--shard", shard, status=int(shard == failed))
    result = raeg("merge", out, status=1)
    assert result.out == "3 shards merged: 5 images\n"
    assert result.err.startswith("failed: 1 image, as the manifest says")
    broken.write_bytes(whole)
    assert raeg("protect", photos, out).out.startswith("1 image protected")


def refused(raeg, out, status=2):
    before = files(out)
    result = raeg("merge", out, status=status)
    assert files(out) == before
    assert len(result.err.splitlines()) == 1
    return result.err


def test_what_is_missing_is_named(raeg, out, tmp_path):
    manifest_path(out, SHARDS[1]).unlink()
    assert "lacks shards: run --shard=2/3 first" in refused(raeg, out)
    assert "is no folder" in raeg("merge", tmp_path / "nothing", status=2).err
    (tmp_path / "empty").mkdir()
    assert "there are no shards" in refused(raeg, tmp_path / "empty")


def test_a_shard_that_has_not_ended_is_named(raeg, out):
    """Its last line is that of an image, or torn."""
    path = manifest_path(out, SHARDS[2])
    whole = path.read_bytes()
    for content in (whole[: whole.rindex(b"{")], whole[:-3], whole + b'{"source": "a'):
        path.write_bytes(content)
        assert "have not ended: run --shard=3/3 again" in refused(raeg, out)


def test_outputs_that_are_not_as_their_lines_say_are_named(raeg, photos, out):
    (out / "top.png").write_bytes(b"changed")
    os.unlink(out / "anchor" / "one.png")
    message = refused(raeg, out, status=1)
    assert f"{out / 'anchor' / 'one.png'} is missing" in message
    assert f"{out / 'top.png'} has changed since it was written" in message
    for shard in SHARDS:
        assert f"--shard={shard}" in message or not (shard.has("top.tiff"))
        raeg("protect", photos, out, "--shard", shard, "--overwrite")
    raeg("merge", out)


def test_other_divisions_and_settings_are_refused(raeg, out):
    path = manifest_path(out, SHARDS[0])
    other = manifest_path(out, Shard(1, 4))
    other.write_bytes(path.read_bytes())
    assert "shards of 3 and of 4" in refused(raeg, out)
    other.unlink()
    head, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(json.dumps({**json.loads(head), "key": "1a2b"}).encode() + b"\n" + rest)
    assert "of --shard=1/3 with key 1a2b, and of --shard=2/3 with" in refused(raeg, out)


def test_what_was_made_without_shards_is_refused(raeg, photos, tmp_path):
    raeg("protect", photos, tmp_path / "plain")
    assert "there is nothing to merge" in refused(raeg, tmp_path / "plain")


def test_a_merge_that_was_killed_resumes_wherever_that_was(raeg, photos, out, monkeypatch):
    """Killed once the manifest is there, and before: nothing is lost."""

    class KilledError(BaseException):
        pass

    def kill(*arguments):
        raise KilledError

    for name in ("os.replace", "remove_shards"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{merge.__name__}.{name}", kill)
            with pytest.raises(KilledError):
                merge.merge_shards(out)
        assert manifest_path(out, SHARDS[0]).exists()
    # The same command as before, without --shard, removes what the merge left.
    assert "5 were done before" in raeg("protect", photos, out).out
    assert sorted(name for name in files(out) if name.startswith(".")) == [NAME]


def test_many_shards_are_named_in_short():
    shards = [Shard(number, 40) for number in range(1, 41)]
    assert merge._listed(shards[:1]) == "--shard=1/40"
    assert merge._listed(shards[:3]) == "--shard=1/40, --shard=2/40 and --shard=3/40"
    assert merge._listed(shards).endswith("--shard=5/40 and 35 others")


@pytest.fixture
def data(tmp_path):
    features = {"image": datasets.FEATURES["image"]}
    images = [{"image": datasets.encoded(pixels(number))} for number in range(6)]
    shards = {"train": [images[:2], images[2:3], images[3:5]], "test": [images[5:]]}
    return datasets.prepare(tmp_path / "data", shards, features)


def test_record_files_are_shared_and_merging_makes_a_data_set(raeg, data, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    raeg("protect", data, whole)
    made = [raeg("protect", data, out, "--shard", f"{number}/2").out for number in (1, 2)]
    assert sum(int(text.split()[0]) for text in made) == 6
    assert "dataset_info.json" not in files(out)
    assert raeg("merge", out).out == "2 shards merged: 6 images\n"
    assert files(out) == files(whole)
    for name in files(whole):
        if name != NAME:
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert raeg("merge", out).out == "2 shards merged: 6 images\n"
    assert "6 were done before" in raeg("protect", data, out).out
    lines = [raeg("verify", out, "--shard", f"{number}/3").out for number in (1, 2, 3)]
    assert sum(text.count("exact") for text in lines) == 6
    for number in (1, 2, 3, 4):
        raeg("recover", out, tmp_path / "back", "--shard", f"{number}/4")
    raeg("merge", tmp_path / "back")
    raeg("verify", out, "--originals", tmp_path / "back")


def test_a_data_set_whose_source_is_elsewhere_is_merged_all_the_same(raeg, data, tmp_path):
    out, moved = tmp_path / "out", tmp_path / "moved"
    for number in (1, 2):
        raeg("protect", data, out, "--shard", f"{number}/2")
    data.rename(moved)
    result = raeg("merge", out, status=1)
    assert f"it is no whole data set yet, as {data}, which it is made of, isn't here" in result.err
    assert "6 were done before" in raeg("protect", moved, out).out
    assert "dataset_info.json" in files(out)


def test_a_data_set_that_lacks_a_record_file_is_not_described(raeg, data, tmp_path):
    out = tmp_path / "out"
    shortest = min(data.glob("*train*"), key=os.path.getsize)
    whole = shortest.read_bytes()
    shortest.write_bytes(whole[:20])
    statuses = [
        raeg("protect", data, out, "--shard", f"{number}/2", status=None).status
        for number in (1, 2)
    ]
    assert sorted(statuses) == [0, 1]
    assert "is missing" in raeg("merge", out, status=1).err
    assert "dataset_info.json" not in files(out)
    shortest.write_bytes(whole)
    raeg("protect", data, out)
    assert "dataset_info.json" in files(out)
