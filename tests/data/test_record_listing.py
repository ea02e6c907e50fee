"""WebDataset tars and parquet files as data to train on."""

import os

import numpy as np
import pyarrow
import pytest

from raeg_jax import data
from raeg_jax.data import decode
from raeg_jax.data.builder import ChangedError
from raeg_jax.data.image_folder import ImageFolder
from raeg_jax.data.record_listing import RecordReader
from raeg_jax.errors import UserError
from tests.cli import parquets, tars
from tests.cli.conftest import pixels
from tests.cli.datasets import encoded
from tests.cli.fake_codec import CLASS_NAMES


def png(number):
    return encoded(pixels(number))


def sample(number, text):
    return [(f"{number:04}.png", png(number)), (f"{number:04}.cls", text.encode())]


@pytest.fixture
def load(settings):
    def load(folder):
        settings.dataset, settings.source = "image_folder", str(folder)
        return data.load(settings)

    return load


def rows(splits):
    return [
        (splits.class_names[record["label"]], record["file_name"], record["image"])
        for split in (splits.train, splits.test)
        for record in split
    ]


def test_samples_of_tars_are_prepared(load, tmp_path):
    folder = tmp_path / "in"
    texts = ["9", "10"] * 5
    for name, numbers in (("a", range(4)), ("b", range(4, 10))):
        tars.write(folder / f"{name}.tar", [sample(n, texts[n]) for n in numbers])
    splits = load(folder)
    assert splits.class_names == ("9", "10")
    assert (len(splits.train), len(splits.test)) == (8, 2)
    found = sorted(rows(splits), key=lambda row: row[1])
    for number, row in enumerate(found):
        tar = "a" if number < 4 else "b"
        assert row == (texts[number], f"{tar}.tar/{number:04}.png", png(number))
    # From the cache, and by the same name.
    assert load(folder).fingerprint == splits.fingerprint
    tars.write(folder / "a.tar", [sample(n, texts[n]) for n in (1, 0, 2, 3)])
    assert load(folder).fingerprint != splits.fingerprint


def test_a_split_by_names_is_kept_and_what_cannot_be_used_is_named(load, tmp_path, capsys):
    folder = tmp_path / "in"
    bad = [
        [("x.cls", b"0")],
        [("y.png", png(7))],
        [("z.png", b"no image"), ("z.cls", b"1")],
    ]
    tars.write(folder / "set-train-00.tar", [*(sample(n, str(n % 2)) for n in range(4)), *bad])
    tars.write(folder / "set-test-00.tar", [sample(8, "0"), sample(9, "1")])
    tars.write(folder / "set-val-00.tar", [sample(10, "0")])
    (folder / "classnames.txt").write_text("lotus\nibis\n")
    splits = load(folder)
    assert splits.class_names == ("lotus", "ibis")
    assert [record["file_name"] for record in splits.test] == [
        "set-test-00.tar/0008.png",
        "set-test-00.tar/0009.png",
    ]
    assert len(splits.train) == 4
    skipped = "; ".join(splits.skipped)
    for reason in ("sample x, has no image", "y.png (no class)", "z.png (UnreadableImageError"):
        assert (
            reason in skipped or reason.replace("UnreadableImageError", "Unidentified") in skipped
        )
    note = "image_folder: set-test-00.tar is the test part; left out: set-val-00.tar"
    assert note in capsys.readouterr().err


def test_rows_of_parquet_are_prepared(load, tmp_path):
    folder = parquets.prepare(tmp_path / "in")
    path = folder / "data" / "train-00000-of-00001.parquet"
    table = [parquets.row(n, png(n)) for n in range(6)]
    table[4]["image"] = None
    parquets.write(path, [*table, {**parquets.row(6), "label": -1}])
    splits = load(folder)
    assert splits.class_names == CLASS_NAMES
    train = {name: image for _, name, image in rows(splits) if "train" in name}
    assert train == {f"data/{path.name}/{n}": png(n) for n in (0, 1, 2, 3, 5)}
    assert len(splits.test) == 3
    assert [record["label"] for record in splits.train] == [0, 1, 2, 0, 2]
    assert [line.partition("(")[2] for line in splits.skipped] == [
        "no class)",
        "no bytes of an image)",
    ]


def test_a_column_of_texts_says_the_classes(load, tmp_path):
    schema = pyarrow.schema({"image": parquets.IMAGE, "label": pyarrow.string()})
    table = [{"image": {"bytes": png(n), "path": None}, "label": "ab"[n % 2]} for n in range(6)]
    parquets.write(tmp_path / "in" / "a.parquet", table, schema, {})
    splits = load(tmp_path / "in")
    assert splits.class_names == ("a", "b")
    assert {(name, image) for name, _, image in rows(splits)} == {
        ("ab"[n % 2], png(n)) for n in range(6)
    }


@pytest.mark.parametrize("kind", ["tar", "parquet", "both"])
def test_what_says_no_classes_is_refused(load, tmp_path, kind):
    folder = tmp_path / "in"
    if kind != "parquet":
        tars.write(folder / "a.tar", [sample(1, "x")[:1]])
    if kind != "tar":
        schema = pyarrow.schema({"image": parquets.IMAGE})
        parquets.write(folder / "a.parquet", [{"image": None}], schema, {})
    message = "holds .parquet and .tar" if kind == "both" else "no image with a class is in the 1"
    with pytest.raises(UserError, match=message):
        load(folder)


def test_record_files_that_change_meanwhile_stop_the_preparation(load, tmp_path, monkeypatch):
    folder = tmp_path / "in"
    tars.write(folder / "a.tar", [sample(n, str(n % 2)) for n in range(4)])
    read = RecordReader.read

    def changing(self, entry):
        os.utime(entry.path, ns=(1, 1))
        return read(self, entry)

    monkeypatch.setattr(RecordReader, "read", changing)
    with pytest.raises(ChangedError, match="record files changed while the data were prepared"):
        load(folder)


def test_images_beside_tars_make_a_folder_of_images(settings, make_tree, tmp_path):
    folder = make_tree(tmp_path / "in", {"a": 4, "b": 4})
    tars.write(folder / "backup.tar", [sample(1, "x")])
    settings.source = str(folder)
    listing = ImageFolder.list_source(settings, tmp_path)
    assert len(listing.entries) == 8
    assert decode.to_rgb(ImageFolder(listing, tmp_path / "c").read(listing.entries[0])).any()
    assert np.all([entry.place is None for entry in listing.entries])
