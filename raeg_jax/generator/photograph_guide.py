"""The guide of whole photographs: a descent on classifiers that see them as a pirate's model does.

Somebody else's model reads a photograph scaled down to some 224 pixels. So the descent runs on a
*working image* of at most `WORKING` pixels a side: the photograph, or the means of its cells of
f x f pixels. Each step changes the working image along the gradient of one classifier, which sees
it through a view: a part of it, resized to the classifier's input, perhaps after JPEG. Steps take
the classifiers in turn, and momentum joins what they say. The displacement of a cell is that of all
its pixels, which is the transpose of the mean.

As parts are cut by matrices (`exact.resample`), all working images share one program; what a
network costs does not depend on the photograph's size. All is computed in integers, as by
`guide.FixedGuide`: displacements in sixteenths of a pixel value.
"""

import math
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.exact import integers, resample
from raeg_jax.exact.block_float import PIXEL_PARTS
from raeg_jax.exact.fixed_classifier import FixedClassifier
from raeg_jax.exact.jpeg import jpeg
from raeg_jax.generator.fixed_descent import fixed_descent

# Greatest height and width of a working image, in pixels.
WORKING = 320
# The parts of a photograph that views show.
FRAMES = ("whole", "centre", "crop")
# `Preprocessing` commonly crops 224 of 256 pixels: 14 of 16.
_CENTRE = 14
# Least share of each side that a random part has.
_LEAST_SHARE = 0.7
_SHARE_BITS, _PLACE_BITS = 10, 16
_MOMENTUM_PARTS, _SIDE_PARTS = 32, 32
# Root mean square, in eighths, of a gradient before it is added to the direction so far.
_UNIT = 32 * integers.RMS_PARTS
_RMS_PARTS = PIXEL_PARTS * integers.RMS_PARTS
_MOST = 255 * PIXEL_PARTS
# Side of the grid of pixels whose token signs draw the crops.
_GRID = 32
WORDS = 8


class View(NamedTuple):
    """How a step sees the working image.

    Attributes:
      frame: of `FRAMES`: all of it, the square in its middle, or a random part.
      quality: of JPEG before, 1 to 100; 0 for none.
    """

    frame: str
    quality: int = 0

    @classmethod
    def parse(cls, text: str) -> "View | None":
        """Reads 'crop' or 'crop+jpeg:75'; None for what is no view of photographs."""
        frame, plus, distortion = str(text).partition("+")
        name, _, number = distortion.partition(":")
        if frame not in FRAMES or (plus and name != "jpeg"):
            return None
        quality = int(number) if number.isdecimal() else 0
        return cls(frame, quality) if quality in range(1, 101) or not plus else None


class Working(NamedTuple):
    """Working images of a batch.

    Attributes:
      images: int32 [B, WORKING, WORKING, 3], in sixteenths, continued by repeating the edge.
      sizes: int32 [B, 2], height and width of what isn't continued.
    """

    images: Any
    sizes: Any


