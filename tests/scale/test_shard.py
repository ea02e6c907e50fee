"""Which images a shard has, and runs of shards in one output folder."""

import collections
import string

import pytest

from raeg_jax.cli.manifest import NAME, open_manifest
from raeg_jax.errors import UserError
from raeg_jax.scale.shard import Shard, of_suffix, parse
from tests.cli.conftest import files, pixels, save


def test_every_name_is_in_one_shard_and_shards_are_of_about_one_size():
    names = [f"{number}/photo {number}.jpg" for number in range(2000)]
    shards = [Shard(number, 5) for number in range(1, 6)]
    counts = collections.Counter(
        shard.number for name in names for shard in shards if shard.has(name)
    )
    assert counts.total() == len(names)
    assert 330 < min(counts.values()) < max(counts.values()) < 470
    assert [name for shard in shards for name in shard.among(names[:7])] == [
        names[number] for number in (0, 5, 1, 6, 2, 3, 4)
    ]
    # A promise, also for a name that isn't Unicode: later versions must find the same shares.
    assert Shard(617, 1000).has("caf\udce9.png")
    assert Shard(512, 1000).has("b/c.jpg")


def test_a_shard_is_written_as_it_is_read():
    shard = parse("3/16")
    assert (str(shard), shard.suffix) == ("3/16", "-0003-of-0016")
    assert of_suffix(shard.suffix) == shard
    assert of_suffix("-3-of-16") is None
    for text in ("0/4", "5/4", "1", "a/b", "-1/4", "1/4/2", ""):
        with pytest.raises(UserError, match=f"--shard={text} is impossible"):
            parse(text)


def test_shards_share_a_source_and_name_outputs_as_one_run_does(raeg, photos, tmp_path):
    raeg("protect", photos, tmp_path / "whole")
    out, total = tmp_path / "out", 0
    for number in (3, 1, 2):
        result = raeg("protect", photos, out, "--shard", f"{number}/3")
        total += int(result.out.split()[0])
    assert total == 5
    images = [name for name in files(out) if not name.startswith(".")]
    assert images == [name for name in files(tmp_path / "whole") if not name.startswith(".")]
    # Those that are finished are skipped.
    assert "protected" in raeg("protect", photos, out, "--shard", "1/3").out
    # Names of originals are known before shards are merged, and any division may read them.
    for number in (1, 2):
        raeg("recover", out, tmp_path / "back", "--shard", f"{number}/2", "--format", "png")
        raeg("verify", out, "--originals", photos, "--shard", f"{number}/2")
    raeg("recover", out, tmp_path / "at once")
    recovered = [name for name in files(tmp_path / "back") if not name.startswith(".")]
    assert recovered == [n for n in files(tmp_path / "at once") if not n.startswith(".")]
    assert len(recovered) == 5


def test_verifying_shards_verifies_each_image_once(raeg, photos, tmp_path):
    raeg("protect", photos, tmp_path / "out")
    lines = [
        line
        for number in (1, 2, 3)
        for line in raeg("verify", tmp_path / "out", "--shard", f"{number}/3").out.splitlines()
        if line.startswith("exact")
    ]
    assert len(lines) == len(set(lines)) == 5
    assert len(files(tmp_path / "out")) == 6


def refused(raeg, *arguments):
    result = raeg(*arguments, status=2)
    (error,) = (line for line in result.err.splitlines() if line.startswith("error: "))
    return error


def test_mixed_ways_of_working_in_a_folder_are_refused(raeg, photos, tmp_path):
    out, plain = tmp_path / "out", tmp_path / "plain"
    raeg("protect", photos, out, "--shard", "1/3")
    raeg("protect", photos, out, "--shard", "2/3")
    before = files(out)
    assert "--shard=1/4 is of 4: resume with --shard=i/3" in refused(
        raeg, "protect", photos, out, "--shard", "1/4"
    )
    assert f"shards of 3 that aren't merged: `raeg merge {out}`" in refused(
        raeg, "protect", photos, out
    )
    assert "with strip False, and this run has True" in refused(
        raeg, "protect", photos, out, "--shard", "3/3", "--strip"
    )
    assert files(out) == before
    raeg("protect", photos, plain)
    assert "leave --shard=1/3 out" in refused(raeg, "protect", photos, plain, "--shard", "1/3")
    single = photos / "top.tiff"
    assert "is for folders" in refused(raeg, "protect", single, plain, "--shard", "1/3")
    assert "is impossible" in refused(raeg, "protect", photos, out, "--shard", "4/3")


def test_shards_work_at_once_and_each_has_one_run(tmp_path):
    one, two = Shard(1, 2), Shard(2, 2)
    with open_manifest(tmp_path, {}, one), open_manifest(tmp_path, {}, two):
        for shard in (one, two):
            with pytest.raises(UserError, match="another run is at work"):
                open_manifest(tmp_path, {}, shard).__enter__()
        with pytest.raises(UserError, match="aren't merged"):
            open_manifest(tmp_path, {}).__enter__()
    assert files(tmp_path) == sorted(
        [NAME, *(f".raeg-manifest{shard.suffix}.jsonl" for shard in (one, two))]
    )


def test_the_output_of_another_shard_is_not_replaced(raeg, tmp_path):
    """As in a folder that grows: `a.jpg` became `a.png`, and then an `a.png` came."""
    source, out = tmp_path / "photos", tmp_path / "out"
    shards = Shard(1, 2), Shard(2, 2)
    # Names in different shards, of which the second takes the first's output.
    shard, _ = shards
    stem = next(s for s in string.ascii_letters if shard.has(f"{s}.jpg") != shard.has(f"{s}.png"))
    first, other = sorted(shards, key=lambda shard: shard.has(f"{stem}.png"))
    save(source / f"{stem}.jpg", pixels(1))
    raeg("protect", source, out, "--shard", first)
    content = (out / f"{stem}.png").read_bytes()
    save(source / f"{stem}.png", pixels(2))
    for options in ([], ["--overwrite"]):
        result = raeg("protect", source, out, "--shard", other, *options, status=1)
        assert "which was made of" in result.err
        assert (out / f"{stem}.png").read_bytes() == content
