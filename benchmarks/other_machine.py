"""Protected files recovered by other programs than the one that protected them.

    python benchmarks/other_machine.py --protected=OUT/protected --originals=DIR \
        --generator=G --key=owner.key --out=RESULTS
    python benchmarks/other_machine.py --reference ...

The first computes with the JAX of the Python that runs it: run it in an environment with another
version, or on another kind of machine. The second computes the same with NumPy's int32 alone
(`tests/oracles/integer_generator.py`), slowly. Both take payload, clipped values and tiles from the
package, and compare what they compute with the originals as Pillow decodes them, whether or not the
hash in the payload fits: wrong pixels are counted, images that can't be opened are listed. Writes
`jax-VERSION.json` or `numpy.json` into `RESULTS`, which may hold those of other runs.
"""

import itertools
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import inputs
import numpy as np
import tqdm
from absl import flags
from PIL import Image

from raeg_jax.config import command_line

_PROTECTED = flags.DEFINE_string("protected", "", "Folder of what `raeg protect` wrote.")
_ORIGINALS = flags.DEFINE_string("originals", "", "Folder that was protected.")
_GENERATOR = flags.DEFINE_string("generator", "", "Generator file.")
_KEY = flags.DEFINE_string("key", "", "Key file.")
_OUT = flags.DEFINE_string("out", "", "Folder of the results.")
_REFERENCE = flags.DEFINE_bool("reference", False, "Compute with NumPy's int32.")
_MAX_IMAGES = flags.DEFINE_integer(
    "max_images", 0, "Images, taken from all over the folder; 0 is all.", lower_bound=0
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Tiles at a time, with JAX.", lower_bound=1)

_ROOT = pathlib.Path(__file__).parents[1]
_OF_REFERENCE = {
    "stages": ("learned",),
    "coupling": "integer",
    "conditioner": "unet",
    "mixing": "permutation",
    "downsampling": "haar",
}


class Opened(NamedTuple):
    """A protected image whose payload is open.

    Attributes:
      original: the file that was protected.
      values: what the generator made, int32 [H, W, 3], partly outside 0..255.
      payload: the image's.
      token: the image's.
    """

    original: pathlib.Path | str
    values: np.ndarray
    payload: Any
    token: Any


# An original, and what was made of it.
Job = tuple[pathlib.Path | str, pathlib.Path]
# From images of one size, with payloads alike in tiles and batch, to int32 or uint8 [H, W, 3] each.
Inverse = Callable[[list[Opened]], list[np.ndarray]]


def main() -> None:
    """Recovers, compares, prints and writes."""
    from raeg_jax.cli import scan
    from raeg_jax.config import run_config
    from raeg_jax.payload.key import read_key
    from raeg_jax.protection.loaded_generator import load_generator

    protected = inputs.existing("protected", _PROTECTED.value)
    originals = inputs.existing("originals", _ORIGINALS.value)
    key, bundle = read_key(_KEY.value), load_generator(_GENERATOR.value)
    inverse = by_numpy(bundle) if _REFERENCE.value else by_jax(bundle)
    out = inputs.make_folder(_OUT.value, pathlib.Path())
    jobs = [(job.source, protected / job.output) for job in scan.find_images(originals, ".png")]
    jobs = inputs.spread(jobs, _MAX_IMAGES.value)
    results = compare(jobs, lambda path: opened(path, bundle, key), inverse)
    results |= {"generator": bundle.id.hex(), "versions": run_config.versions()}
    name = "numpy" if _REFERENCE.value else f"jax-{results['versions']['jax']}"
    inputs.write_results(out / f"{name}.json", {"computed_by": name} | results)


def compare(
    jobs: list[Job],
    open_one: Callable[[pathlib.Path], tuple[np.ndarray, Any, Any]],
    inverse: Inverse,
) -> dict[str, Any]:
    """Recovers images and counts what is wrong.

    Args:
      jobs: (original, protected file) each.
      open_one: see `opened`.
      inverse: recovers.

    Returns:
      counts of images and pixels; wrong pixels by name; reasons of images that can't be opened.
    """
    from file_pixels import colours, shown, wrong_pixels

    from raeg_jax.errors import UserError

    failed = {str(original): "missing" for original, path in jobs if not path.is_file()}
    wrong, pixels = {}, 0
    bar = tqdm.tqdm(total=len(jobs) - len(failed), disable=None)
    for group in groups([job for job in jobs if job[1].is_file()], _BATCH_SIZE.value):
        ready = []
        for original, path in group:
            try:
                ready.append(Opened(original, *open_one(path)))
            except (UserError, ValueError) as error:
                failed[str(original)] = str(error)
        # Payloads of one lot agree in what a program is compiled for.
        ready.sort(key=_kind)
        for lot in map(list, (alike for _, alike in itertools.groupby(ready, key=_kind))):
            for one, found in zip(lot, inverse(lot), strict=True):
                expected = colours(shown(one.original))
                pixels += expected.shape[0] * expected.shape[1]
                if count := wrong_pixels(expected, found):
                    wrong[str(one.original)] = count
        bar.update(len(group))
    return {
        "images": len(jobs),
        "pixels": pixels,
        "wrong_images": len(wrong),
        "wrong_pixels": sum(wrong.values()),
        "wrong": wrong,
        "failed": failed,
    }


def groups(jobs: list[Job], size: int) -> Iterator[list[Job]]:
    """Splits jobs into lots of at most `size` whose protected images have one size."""
    by_size: dict[tuple[int, int], list[Job]] = {}
    for job in jobs:
        with Image.open(job[1]) as image:
            by_size.setdefault(image.size, []).append(job)
    for same in by_size.values():
        for start in range(0, len(same), size):
            yield same[start : start + size]


def opened(path: pathlib.Path, bundle, key) -> tuple[np.ndarray, Any, Any]:
    """Takes the payload out of a protected file and puts clipped values back.

    Returns:
      values, payload and token as `Opened` has them.

    Raises:
      UserError: it isn't a file that this generator and key protected.
      ValueError: there is no payload, or the pixels were changed.
    """
    from raeg_jax import hiding
    from raeg_jax.image_file.read import read_image_file
    from raeg_jax.payload import overflow
    from raeg_jax.payload.key import Token
    from raeg_jax.payload.seal import check_generator, open_sealed

    picture = read_image_file(path)
    pixels, blob = picture.pixels, picture.payload_chunk
    if blob is None:
        pixels, blob = hiding.extract(pixels)
    payload = open_sealed(blob, key)
    check_generator(payload, bundle.id)
    token = Token(key.token_key, payload.nonce, bundle.chain.token_planes)
    return overflow.unclip(pixels, payload.overflow), payload, token


def by_jax(bundle) -> Inverse:
    """Recovers as the package does, with this Python's JAX."""
    from raeg_jax.protection import passes

    def inverse(lot: list[Opened]) -> list[np.ndarray]:
        return passes.inverse(
            bundle.chain,
            [one.values for one in lot],
            [one.payload.side_info for one in lot],
            [one.token for one in lot],
            [one.payload.tile for one in lot],
            lot[0].payload.batch or _BATCH_SIZE.value,
        )

    return inverse


def by_numpy(bundle) -> Inverse:
    """Recovers with integers alone.

    Raises:
      UserError: the reference doesn't know the generator's parts.
    """
    from raeg_jax.errors import UserError
    from raeg_jax.protection import tiles

    settings = bundle.config.generator
    for name, known in _OF_REFERENCE.items():
        if settings[name] != known:
            raise UserError(
                f"--reference: it knows {name} {known!r} alone, and {_GENERATOR.value} has "
                f"{settings[name]!r}: leave out --reference"
            )
    sys.path.insert(0, str(_ROOT))
    from tests.oracles import integer_generator

    def inverse(lot: list[Opened]) -> list[np.ndarray]:
        images = [one.values.copy() for one in lot]
        for one, image in zip(lot, images, strict=True):
            layout = tiles.layout(image.shape[0], image.shape[1], one.payload.tile)
            # Later tiles overlap earlier ones.
            for number, tile in sorted(enumerate(layout), key=lambda pair: -pair[1].phase):
                values, free = tiles.take_batch([image], [layout], [(0, number)], 1)
                token = one.token.planes(*values.shape[1:3], number)[None]
                (image[tile.rows, tile.columns],) = integer_generator.inverse(
                    bundle.params, values, token, free, blocks=settings.blocks, depth=settings.depth
                )
        return images

    return inverse


def _kind(one: Opened):
    from raeg_jax.protection import tiles

    height, width, _ = one.values.shape
    return *tiles.tile_shape(height, width, one.payload.tile), one.payload.batch


if __name__ == "__main__":
    command_line.run_without_config(main)
