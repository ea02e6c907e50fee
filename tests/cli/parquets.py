"""Parquet files for tests, as Hugging Face's `datasets` writes them."""

import json

import pyarrow
from pyarrow import parquet

from tests.cli.conftest import pixels
from tests.cli.datasets import encoded
from tests.cli.fake_codec import CLASS_NAMES

IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
SCHEMA = pyarrow.schema(
    {
        "label": pyarrow.int64(),
        "image": IMAGE,
        "boxes": pyarrow.list_(pyarrow.list_(pyarrow.float32(), 4)),
        "note": pyarrow.large_string(),
    }
)


def described(names=CLASS_NAMES, **image):
    """Metadata of a schema."""
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    features["image"].update(image)
    return {"huggingface": json.dumps({"info": {"features": features}}), "ours": "kept"}


def row(number, image=None):
    """A row of `SCHEMA`."""
    image = encoded(pixels(number, 24, 24 + number % 3), "JPEG") if image is None else image
    return {
        "label": number % 3,
        "image": {"bytes": image, "path": f"a.b/{number}.jpg"},
        "boxes": [[0.1, 0.2, 0.3, number]] * (number % 3),
        "note": None if number % 2 else f"näme {number}",
    }


def write(path, rows, schema=SCHEMA, metadata=None, group=2):
    """Writes a file in row groups of two; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = schema.with_metadata(described() if metadata is None else metadata)
    table = pyarrow.Table.from_pylist(list(rows), schema)
    codecs = dict.fromkeys(schema.names, "zstd") | {"image.bytes": "none", "image.path": "none"}
    parquet.write_table(table, path, row_group_size=group, compression=codecs)
    return path


def prepare(folder):
    """A folder of two files of five and three rows."""
    write(folder / "data" / "train-00000-of-00001.parquet", map(row, range(5)))
    write(folder / "data" / "test-00000-of-00001.parquet", map(row, range(5, 8)))
    return folder
