"""A data set as it is written: its shards, whose images come in any order, and its description."""

import contextlib
import json
import os
import pathlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tensorflow_datasets.core import dataset_info
from tensorflow_datasets.core.file_adapters import ADAPTER_FOR_FORMAT, FileFormat

from raeg_jax.cli.manifest import digest
from raeg_jax.cli.outputs import (
    FolderOutputs,
    Output,
    Outputs,
    Target,
    translate_output_errors,
)
from raeg_jax.cli.report import Result, Status
from raeg_jax.cli.tfds_dataset import FEATURES, INFO, Dataset, Example, open_records
from raeg_jax.errors import UserError
from raeg_jax.files import read_file
from raeg_jax.image_file.write import png_bytes

# In a protected data set, the features of its originals: these may have fewer channels.
ORIGINAL_FEATURES = "original_features.json"
# Protected images have colours.
_PROTECTED_CHANNELS = {1: 3, 2: 4}


class ShardOutputs(Outputs):
    """Takes the outputs of one shard, and writes them in the order of their numbers.

    Examples are put down in one file as they come, so that no more than a few are in memory.

    Args:
      folder: for files that are gone at the end.
      out: of the data set, for messages.

    Attributes:
      left_out: reasons by number of the example in its split.
    """

    def __init__(self, folder: pathlib.Path, out: pathlib.Path):
        self.left_out: dict[str, str] = {}
        self._folder, self._out = folder, out
        with translate_output_errors(folder, out):
            self._file = (folder / "examples").open("w+b")
        # Where examples lie in the file, by their numbers: (first byte, size).
        self._ranges: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ranges)

    def begin(self, image: Example) -> Target:
        """See `Outputs`."""
        return Target(image.name, pathlib.Path(image.output))

    def write(self, image: Example, target: Target, output: Output) -> Result:
        """Puts an example down. Its raster lies as the original's: other features refer to that."""
        options = {"orientation": output.picture.orientation, **output.options}
        example = image.with_image(png_bytes(output.picture, **options))
        with self._lock, translate_output_errors(self._folder, self._out, len(example)):
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(example)
            self._file.flush()
            self._ranges[image.number] = (start, len(example))
        return Result(target.name, notes=output.notes, details=output.details)

    def record(self, result: Result) -> None:
        """Takes note of an example that failed."""
        if result.status is Status.FAILED:
            self.left_out[result.name.rpartition("/")[2]] = result.reason

    def close(self) -> None:
        """Removes the file of examples."""
        # What could not be written is tried again, in vain.
        with contextlib.suppress(OSError):
            self._file.close()
        (self._folder / "examples").unlink()

    def finish(self) -> pathlib.Path:
        """Writes the record file, on disk when this returns; returns its temporary path.

        Raises:
          NoSpaceError: the disk is full.
          UserError: it can't be written.
        """
        path = self._folder / "shard"
        need = sum(size for _, size in self._ranges.values())
        with translate_output_errors(path, self._out, need):
            try:
                ADAPTER_FOR_FORMAT[FileFormat.ARRAY_RECORD].write_examples(path, self._examples())
                written = len(open_records(path))
            except (RuntimeError, ValueError) as error:
                # The library's errors have no number, by which a full disk is known.
                path.unlink(missing_ok=True)
                raise OSError(str(error)) from error
            if written != len(self):
                path.unlink()
                raise OSError(f"only {written} of {len(self)} examples could be written")
            _sync(path)
        return path

    def _examples(self) -> Iterator[tuple[int, bytes]]:
        for number in sorted(self._ranges):
            start, size = self._ranges[number]
            self._file.seek(start)
            yield number, self._file.read(size)


class Description:
    """All files of a data set but the shards; it isn't one before they are there.

    They are as the source's, but for what they say of the images.

    Args:
      outputs: gives the files their names.
      out: folder of the data set.
      dataset: the source.
      recovered: from a protected source; else it is protected.

    Raises:
      UserError: files of others have their names, or the source's `original_features.json` is
        damaged.
    """

    def __init__(
        self, outputs: FolderOutputs, out: pathlib.Path, dataset: Dataset, recovered: bool
    ):
        self._outputs, self._out, self._dataset = outputs, out, dataset
        self._recovered = recovered
        self._folder = outputs.staging / "description"
        info, names = dataset.folder / INFO, self._write_all({})
        # All are checked before anything is written.
        unfinished = [outputs.target(info, name, name) for name in names]
        self._finished = not any(unfinished)
        # None of them is another's, so they may be replaced from here on.
        sha256 = digest(info)
        self._targets = [Target(name, out / name, name, True, sha256) for name in names]

    def withdraw(self) -> None:
        """Makes the folder no data set, while it isn't whole."""
        with translate_output_errors(self._out):
            (self._out / INFO).unlink(missing_ok=True)
        self._finished = False

    def write(self) -> list[Result]:
        """Writes the files for the shards that are there."""
        if self._finished:
            return []
        self._write_all(self._dataset.paths)
        return self._outputs.commit(
            [self._outputs.written(target, self._folder / target.name) for target in self._targets]
        )

    def _write_all(self, paths: Mapping[str, Sequence[pathlib.Path]]) -> list[str]:
        """Returns the files' names in the order in which they must get them.

        Args:
          paths: of the source's shards that have been made, by split.
        """
        with translate_output_errors(self._folder, self._out):
            self._folder.mkdir(exist_ok=True)
            self._dataset.builder.info.write_to_directory(self._folder)
            self._write_info(paths)
            self._write_features()
            for path in self._folder.iterdir():
                _sync(path)
        names = sorted(path.name for path in self._folder.iterdir())
        return [*(name for name in names if name != INFO), INFO]

    def _write_info(self, paths: Mapping[str, Sequence[pathlib.Path]]) -> None:
        info = dataset_info.read_proto_from_builder_dir(self._dataset.folder)
        for split in info.splits:
            shards = [self._out / path.name for path in paths.get(split.name, ())]
            split.shard_lengths[:] = [len(open_records(path)) for path in shards]
            split.num_bytes = sum(path.stat().st_size for path in shards)
        dataset_info.write_dataset_info_proto(info, self._folder)

    def _write_features(self) -> None:
        features = json.loads((self._folder / FEATURES).read_text())
        image = self._image(features)
        if self._recovered:
            image |= self._original()
        else:
            (self._folder / ORIGINAL_FEATURES).write_text(_text(features))
            *sides, channels = image["shape"]["dimensions"]
            channels = _PROTECTED_CHANNELS.get(int(channels), channels)
            image["shape"]["dimensions"] = [*sides, str(channels)]
            # By which a single channel is shown in colours.
            image.pop("useColormap", None)
        image["encodingFormat"] = "png"
        (self._folder / FEATURES).write_text(_text(features))

    def _original(self) -> dict[str, Any]:
        path = self._dataset.folder / ORIGINAL_FEATURES
        try:
            return dict(self._image(json.loads(read_file(path))))
        except FileNotFoundError:
            return {}
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged: take it from your copy, or delete it") from error

    def _image(self, features: dict[str, Any]) -> dict[str, Any]:
        """Returns the part of a description of features that is about the images."""
        for name in self._dataset.image:
            features = features["featuresDict"]["features"][name]
        return features["image"]


def _sync(path: pathlib.Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _text(features: dict[str, Any]) -> str:
    return json.dumps(features, indent=4, sort_keys=True)
