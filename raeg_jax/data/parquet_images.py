"""Parquet files with images, as Hugging Face's `datasets` writes them: a column `{bytes, path}`.

`bytes` is an encoded image file, and `path` its name. The schema's metadata may hold a description
(`huggingface`), which names the classes of `ClassLabel` columns. Source:
https://huggingface.co/docs/datasets/image_dataset.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow
from pyarrow import parquet

from raeg_jax.errors import UserError
from raeg_jax.files import open_file
from raeg_jax.remote import RemotePath

# Of the column with classes where the metadata names none.
LABEL = "label"
_DESCRIPTION = b"huggingface"
_FIELDS = {"bytes", "path"}
# Rows whose images are decoded together.
_BATCH = 16
# An array of bytes holds less than 2 GiB.
_CHUNK_BYTES = 2**28
_BUFFER_BYTES = 2**20


class Row(NamedTuple):
    """A row's image.

    Attributes:
      group: number of its row group.
      number: of the row in the file.
      image: an encoded image file; None where there is none.
    """

    group: int
    number: int
    image: bytes | None


@dataclasses.dataclass(frozen=True, eq=False)
class ParquetImages:
    """A parquet file with one image a row.

    Attributes:
      path: of the file.
      schema: of all columns.
      metadata: of the file.
      column: with the images.
    """

    path: pathlib.Path
    schema: pyarrow.Schema
    metadata: parquet.FileMetaData
    column: str

    def __len__(self) -> int:
        return self.metadata.num_rows

    @functools.cached_property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Classes of each `ClassLabel` column."""
        found = {}
        for name, feature in _features(_described(self.schema)).items():
            if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
                names = feature.get("names")
                if isinstance(names, Sequence) and all(isinstance(each, str) for each in names):
                    found[name] = tuple(names)
        return found

    @functools.cached_property
    def first_rows(self) -> list[int]:
        """Number of the first row of each row group, and of all rows."""
        firsts = [0]
        for group in range(self.metadata.num_row_groups):
            firsts.append(firsts[-1] + self.metadata.row_group(group).num_rows)
        return firsts

    def sizes(self) -> Iterator[int]:
        """Yields by row group how many bytes an image has, on average."""
        for number in range(self.metadata.num_row_groups):
            group = self.metadata.row_group(number)
            columns = (group.column(n) for n in range(group.num_columns))
            of_images = f"{self.column}.bytes"
            size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema == of_images)
            yield size // max(group.num_rows, 1)

    def rows(self, groups: Sequence[int] | None = None) -> Iterator[Row]:
        """Yields the rows of some row groups, or of all; a few images are in memory at a time.

        Raises:
          UserError: the file can't be read.
        """
        groups = range(self.metadata.num_row_groups) if groups is None else groups
        with self._open() as file:
            for group in groups:
                number = self.first_rows[group]
                for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[self.column]):
                    for value in batch.column(0):
                        image = value["bytes"].as_py() if value.is_valid else None
                        yield Row(group, number, image)
                        number += 1

    def values(self, column: str) -> list[Any]:
        """Returns the values of another column, of all rows.

        Raises:
          UserError: the file can't be read.
        """
        with self._open() as file:
            return file.read(columns=[column]).column(column).to_pylist()

    def write(
        self,
        path: pathlib.Path,
        images: Iterator[tuple[int, bytes]],
        suffix: str,
        schema: pyarrow.Schema,
    ) -> None:
        """Writes a file of the same columns, row groups and compression with other images.

        A row group is in memory at a time.

        Args:
          path: of the new file.
          images: (number of a row, its image) by number; other rows are left out.
          suffix: of the new images, which their paths get.
          schema: as this one's, but for its metadata.

        Raises:
          OSError, RuntimeError, ValueError: it can't be written.
          UserError: this file can't be read.
        """
        with (
            open_file(self.path) as opened,
            parquet.ParquetWriter(path, schema, **self._writer_options()) as writer,
        ):
            with _reading(self.path):
                file = parquet.ParquetFile(opened)
            following = next(images, None)
            for group, (first, end) in enumerate(itertools.pairwise(self.first_rows)):
                numbers, contents = [], []
                while following is not None and following[0] < end:
                    numbers.append(following[0] - first)
                    contents.append(following[1])
                    following = next(images, None)
                if numbers:
                    with _reading(self.path):
                        table = file.read_row_group(group).take(numbers)
                    table = self._with_images(table, contents, suffix)
                    table = table.replace_schema_metadata(schema.metadata)
                    writer.write_table(table, row_group_size=len(numbers))

    def _with_images(
        self, table: pyarrow.Table, contents: Sequence[bytes], suffix: str
    ) -> pyarrow.Table:
        index = self.schema.get_field_index(self.column)
        field = self.schema.field(index)
        kind = field.type
        paths = (value["path"].as_py() for value in table.column(self.column))
        chunks, chunk, size = [], list[dict[str, Any]](), 0
        for content, path in zip(contents, paths, strict=True):
            name = None if path is None else os.path.splitext(path)[0] + suffix
            chunk.append({"bytes": content, "path": name})
            size += len(content)
            if size > _CHUNK_BYTES:
                chunks.append(pyarrow.array(chunk, kind))
                chunk, size = [], 0
        chunks.append(pyarrow.array(chunk, kind))
        return table.set_column(index, field, pyarrow.chunked_array(chunks, kind))

    def _writer_options(self) -> dict[str, Any]:
        names = [self.metadata.schema.column(i).path for i in range(self.metadata.num_columns)]
        if not self.metadata.num_row_groups:
            return {}
        first = self.metadata.row_group(0)
        codecs = (first.column(i).compression for i in range(self.metadata.num_columns))
        compression = {
            name: "NONE" if codec == "UNCOMPRESSED" else codec
            for name, codec in zip(names, codecs, strict=True)
        }
        others = [name for name in names if not name.startswith(f"{self.column}.")]
        # Images don't repeat, so a dictionary would take their space twice.
        return {"compression": compression, "use_dictionary": others or False}

    @contextlib.contextmanager
    def _open(self) -> Iterator[parquet.ParquetFile]:
        with _reading(self.path), open_file(self.path) as opened:
            # By the buffer, a column isn't read as a whole.
            yield parquet.ParquetFile(opened, buffer_size=_BUFFER_BYTES, pre_buffer=False)


