"""The files that describe a protected or recovered data set: as the source's, but for images."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tensorflow_datasets.core import dataset_info

from raeg_jax.errors import UserError
from raeg_jax.files import read_file
from raeg_jax.tool.outcome import Outcome
from raeg_jax.tool.outputs import FolderOutputs, Target, digest, told
from raeg_jax.tool.tfds_example import open_records
from raeg_jax.tool.tfds_source import FEATURES, INFO, Dataset
from raeg_jax.tool.walk import Job

# In a protected data set, the features of its originals: these may have fewer channels.
ORIGINAL_FEATURES = "original_features.json"
# Protected images have colours.
_PROTECTED_CHANNELS = {1: 3, 2: 4}


class Description:
    """All files of a data set but the shards; it isn't one before they are there."""

    def __init__(
        self, outputs: FolderOutputs, out: pathlib.Path, dataset: Dataset, recovered: bool
    ):
        """Looks whether the files may be written.

        Args:
          outputs: gives them their names.
          out: folder of the data set.
          dataset: the source.
          recovered: from a protected source; else it is protected.

        Raises:
          UserError: files of others have their names, or the source's `original_features.json` is
            damaged.
        """
        self._outputs, self._out, self._dataset = outputs, out, dataset
        self._recovered = recovered
        self._folder = outputs.staging / "description"
        names = self._write_all({})
        jobs = [Job(dataset.folder / INFO, name, name, is_image=False) for name in names]
        targets = [outputs.begin(job) for job in jobs]
        self._finished = not any(targets)
        # From here on they are ours.
        self._targets = [_target(job, out) for job in jobs]

    def withdraw(self) -> None:
        """Makes the folder no data set, while it isn't whole."""
        with told(self._out, self._out):
            (self._out / INFO).unlink(missing_ok=True)
        self._finished = False

    def write(self) -> list[Outcome]:
        """Writes the files for the shards that are there."""
        if self._finished:
            return []
        self._write_all(self._dataset.paths)
        written = [
            self._outputs.written(target, self._folder / target.job.output, (), {})
            for target in self._targets
        ]
        return self._outputs.keep(written)

    def _write_all(self, paths: Mapping[str, Sequence[pathlib.Path]]) -> list[str]:
        """Returns the files' names in the order in which they must get them.

        Args:
          paths: of the source's shards that have been made, by split.
        """
        with told(self._folder, self._out):
            self._folder.mkdir(exist_ok=True)
            self._dataset.builder.info.write_to_directory(self._folder)
            self._write_info(paths)
            self._write_features()
            for path in self._folder.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        names = sorted(path.name for path in self._folder.iterdir())
        return [*(name for name in names if name != INFO), INFO]

    def _write_info(self, paths: Mapping[str, Sequence[pathlib.Path]]) -> None:
        info = dataset_info.read_proto_from_builder_dir(self._dataset.folder)
        for split in info.splits:
            made = [self._out / path.name for path in paths.get(split.name, ())]
            split.shard_lengths[:] = [len(open_records(path)) for path in made]
            split.num_bytes = sum(path.stat().st_size for path in made)
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
        """What is said of the images."""
        for name in self._dataset.image:
            features = features["featuresDict"]["features"][name]
        return features["image"]


def file_job(path: pathlib.Path) -> Job:
    """A file that becomes one of the same name."""
    return Job(path, path.name, path.name, is_image=False)


def _target(job: Job, out: pathlib.Path) -> Target:
    return Target(job, out / job.output, replace=True, source_sha256=digest(job.source))


def _text(features: dict[str, Any]) -> str:
    return json.dumps(features, indent=4, sort_keys=True)
