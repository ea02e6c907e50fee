"""TFDS data sets for tests, tiny and in several shards."""

import functools
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.dataset_builder import ShardBasedBuilder

from tests.cli.conftest import pixels
from tests.cli.fake_codec import CLASS_NAMES

FEATURES = {
    "image": tfds.features.Image(encoding_format="jpeg"),
    "label": tfds.features.ClassLabel(names=CLASS_NAMES),
    "about": {
        "name": tfds.features.Text(),
        "boxes": tfds.features.Sequence(tfds.features.BBoxFeature()),
        "weights": tfds.features.Tensor(shape=(2,), dtype=np.float32),
    },
}


def encoded(image, kind="PNG", **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def example(number, image=None):
    """What a record is made of."""
    image = encoded(pixels(number, 24, 24 + number % 3), "JPEG") if image is None else image
    boxes = [tfds.features.BBox(0.1 * i, 0.2, 0.7, 0.9) for i in range(number % 3)]
    about = {
        "name": f"näme {number}",
        "boxes": boxes,
        "weights": np.float32([np.pi * number, -0.0]),
    }
    return {"image": image, "label": number % 3, "about": about}


class Builder(ShardBasedBuilder, skip_registration=True):
    """Writes given examples."""

    VERSION = tfds.core.Version("2.1.0")
    RELEASE_NOTES = {"2.1.0": "For tests."}  # noqa: RUF012 (read by TFDS)
    code_path = None
    name = "toy"

    def __init__(self, folder, splits, features):
        self._splits, self._features = splits, features
        config = tfds.core.BuilderConfig(name="tiny")
        super().__init__(data_dir=str(folder), config=config, file_format="array_record")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Toys.",
            citation="nobody",
            license="free",
            features=tfds.features.FeaturesDict(self._features),
            supervised_keys=("image", "label") if "label" in self._features else None,
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager):
        return {
            split: [functools.partial(enumerate, shard) for shard in shards]
            for split, shards in self._splits.items()
        }

    # TFDS announces itself on stdout.
    def _log_download_bytes(self):
        pass

    def _log_download_done(self):
        pass


def prepare(folder, splits=None, features=None):
    """Returns the folder of a new data set, by default of 9 examples in 4 shards."""
    if splits is None:
        numbers = {"train": [(0, 1, 2), (3, 4), (5, 6)], "test": [(7, 8)]}
        splits = {name: [map(example, of) for of in shards] for name, shards in numbers.items()}
    builder = Builder(folder, splits, features or FEATURES)
    builder.download_and_prepare()
    return folder / "toy" / "tiny" / "2.1.0"


def rows(folder, split, **decoders):
    """All examples of a split as TFDS reads them; images undecoded."""
    source = tfds.builder_from_directory(folder).as_data_source(
        split=split, decoders={"image": tfds.decode.SkipDecoding(), **decoders}
    )
    return list(source)