def open_parquet(path: pathlib.Path) -> ParquetImages:
    """Reads the description of a parquet file.

    Raises:
      UserError: it can't be read, or has not one image a row.
    """
    # Of a file elsewhere, only its end is fetched.
    with _reading(path), _open_parts(path) as opened:
        file = parquet.ParquetFile(opened)
        schema, metadata = file.schema_arrow, file.metadata
    images = [name for field in schema for name in _image_columns(field)]
    if len(images) != 1 or images[0] not in schema.names:
        listed = ", ".join(images) or "none"
        raise UserError(
            f"{path} must have one image a row, in a column of {{bytes, path}}, but its image "
            f"columns are: {listed}: export its images as files first"
        )
    return ParquetImages(path, schema, metadata, images[0])


def _open_parts(path: pathlib.Path) -> BinaryIO:
    return path.open_parts() if isinstance(path, RemotePath) else open_file(path)


def without_mode(schema: pyarrow.Schema, column: str) -> pyarrow.Schema:
    """Returns the schema of protected images, which have colours: their readers mustn't drop them.

    Args:
      schema: its description may say in which mode images are decoded, such as 'L'.
      column: with the images.
    """
    described = _described(schema)
    feature = _features(described).get(column)
    if not isinstance(feature, dict) or not feature.pop("mode", None):
        return schema
    text = json.dumps(described)
    return schema.with_metadata({**schema.metadata, _DESCRIPTION: text.encode()})


def _described(schema: pyarrow.Schema) -> Any:
    try:
        return json.loads((schema.metadata or {}).get(_DESCRIPTION, b"{}"))
    except ValueError:
        return {}


def _features(described: Any) -> Mapping[str, Any]:
    try:
        features = described["info"]["features"]
    except (KeyError, TypeError):
        return {}
    return features if isinstance(features, Mapping) else {}


def _image_columns(field: pyarrow.Field, above: str = "") -> Iterator[str]:
    """Yields the names of image columns, those in other columns with the names of these."""
    kind, name = field.type, above + field.name
    if pyarrow.types.is_struct(kind):
        inner = [kind.field(number) for number in range(kind.num_fields)]
        if {each.name for each in inner} == _FIELDS and any(map(_is_binary, inner)):
            yield name
            return
    elif pyarrow.types.is_nested(kind) and kind.num_fields:
        inner = [kind.field(number) for number in range(kind.num_fields)]
    else:
        inner = []
    for each in inner:
        yield from _image_columns(each, f"{name}.")


def _is_binary(field: pyarrow.Field) -> bool:
    kind = field.type
    binary = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
    return field.name == "bytes" and binary


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} can't be read as parquet ({reason}): copy it again from where it came"
        ) from error
