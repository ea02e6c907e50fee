"""The attacks that RAE and RIT start from, on images of any size."""

import collections
import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from raeg_jax.adversarial.carlini_wagner import carlini_wagner
from raeg_jax.adversarial.pgd import ifgsm, pgd_l2
from raeg_jax.methods.superpixels import OnSuperpixels, pad_large
from raeg_jax.networks.classifiers import LogitsFn
from raeg_jax.protection import tiles

# Larger images are attacked in squares of about this side, so that memory and compilations are
# bounded.
TILE = 256
# Default strength of `cw`. With less, rounding to 8 bits undoes some of the attacks.
CONFIDENCE = 1.0


def _pgd(logits_fns, images, labels, strength, steps):
    radius = strength * images[0].size ** 0.5
    return pgd_l2(logits_fns, images, labels, radius, steps)


def _carlini_wagner(logits_fns, images, labels, strength, steps):
    return carlini_wagner(logits_fns, images, labels, steps, kappa=strength)


# What a strength means: of `pgd` the root mean square of the change, of `ifgsm` the greatest
# change of a sample, both in pixel units; of `cw` the confidence kappa, in logits.
ATTACKS = {"pgd": _pgd, "ifgsm": ifgsm, "cw": _carlini_wagner}


@dataclasses.dataclass(frozen=True, eq=False)
class Attack:
    """An attack on classifiers, all together.

    Compiled once for each shape of tiles and power of two of images, and with `aware` for each
    side: one shape for all images that are larger than 256 pixels both ways.

    Attributes:
      name: one of `ATTACKS`.
      logits_fns: the classifiers, pytrees.
      steps: of the attack.
      batch_size: images or tiles at a time.
      aware: whether the attack sees of its changes only the mean over each superpixel.
    """

    name: str
    logits_fns: Sequence[LogitsFn]
    steps: int
    batch_size: int
    aware: bool

    def classes(self, height: int, width: int) -> int:
        """Returns the number of classes that the classifiers tell apart.

        Args:
          height: of an image that they take, in pixels.
          width: of the same image.
        """
        image = jax.ShapeDtypeStruct((1, *tiles.tile_shape(height, width, TILE), 3), np.float32)
        return jax.eval_shape(self.logits_fns[0], image).shape[-1]

    def __call__(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[int],
        strengths: Sequence[float],
        side: int,
    ) -> list[np.ndarray]:
        """Attacks images tile by tile.

        Args:
          images: uint8 [H, W, 3] each.
          labels: the true class of each.
          strengths: of each attack, see `ATTACKS`.
          side: of superpixels, in pixels.

        Returns:
          float32 [H, W, 3] each, in pixel units, within 0..255.
        """
        # Whole superpixels, so that those of all tiles are those of the image.
        tile = TILE - TILE % side
        padded = [pad_large(image, side, tile) for image in images]
        layouts = [tiles.layout(image.shape[0], image.shape[1], tile) for image in padded]
        # Of one shape, mostly: an image may be just as large as a tile.
        by_shape: dict[tuple[int, int], list[tiles.TileIndex]] = collections.defaultdict(list)
        for i, image in enumerate(padded):
            shape = tiles.tile_shape(image.shape[0], image.shape[1], tile)
            by_shape[shape] += [(i, number) for number in range(len(layouts[i]))]
        attacked = [image.astype(np.float32) for image in padded]
        for places in by_shape.values():
            for start in range(0, len(places), self.batch_size):
                batch = places[start : start + self.batch_size]
                # Not filled all the way: a single image would take as long as a batch.
                size = min(self.batch_size, 1 << (len(batch) - 1).bit_length())
                originals, _ = tiles.take_batch(padded, layouts, batch, size)
                truth = np.array([labels[i] for i, _ in batch], np.int32)
                strength = np.array([strengths[i] for i, _ in batch], np.float32)
                changed = self._attack_tiles(
                    originals, tiles.pad_batch(truth, size), tiles.pad_batch(strength, size), side
                )
                for (i, number), pixels in zip(batch, changed, strict=False):
                    part = layouts[i][number]
                    own = attacked[i][part.rows, part.columns]
                    own[part.top :, part.left :] = pixels[part.top :, part.left :]
        return [
            changed[: image.shape[0], : image.shape[1]]
            for changed, image in zip(attacked, images, strict=True)
        ]

    def _attack_tiles(self, images, labels, strengths, side):
        images = images.astype(np.float32)
        seen = tuple(
            OnSuperpixels(logits_fn, images, side) if self.aware else logits_fn
            for logits_fn in self.logits_fns
        )
        return np.asarray(_run(self.name, seen, images, labels, strengths, self.steps))


@functools.partial(jax.jit, static_argnames=("name", "steps"))
def _run(name, logits_fns, images, labels, strengths, steps):
    return ATTACKS[name](logits_fns, images, labels, strengths, steps)
