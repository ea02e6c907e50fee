"""Writing a listing: what is kept, what is skipped, and what a killed run leaves behind."""

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from raeg_jax import data
from raeg_jax.data import builder
from raeg_jax.errors import UserError


@pytest.fixture
def source(make_tree, tmp_path):
    return make_tree(tmp_path / "in", {"a": 20, "b": 20}, suffix="png")


@pytest.fixture
def settings(settings, source):
    settings.dataset = "image_folder"
    settings.source = str(source)
    return settings


def run(script, settings, check=True):
    """Runs a script in a new process, with the settings as `settings`."""
    start = f"""
        from ml_collections import ConfigDict
        settings = ConfigDict({settings.to_dict()!r})
    """
    text = textwrap.dedent(start) + textwrap.dedent(script)
    command = [sys.executable, "-c", text]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=120)


def test_records_keep_the_listing_order_and_the_bytes(settings, source):
    splits = data.load(settings)
    names = splits.train.file_names
    assert names == sorted(names)
    for records in (splits.train, splits.test):
        for index, record in enumerate(records):
            assert record["file_name"] == records.file_names[index]
            assert record["label"] == records.labels[index]
            assert record["image"] == (source / record["file_name"]).read_bytes()


def test_broken_files_are_counted_and_named(settings, source, capsys):
    (source / "a" / "0000.png").write_bytes(b"nothing")
    whole = (source / "b" / "0003.png").read_bytes()
    (source / "b" / "0003.png").write_bytes(whole[:-100])
    (source / "b" / "gone.png").symlink_to(source / "nowhere.png")
    (source / "b" / "readme.txt").write_text("hello")
    splits = data.load(settings)
    assert len(splits.train) + len(splits.test) == 38
    assert sorted(name.split(" ")[0] for name in splits.skipped) == [
        "a/0000.png",
        "b/0003.png",
        "b/gone.png",
        "b/readme.txt",
    ]
    assert json.loads((splits.train.folder / "skipped.json").read_text()) == list(splits.skipped)
    assert "4 files skipped, 38 remain: " in capsys.readouterr().err
    # The next run says so too.
    assert data.load(settings).skipped == splits.skipped
    assert "4 files skipped" in capsys.readouterr().err


def test_odd_files_are_converted(settings, source):
    grey = np.arange(400, dtype=np.uint16).reshape(20, 20) * 150
    Image.fromarray(grey).save(source / "a" / "deep.png")
    splits = data.load(settings)
    records = {r["file_name"]: r for split in (splits.train, splits.test) for r in split}
    image = data.decode.to_rgb(records["a/deep.png"]["image"])
    np.testing.assert_allclose(image[..., 0].astype(int), grey / 257, atol=1)


def test_a_failing_disk_leaves_nothing_out(settings, source, monkeypatch):
    read = builder.ListingBuilder.read

    def failing(self, entry):
        if entry.file_name == "b/0003.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(self, entry)

    with monkeypatch.context() as patched:
        patched.setattr(builder.ListingBuilder, "read", failing)
        with pytest.raises(UserError, match=r"b/0003.png can't be read .*Nothing was prepared"):
            data.load(settings)
    splits = data.load(settings)
    assert (len(splits.train) + len(splits.test), splits.skipped) == (40, ())


def test_a_class_of_broken_files_stops_the_preparation(settings, source):
    for path in (source / "b").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"no readable training image in 1 classes: b\. 20 files"):
        data.load(settings)
    # Nothing half-made is trusted afterwards.
    with pytest.raises(UserError, match="no readable training image"):
        data.load(settings)


def test_many_shards_make_one_split(settings, monkeypatch):
    monkeypatch.setattr(builder, "_SHARD_BYTES", 3000)
    monkeypatch.setattr(builder, "_CHUNK", 3)
    splits = data.load(settings)
    assert len(list(splits.train.folder.glob("*train.array_record*"))) > 3
    assert [record["file_name"] for record in splits.train] == splits.train.file_names


def test_a_killed_preparation_is_started_again(settings, source):
    script = """
        import os, signal
        from raeg_jax import data
        storable = data.decode.storable
        calls = []
        def dying(image):
            calls.append(image)
            if len(calls) > 35:
                os.kill(os.getpid(), signal.SIGKILL)
            return storable(image)
        data.decode.storable = dying
        data.load(settings)
    """
    assert run(script, settings, check=False).returncode == -9
    cache = source.parent / "cache" / "image_folder"
    assert list(cache.glob("*/incomplete.*"))
    splits = data.load(settings)
    assert len(splits.train) + len(splits.test) == 40
    assert not list(cache.glob("*/incomplete.*"))


def test_two_processes_prepare_once(settings, source):
    script = """
        from raeg_jax import data
        print(len(data.load(settings).train))
    """
    start = f"from ml_collections import ConfigDict\nsettings = ConfigDict({settings.to_dict()!r})"
    command = [sys.executable, "-c", start + textwrap.dedent(script)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == ["32", "32"]


def test_tensorflow_is_never_imported(settings, tmp_path):
    # Found by those who only ask whether it is there, and loud when imported.
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("assert False, 'TensorFlow imported'")
    script = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from raeg_jax import data
        splits = data.load(settings)
        images, labels, _ = data.arrays(splits.train, settings)
        assert splits.train[0]["image"] and images.shape == (32, 16, 16, 3)
        assert "tensorflow" not in sys.modules
        print("done")
    """
    assert "done" in run(script, settings).stdout


def test_prepared_data_do_not_need_the_source_to_be_read(settings, source):
    splits = data.load(settings)
    shutil.rmtree(source)
    assert len([record["image"] for record in splits.train]) == 32