@flax.struct.dataclass
class PhotographGuide:
    """As `guide.FixedGuide`, for whole photographs.

    Attributes:
      classifiers: published networks, a pytree.
      reach: greatest distance of the descent from the image, a root mean square in pixel units, at
        most 400.
      steps: of the descent, a multiple of the numbers of classifiers and of views.
      others: the loss is the margin to the mean of so many best other classes.
      momentum: share of the direction so far that is added to the next, below 1.
      views: in turn from step to step.
    """

    classifiers: tuple[FixedClassifier, ...]
    reach: jax.Array | float
    steps: int = flax.struct.field(pytree_node=False, default=16)
    others: int = flax.struct.field(pytree_node=False, default=50)
    momentum: float = flax.struct.field(pytree_node=False, default=0.9)
    views: tuple[View, ...] = flax.struct.field(pytree_node=False, default=(View("crop"),))

    portable = True
    keyed = True

    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array,
        token: jax.Array | None = None,
        index: jax.Array | int = 0,
    ) -> jax.Array:
        """The displacement, float32 [B, H, W, 3] in pixel units, multiples of 1/16.

        Args:
          images: integers as float32 [B, H, W, 3] within 0..255.
          labels: int32 [B], the classes to lead away from.
          token: +1 and -1, [B, H, W, P], which draws the crops; None for the same for everybody.
          index: of the round, which has crops of its own.
        """
        B, H, W, _ = images.shape
        words = jnp.zeros((B, WORDS), jnp.uint32) if token is None else crop_words(jnp, token)
        working = working_images(jnp, images.astype(jnp.int32))
        radius = jnp.round(jnp.float32(self.reach) * _RMS_PARTS).astype(jnp.int32)
        moved = self.descend(working, labels, words, index, jnp.broadcast_to(radius, B))
        factor = cell_side(H, W)
        moved = jnp.repeat(jnp.repeat(moved, factor, axis=1), factor, axis=2)
        moved = moved[:, :H, :W]
        return moved.astype(jnp.float32) / PIXEL_PARTS

    def descend(
        self,
        working: Working,
        labels: jax.Array,
        words: jax.Array,
        index: jax.Array | int,
        radius: jax.Array,
    ) -> jax.Array:
        """The displacement of working images: int32 [B, WORKING, WORKING, 3], in sixteenths.

        Root mean squares are over the whole array, of which the image is a part. So those of the
        image are multiplied by the side of a square of its area (in 32nds of a pixel, rounded down)
        and divided by the side of the array: rounded down to eighths, at least one.

        Args:
          working: from `working_images`.
          labels: int32 [B].
          words: uint32 [B, 8], from `crop_words`.
          index: of the round.
          radius: int32 [B], greatest root mean square, in eighths of a sixteenth.
        """
        start, sizes = working
        area = (sizes[:, 0] * sizes[:, 1] * _SIDE_PARTS**2).astype(jnp.uint32)
        side = integers.isqrt(area).astype(jnp.int32)

        def scaled(length):
            length = length * side // (_SIDE_PARTS * WORKING)
            return jnp.maximum(length, 1)[:, None, None, None]

        places = jnp.arange(WORKING)
        rows, columns = (places < sizes[:, axis, None] for axis in (0, 1))
        inside = (rows[:, :, None] & columns[:, None])[..., None]
        unit, reach = scaled(jnp.full_like(radius, _UNIT)), scaled(radius)
        length = scaled(integers.divide(5 * radius, 2 * self.steps))
        share = round(self.momentum * _MOMENTUM_PARTS)

        def step(number, state):
            displacement, direction = state
            slope = self._slope(start + displacement, sizes, labels, words, index, number)
            slope = integers.to_rms(jnp.where(inside, slope, 0), unit)
            direction = integers.divide(direction * share, _MOMENTUM_PARTS) + slope
            direction = jnp.clip(direction, -integers.LIMIT, integers.LIMIT)
            displacement = displacement + integers.to_rms(direction, length)
            displacement = jnp.clip(displacement, -integers.LIMIT, integers.LIMIT)
            is_outside = integers.rms(displacement) > reach
            displacement = jnp.where(is_outside, integers.to_rms(displacement, reach), displacement)
            displacement = jnp.clip(start + displacement, 0, _MOST) - start
            return displacement, direction

        zeros = jnp.zeros_like(start)
        return jax.lax.fori_loop(0, self.steps, step, (zeros, zeros))[0]

    def _slope(self, image, sizes, labels, words, index, number):
        """The direction in which the loss of one classifier falls: int32, at most LIMIT."""
        pixels = image.astype(jnp.float32) / PIXEL_PARTS
        qualities = [view.quality for view in self.views]
        if any(qualities):
            quality = jnp.asarray(qualities)[number % len(self.views)]
            pixels = jax.lax.cond(quality > 0, lambda x: jpeg(x, quality), lambda x: x, pixels)
        boxes = [
            frame_box(frame, sizes, draws(jnp, words, index * self.steps + number))
            for frame in FRAMES
        ]
        kinds = jnp.asarray([FRAMES.index(view.frame) for view in self.views])
        box = jnp.stack(boxes)[kinds[number % len(self.views)]]

        def seen(classifier):
            crop = classifier.module.preprocessing.crop
            rows, columns = (
                resample.weights(box[:, axis], box[:, 2 + axis], sizes[:, axis], crop, WORKING)
                for axis in (0, 1)
            )
            return lambda x: classifier(resample.resample(x, rows, columns))

        def descent(classifier):
            return lambda: fixed_descent((seen(classifier),), pixels, labels, others=self.others)

        descents = [descent(classifier) for classifier in self.classifiers]
        return jax.lax.switch(number % len(descents), descents)


