"""Parquet files with images there and back."""

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from raeg_jax.cli.manifest import NAME
from raeg_jax.image_file.read import decode_image_file
from raeg_jax.payload.seal import find_payload, open_sealed
from tests.cli import documented, parquets
from tests.cli.conftest import KEY, files, pixels
from tests.cli.datasets import encoded
from tests.cli.fake_codec import CLASS_NAMES

TRAIN = "data/train-00000-of-00001.parquet"
TEST = "data/test-00000-of-00001.parquet"


@pytest.fixture
def source(tmp_path):
    return parquets.prepare(tmp_path / "source")


def rows(path):
    return parquet.read_table(path).to_pylist()


def picture(row):
    return decode_image_file(row["image"]["bytes"], "image")


def labels(path):
    found = [
        open_sealed(find_payload(picture(row)).blob, KEY).side_info[0, 0] for row in rows(path)
    ]
    # The fake writes the number of classes for an image whose label isn't given.
    return [None if label == len(CLASS_NAMES) else int(label) for label in found]


def test_parquet_goes_there_and_back(raeg, source, tmp_path):
    result = raeg("protect", source, tmp_path / "out")
    assert result.out.startswith("8 images protected; payload in the pixels of 8")
    assert "classes by the feature label: all" in result.err
    result = raeg("verify", tmp_path / "out", "--originals", source)
    assert result.out.count("exact   data/") == 8
    raeg("recover", tmp_path / "out", tmp_path / "back")
    folders = source, tmp_path / "out", tmp_path / "back"
    for name in (TRAIN, TEST):
        opened = [parquet.ParquetFile(folder / name) for folder in folders]
        for file in opened:
            assert file.schema_arrow.equals(opened[0].schema_arrow, check_metadata=True)
            groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
            assert [group.num_rows for group in groups] == ([2, 2, 1] if name == TRAIN else [2, 1])
            codecs = [groups[0].column(n).compression for n in range(file.metadata.num_columns)]
            assert codecs == ["ZSTD", *["UNCOMPRESSED"] * 3, "ZSTD"]
        for one, out, back in zip(*(rows(folder / name) for folder in folders), strict=True):
            for other in (out, back):
                assert {**other, "image": None} == {**one, "image": None}
                assert other["image"]["path"] == one["image"]["path"].replace(".jpg", ".png")
                assert picture(other).format == "PNG"
            assert np.any(picture(out).pixels != picture(one).pixels)
            np.testing.assert_array_equal(picture(back).pixels, picture(one).pixels)
    assert labels(tmp_path / "out" / TRAIN) == [0, 1, 2, 0, 1]
    again = raeg("protect", source, tmp_path / "out")
    assert again.out == "0 images protected; 8 were done before\n"


def test_originals_are_compared(raeg, source, tmp_path):
    raeg("protect", source / TRAIN, tmp_path / "out")
    parquets.write(source / TRAIN, [parquets.row(n + (n == 3)) for n in range(5)])
    name = "train-00000-of-00001.parquet"
    originals = ("--originals", source / TRAIN)
    result = raeg("verify", tmp_path / "out" / name, *originals, status=1)
    assert "row 3, is recovered as it was protected, but the original" in result.out
    parquets.write(source / TRAIN, map(parquets.row, range(4)))
    result = raeg("verify", tmp_path / "out" / name, *originals, status=2)
    assert "so which belong together isn't known" in result.err


@pytest.mark.parametrize(
    ("kind", "values", "metadata", "expected"),
    [
        (pyarrow.int8(), [1, -1, None], parquets.described(), [1, None, None]),
        (pyarrow.int8(), [1, 0, 1], parquets.described(["lotus", "anchor"]), [0, 2, 0]),
        (pyarrow.int8(), [1, 0, 1], parquets.described(["lotus", "heron"]), [None] * 3),
        (pyarrow.int8(), [1, 0, 1], {}, [None] * 3),
        (pyarrow.string(), ["ibis", "lotus", "ibis"], {}, [1, 2, 1]),
        (pyarrow.string(), ["ibis", "heron", "ibis"], {"huggingface": "{"}, [None] * 3),
    ],
)
def test_labels_are_those_of_a_column(raeg, tmp_path, kind, values, metadata, expected):
    table = [{"image": parquets.row(n)["image"], "label": v} for n, v in enumerate(values)]
    schema = pyarrow.schema({"image": parquets.IMAGE, "label": kind})
    source = parquets.write(tmp_path / "a.parquet", table, schema, metadata)
    raeg("protect", source, tmp_path / "out")
    assert labels(tmp_path / "out" / "a.parquet") == expected


