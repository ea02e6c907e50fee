"""The description of a TFDS data set that is written: all its files but the record files."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tensorflow_datasets.core import dataset_info

from raeg_jax.cli.manifest import digest
from raeg_jax.cli.outputs import FolderOutputs, Target, describe_written, translate_output_errors
from raeg_jax.cli.records import Description
from raeg_jax.cli.report import Result
from raeg_jax.cli.tfds_dataset import FEATURES, INFO, TfdsDataset, open_records
from raeg_jax.errors import UserError
from raeg_jax.files import read_file

# In a protected data set, the features of its originals: these may have fewer channels.
ORIGINAL_FEATURES = "original_features.json"
# Protected images have colours.
_PROTECTED_CHANNELS = {1: 3, 2: 4}


class TfdsDescription(Description):
    """All files of a data set but the record files; it isn't one before they are there.

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
        self, outputs: FolderOutputs, out: pathlib.Path, dataset: TfdsDataset, recovered: bool
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
        """See `Description`."""
        with translate_output_errors(self._out):
            (self._out / INFO).unlink(missing_ok=True)
        self._finished = False

    def write(self) -> list[Result]:
        """See `Description`."""
        if self._finished:
            return []
        self._write_all(self._dataset.paths)
        return self._outputs.commit(
            [describe_written(target, self._folder / target.name) for target in self._targets]
        )

    def _write_all(self, paths: Mapping[str, Sequence[pathlib.Path]]) -> list[str]:
        """Returns the files' names in the order in which they must get them.

        Args:
          paths: of the source's record files that have been made, by split.
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
