"""The TFDS builder that writes a listing as ArrayRecord files, without TensorFlow."""

import functools
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from multiprocessing.pool import ThreadPool

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import ShardBasedBuilder
from tqdm import tqdm

from raeg_jax.data import decode
from raeg_jax.data.cache import digest_of, reading_from
from raeg_jax.data.listing import Entry, Listing
from raeg_jax.errors import UserError
from raeg_jax.files import MAX_BYTES, RefusedFileError

INDEX_FILE = "index.json"
SKIPPED_FILE = "skipped.json"
_SHARD_BYTES = 2**27
# Files read and checked together by a pool of threads (decoding releases the GIL).
_CHUNK = 64
_CHUNK_BYTES = 2**28
# Errors of a single file that will recur: the file is left out.
_PERMANENT_ERRORS = (
    decode.UnreadableImageError,
    RefusedFileError,
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
)


class ChangedError(UserError):
    """A file's content isn't the one that was digested."""


# TFDS has no types, so mypy doesn't know the argument.
class ListingBuilder(ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes the images of a listing: encoded bytes, label and file name.

    Every image is decoded once while it is prepared; files that can't be decoded are left out, and
    named in `skipped.json` beside the records. `index.json` holds name and label of every
    record in order, the unreadable files, and a digest of all that. They lie in the folder that
    TFDS renames into place at the end, so an interrupted preparation leaves nothing that a later
    run would trust.

    It builds on TFDS's shard-based builder, as the generator-based one sorts splits above 1 GB
    with TensorFlow.
    """

    def __init_subclass__(cls, **options):
        super().__init_subclass__(skip_registration=True, **options)

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (read by TFDS)
    # The folder in which TFDS looks for checksums of downloads; to find it, TFDS needs a package
    # that neither it nor etils installs (importlib_resources).
    code_path = None

    def __init__(self, listing: Listing, data_dir: os.PathLike | str):
        """Plans a preparation; nothing is read before `download_and_prepare`.

        Args:
          listing: the images, their classes and their split.
          data_dir: records go to `data_dir/<data set>/<fingerprint>/<version>`.
        """
        self.listing = listing
        self.name = listing.dataset
        self._written: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
        self._unreadable: list[str] = []
        super().__init__(
            data_dir=os.fspath(data_dir),
            config=tfds.core.BuilderConfig(name=listing.fingerprint),
            file_format="array_record",
        )

    @classmethod
    def list_source(cls, settings, cache_dir) -> Listing:
        """Finds the data set's images.

        Args:
          settings: `config.data`.
          cache_dir: folder for downloads.

        Raises:
          UserError: a file or folder is missing; the message says what is expected where.
        """
        raise NotImplementedError

    def read(self, entry: Entry) -> bytes:
        """Returns the bytes to store.

        Raises:
          UnreadableImageError, RefusedFileError, FileNotFoundError, PermissionError,
            IsADirectoryError: the image is left out, by name.
          OSError: any other kind stops the preparation.
          ChangedError: as for `content`.
        """
        return decode.storable(content(entry.path, entry.digest))

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=list(self.listing.class_names)),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager):
        del dl_manager
        return {
            split: [functools.partial(self._examples, split, shard) for shard in shards]
            for split, shards in (("train", self._shards(True)), ("test", self._shards(False)))
        }

    def _shards(self, train: bool) -> list[list[Entry]]:
        """Cuts a split's entries into runs of about 128 MiB."""
        shards: list[list[Entry]] = [[]]
        size = 0
        for entry in self.listing.entries:
            if entry.train == train:
                if size > _SHARD_BYTES:
                    shards.append([])
                    size = 0
                shards[-1].append(entry)
                size += entry.size
        return shards

    def _examples(self, split: str, entries: list[Entry]) -> Iterator[tuple[int, dict]]:
        progress = tqdm(
            total=len(entries), desc=f"preparing {self.name}: {split}", unit="img", leave=False
        )
        with progress, ThreadPool(min(os.cpu_count() or 1, 8)) as pool:
            for chunk in _chunks(entries):
                for entry, result in zip(chunk, pool.map(self._try_read, chunk), strict=True):
                    progress.update()
                    if isinstance(result, Exception):
                        reason = getattr(result, "strerror", None) or result
                        self._unreadable.append(f"{entry.file_name} ({reason})")
                        continue
                    rows = self._written[split]
                    rows.append((entry.file_name, entry.label))
                    example = {"image": result, "label": entry.label, "file_name": entry.file_name}
                    yield len(rows) - 1, example

    def _try_read(self, entry: Entry) -> bytes | Exception:
        try:
            return self.read(entry)
        except _PERMANENT_ERRORS as error:
            return error
        except OSError as error:
            # A disk or network that fails for a moment must not exclude images for good.
            raise UserError(
                f"{self.name}: {entry.path} can't be read ({error}). Nothing was prepared; run "
                "again when it can be, or without the file"
            ) from error

    def _download_and_prepare(self, *args, **kwargs):
        super()._download_and_prepare(*args, **kwargs)
        self._check_written()
        index = {**self._written, "unreadable": self._unreadable}
        files = {
            INDEX_FILE: json.dumps({**index, "digest": digest_of(json.dumps(index).encode())}),
            SKIPPED_FILE: skipped_text([*self.listing.left_out, *self._unreadable]),
            **self.listing.extra_files,
        }
        for name, text in files.items():
            (self.data_path / name).write_text(text, encoding="utf-8")

    def _check_written(self) -> None:
        """Stops where broken files leave nothing to train on or to test with."""
        labels = {label for _, label in self._written["train"]}
        names = self.listing.class_names
        empty = [name for label, name in enumerate(names) if label not in labels]
        if not self._written["test"]:
            empty.append("(all classes: no test image)")
        if empty:
            named = ", ".join(itertools.islice(empty, 5))
            skipped = [*self.listing.left_out, *self._unreadable]
            raise UserError(
                f"{self.name}: no readable training image in {len(empty)} classes: {named}. "
                f"{len(skipped)} files were skipped: {'; '.join(skipped[:5])}"
            )

    # TFDS prints announcements to stdout; the progress bar above says enough.
    def _log_download_bytes(self):
        pass

    def _log_download_done(self):
        pass


def content(path: pathlib.Path, digest: str) -> bytes:
    """Reads an image file.

    Args:
      path: of the file.
      digest: of its content, see `digest_of`; '' if unknown.

    Raises:
      ChangedError: its content has another digest.
      UnreadableImageError, OSError: as for `decode.read_image`.
    """
    read = decode.read_image(path)
    if digest and digest_of(read) != digest:
        raise ChangedError(
            f"{path} changed while the data were prepared: run the same command again when "
            "nothing writes to the images"
        )
    return read


def read_index(folder: pathlib.Path) -> dict[str, list]:
    """Reads `index.json` of prepared data.

    Args:
      folder: of the prepared data.

    Returns:
      'train', 'test' -> rows [name, label]; 'unreadable' -> names with reasons.

    Raises:
      UserError: it is damaged or missing.
    """
    with reading_from(folder):
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        if index.pop("digest", None) != digest_of(json.dumps(index).encode()):
            raise ValueError(f"{INDEX_FILE} has another content than was written")
        return index


def skipped_text(skipped: Iterable[str]) -> str:
    """The content of `skipped.json`."""
    return json.dumps(list(skipped), indent=1)


def _chunks(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Cuts entries into runs that are read together: at most _CHUNK files and _CHUNK_BYTES."""
    chunk: list[Entry] = []
    size = 0
    for entry in entries:
        if chunk and (len(chunk) == _CHUNK or size + entry.size > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += min(entry.size, MAX_BYTES)
    yield chunk
