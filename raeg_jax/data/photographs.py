"""Crops of the eight colour photographs that scikit-image ships: data without any download."""

import functools
import pathlib

import numpy as np
import skimage
from PIL import Image

from raeg_jax.data import decode
from raeg_jax.data.builder import ListingBuilder, content
from raeg_jax.data.listing import Entry, Listing
from raeg_jax.data.source import size_of
from raeg_jax.errors import UserError

FILES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "ihc": "ihc.png",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}
TRAIN_CROPS = 200
TEST_CROPS = 40
CROP_SIZE = 64
# Each photograph is cut into GRID x GRID tiles; a tile of each row and column is for testing.
GRID = 3
TEST_TILES = ((0, 2), (1, 0), (2, 1))


class Photographs(ListingBuilder):
    """200 training and 40 test crops of each of 8 photographs; class = photograph.

    Square crops between half and all of a tile's shorter side, resized to 64 x 64. A test crop
    lies within a test tile, a training crop touches none: no pixel is in both splits.
    """

    @classmethod
    def list_source(cls, settings, cache_dir) -> Listing:
        """Draws the boxes of the crops; the same ones in every run."""
        del settings, cache_dir
        folder = pathlib.Path(skimage.data_dir)  # type: ignore[attr-defined]  # loaded lazily
        missing = [name for name in FILES.values() if not (folder / name).is_file()]
        if missing:
            raise UserError(
                f"photographs: scikit-image's folder {folder} lacks {', '.join(missing)}; "
                "reinstall it: pip install --force-reinstall scikit-image"
            )
        entries = []
        for label, (name, file) in enumerate(FILES.items()):
            path = folder / file
            with Image.open(path) as photograph:
                width, height = photograph.size
            generator = np.random.default_rng([1234, label])
            for train, count in ((True, TRAIN_CROPS), (False, TEST_CROPS)):
                for number in range(count):
                    box = draw_box(generator, width, height, train)
                    split = "train" if train else "test"
                    crop_name = f"{name}/{split}_{number:03d}.png"
                    entries.append(Entry(crop_name, path, size_of(path), label, train, box))
        return Listing("photographs", tuple(FILES), tuple(entries))

    def read(self, entry: Entry) -> bytes:
        """Cuts the crop out of its photograph; returns it as PNG."""
        assert entry.box is not None, "every entry is a crop"
        left, top, right, bottom = entry.box
        crop = _photograph(entry.path, entry.digest)[top:bottom, left:right]
        return decode.encode_png(decode.fit(crop, CROP_SIZE))

    def _shards(self, train: bool) -> list[list[Entry]]:
        # The crops' entries carry the size of the whole photograph; the crops are small.
        return [[entry for entry in self.listing.entries if entry.train == train]]


def draw_box(
    generator: np.random.Generator, width: int, height: int, train: bool
) -> tuple[int, int, int, int]:
    """Draws a square that lies in a test tile (or, for training, outside of all test tiles).

    Args:
      generator: source of randomness.
      width: of the photograph, in pixels.
      height: of the photograph, in pixels.
      train: for which split.

    Returns:
      (left, top, right, bottom).
    """
    tile = min(width, height) // GRID
    side = int(generator.integers(tile // 2, tile + 1))
    tiles = [_tile(width, height, row, column) for row, column in TEST_TILES]
    if not train:
        left, top, right, bottom = tiles[generator.integers(len(tiles))]
        x = int(generator.integers(left, right - side + 1))
        y = int(generator.integers(top, bottom - side + 1))
        return x, y, x + side, y + side
    while True:
        x = int(generator.integers(0, width - side + 1))
        y = int(generator.integers(0, height - side + 1))
        box = (x, y, x + side, y + side)
        if not any(overlap(box, tile) for tile in tiles):
            return box


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether two boxes (left, top, right, bottom) share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _tile(width: int, height: int, row: int, column: int) -> tuple[int, int, int, int]:
    return (
        width * column // GRID,
        height * row // GRID,
        width * (column + 1) // GRID,
        height * (row + 1) // GRID,
    )


@functools.lru_cache(maxsize=len(FILES))
def _photograph(path: pathlib.Path, digest: str = "") -> np.ndarray:
    return decode.to_rgb(content(path, digest))