def test_a_class_that_there_is_not_fails(raeg, tmp_path):
    rows = [{**parquets.row(n), "label": 3 * n} for n in range(2)]
    source = parquets.write(tmp_path / "a.parquet", rows)
    result = raeg("protect", source, tmp_path / "out", status=1)
    assert "a.parquet, row 1, has label 3, and there are 3 classes: give --labels" in result.err


def test_protected_images_are_not_read_as_grey(raeg, tmp_path):
    image = {"bytes": encoded(pixels(1)[..., 0]), "path": None}
    source = parquets.write(
        tmp_path / "a.parquet",
        [{**parquets.row(1), "image": image}],
        metadata=parquets.described(mode="L"),
    )
    raeg("protect", source, tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "a.parquet")
    assert row["image"]["path"] is None
    metadata = parquet.read_schema(tmp_path / "out" / "a.parquet").metadata
    assert b"mode" not in metadata[b"huggingface"]
    assert metadata[b"ours"] == b"kept"
    raeg("recover", tmp_path / "out", tmp_path / "back")
    (row,) = rows(tmp_path / "back" / "a.parquet")
    assert picture(row).mode == "grey"


BAD = {
    "a row without an image": {**parquets.row(3), "image": None},
    "a row without bytes": {**parquets.row(3), "image": {"bytes": None, "path": "3.jpg"}},
    "a row whose image is damaged": parquets.row(3, b"\xff\xd8\xff"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_left_out_and_reported_by_every_run(raeg, tmp_path, name):
    good = [parquets.row(number) for number in (0, 1, 2, 4)]
    path = parquets.write(tmp_path / "a.parquet", [*good[:3], BAD[name], good[3]])
    for done in ("4 images protected; ", "0 images protected; 4 were done before; 1 failed"):
        result = raeg("protect", path, tmp_path / "out", status=1)
        assert result.out.startswith(done)
        (failed,) = (line for line in result.err.splitlines() if line.startswith("failed: "))
        documented.check(name, result.status, failed)
    made = tmp_path / "out" / "a.parquet"
    assert [row["note"] for row in rows(made)] == [row["note"] for row in good]
    metadata = parquet.read_metadata(made)
    sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert sizes == [2, 1, 1]
    raeg("recover", tmp_path / "out", tmp_path / "back")


def test_a_file_without_rows_stays(raeg, source, tmp_path):
    parquets.write(source / TEST, [])
    raeg("protect", source, tmp_path / "out")
    assert rows(tmp_path / "out" / TEST) == []


MANY = pyarrow.schema({"image": parquets.IMAGE, "more": pyarrow.list_(parquets.IMAGE)})
REFUSED = {
    "a parquet file that is cut": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "a parquet file without images": lambda path: parquets.write(
        path, [{"label": 1}], pyarrow.schema({"label": pyarrow.int8()})
    ),
    "a parquet file with several images a row": lambda path: parquets.write(path, [], MANY),
    "a parquet file with images in lists": lambda path: parquets.write(path, [], MANY.remove(0)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused(raeg, source, tmp_path, name):
    REFUSED[name](source / TEST)
    result = raeg("protect", source, tmp_path / "out", status=2)
    documented.check(name, result.status, result.err.splitlines()[-1])
    assert not (tmp_path / "out").exists()


def test_a_damaged_row_group_is_reported_and_the_other_file_is_done(raeg, source, tmp_path):
    path = source / TRAIN
    column = parquet.read_metadata(path).row_group(1).column(1)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    result = raeg("protect", source, tmp_path / "out", status=1)
    (failed,) = (line for line in result.err.splitlines() if line.startswith("failed: "))
    documented.check("a parquet file with a damaged row group", result.status, failed)
    assert files(tmp_path / "out") == [NAME, TEST]
