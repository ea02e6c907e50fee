"""Writes an image as large as a photograph: smooth noise of all sizes, saved as JPEG.

    python benchmarks/photograph.py --out=FOLDER/large.jpg
    python benchmarks/files.py --source=FOLDER --generator=G --key=owner.key --out=OUT

The second command tells the memory that the tool takes for it. By default it has 24 megapixels. A
few of a hundred samples are 0 or 255, as in photographs with glare and shadows.
"""

import pathlib

import numpy as np
from absl import flags
from PIL import Image

from raeg_jax.config import command_line

_OUT = flags.DEFINE_string("out", "", "The new JPEG file.")
_WIDTH = flags.DEFINE_integer("width", 6000, "In pixels.", lower_bound=1)
_HEIGHT = flags.DEFINE_integer("height", 4000, "In pixels.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the noise.")

_SPREAD = 55.0


def main() -> None:
    """Makes the image and writes it."""
    from raeg_jax.errors import UserError

    out = pathlib.Path(_OUT.value)
    if out.suffix != ".jpg" or not out.parent.is_dir() or out.exists():
        raise UserError(f"--out={out}: name a new .jpg file in a folder that is there")
    random = np.random.default_rng(_SEED.value)
    Image.fromarray(photograph(random, _HEIGHT.value, _WIDTH.value)).save(out, quality=90)


def photograph(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise whose details are the weaker the finer they are, mostly equal in all colours.

    Args:
      random: source of randomness.
      height: in pixels.
      width: in pixels.

    Returns:
      uint8 [height, width, 3].
    """
    light = _noise(random, height, width)
    planes = []
    for _ in range(3):
        plane = 0.8 * light + 0.6 * _noise(random, height, width)
        planes.append(np.clip(np.round(120 + _SPREAD * plane), 0, 255).astype(np.uint8))
    return np.stack(planes, axis=-1)


def _noise(random, height, width):
    """float32 [height, width] of standard deviation 1: each octave has 3/4 of the next one's."""
    total = np.zeros((height, width), np.float32)
    strength = 1.0
    scale = max(height, width)
    while scale >= 1:
        rows, columns = -(-height // scale) + 1, -(-width // scale) + 1
        grid = random.standard_normal((rows, columns), np.float32)
        smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += strength * np.asarray(smooth)
        strength, scale = 0.75 * strength, scale // 2
    return (total - total.mean()) / max(total.std(), 1e-9)


if __name__ == "__main__":
    command_line.run_without_config(main)