def cell_side(height: int, width: int) -> int:
    """Side of the cells of a photograph whose means are a working image, in pixels."""
    return -(-max(height, width) // WORKING)


def cell_means(xp: Any, images: Any, factor: int) -> Any:
    """Means of the cells, those at the ends smaller: int [B, H, W, 3] -> int32, in sixteenths.

    Args:
      xp: `numpy` or `jax.numpy`.
      images: integers [B, H, W, 3] within 0..255.
      factor: side of the cells, in pixels.
    """
    B, H, W, C = images.shape
    rows, columns = -(-H // factor), -(-W // factor)
    padding = ((0, 0), (0, rows * factor - H), (0, columns * factor - W), (0, 0))
    cells = xp.pad(images, padding).reshape(B, rows, factor, columns, factor, C)
    sums = cells.sum(axis=(2, 4), dtype=np.int32)
    tall, wide = (
        np.minimum(factor, n - factor * np.arange(count)) for n, count in ((H, rows), (W, columns))
    )
    counts = np.multiply.outer(tall, wide).astype(np.int32)[..., None]
    # Of large cells, sixteenths of the sums need more than 32 bits.
    rest = sums % counts
    return PIXEL_PARTS * (sums // counts) + (2 * PIXEL_PARTS * rest + counts) // (2 * counts)


def working_images(xp: Any, images: Any) -> Working:
    """The working images of a batch of one size: int [B, H, W, 3], as for `cell_means`."""
    return pad_working(xp, cell_means(xp, images, cell_side(*images.shape[1:3])))


def pad_working(xp: Any, means: Any) -> Working:
    """Continues means of cells [B, h, w, 3] to the size of all working images."""
    B, height, width, _ = means.shape
    padding = ((0, 0), (0, WORKING - height), (0, WORKING - width), (0, 0))
    sizes = np.broadcast_to(np.array([height, width], np.int32), (B, 2))
    return Working(xp.pad(means, padding, mode="edge"), xp.asarray(sizes))


def crop_words(xp: Any, token: Any) -> Any:
    """Eight words that depend on an image's token: uint32 [B, 8].

    They are sums of constants over the negative signs at 32 x 32 places: all signs of an image of
    128 pixels a side or less, and 2,048 bits of larger ones. Of sign n in C order, the constant of
    word w is `_mixed` of 8 n + w.

    Args:
      xp: `numpy` or `jax.numpy`.
      token: +1 and -1, [B, H, W, P].
    """
    B, H, W, _ = token.shape
    rows, columns = ((2 * np.arange(_GRID) + 1) * n // (2 * _GRID) for n in (H, W))
    signs = token[:, rows][:, :, columns].reshape(B, -1) < 0
    count = signs.shape[1]
    constants = _mixed(np.arange(WORDS * count, dtype=np.uint32)).reshape(1, count, WORDS)
    return xp.where(signs[..., None], constants, np.uint32(0)).sum(axis=1, dtype=np.uint32)


def draws(xp: Any, words: Any, step: Any) -> Any:
    """Four random numbers for a step: uint32 [B, 4].

    Number i is `_mixed` of 4 step + i and the first word; then of this, of the second word and 1,
    and so on.

    Args:
      xp: `numpy` or `jax.numpy`.
      words: uint32 [B, 8].
      step: its number, counted over all rounds.
    """
    numbers = xp.asarray(4 * step + np.arange(4)).astype(np.uint32)[None]
    for word in range(WORDS):
        numbers = _mixed(numbers + words[:, word, None] + np.uint32(word))
    return numbers


def _mixed(x):
    """The finaliser of MurmurHash3 (Appleby 2011): a bijection of uint32 that mixes all bits."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def frame_box(frame: str, sizes: jax.Array, numbers: jax.Array) -> jax.Array:
    """The part of working images that a view shows.

    Args:
      frame: of `FRAMES`.
      sizes: int32 [B, 2], of the images.
      numbers: uint32 [B, 4], from `draws`.

    Returns:
      int32 [B, 4]: top, left, height and width, in sixteenths of a pixel.
    """
    whole = resample.BOX_PARTS * sizes
    if frame == "whole":
        lengths, starts = whole, jnp.zeros_like(whole)
    elif frame == "centre":
        shorter = jnp.min(sizes, axis=1, keepdims=True)
        lengths = jnp.broadcast_to(_CENTRE * shorter, whole.shape)
        starts = (whole - lengths) // 2
    else:
        one = 2**_SHARE_BITS
        fixed = math.ceil(_LEAST_SHARE * one)
        share = (numbers[:, :2] >> (32 - _SHARE_BITS)).astype(jnp.int32)
        place = (numbers[:, 2:] >> (32 - _PLACE_BITS)).astype(jnp.int32)
        lengths = whole * (fixed + ((one - fixed) * share >> _SHARE_BITS)) >> _SHARE_BITS
        lengths = jnp.maximum(lengths, resample.BOX_PARTS)
        starts = (whole - lengths) * place >> _PLACE_BITS
    return jnp.concatenate([starts, lengths], axis=1)
