"""Gradient couplings on whole photographs of any size, with programs that don't depend on it.

The same function as `gradient_coupling` with a `photograph_guide.PhotographGuide`. Pixels are
filled and shifted square by square (`canvas`); only the descent sees the photograph as a whole, as
a working image of one size. So work on pixels grows with their number, and that of the networks
doesn't.

The strength is a matter of each photograph: its side information holds the guide's reach and the
coupling's step.
"""

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np

from raeg_jax.compilation import release_memory
from raeg_jax.exact import integers
from raeg_jax.exact.block_float import PIXEL_PARTS
from raeg_jax.generator import photograph_guide
from raeg_jax.generator.canvas import Canvas, Shift
from raeg_jax.generator.gradient_coupling import LENGTH_PARTS, PARTS, GradientCoupling
from raeg_jax.generator.photograph_guide import PhotographGuide

# Columns of a photograph's side information; the step is in 1,024ths of a pixel value.
COLUMNS = ("label", "rounds", "part", "reach", "step")
# Fractions of a pixel value in the column `reach`.
REACH_PARTS = 256
# How far outside 0..255 images may be: values have 16 bits.
MOST_EXCESS = 2**14
# No column has as much, and with less nothing fails, whatever a payload says.
_MOST = 2**18
# Pixels of photographs for which memory is worth some milliseconds.
_LARGE = 2**22
# One descent alone leaves cores idle.
_DESCENTS = concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "raeg-descents")


def is_of_photographs(stage: object) -> bool:
    """Whether a stage of a generator sees whole photographs."""
    return isinstance(getattr(stage, "conditioner", None), PhotographGuide)


def strength(stage: GradientCoupling) -> tuple[int, int]:
    """Reach and step of a stage of photographs, as their columns have them."""
    reach, step = float(stage.conditioner.reach), float(stage.step)
    return round(reach * REACH_PARTS), round(step * LENGTH_PARTS)


def forward(
    stage: GradientCoupling,
    images: Sequence[np.ndarray],
    references: Sequence[np.ndarray],
    labels: np.ndarray,
    tokens: Iterable[np.ndarray | None],
    batch_size: int,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Shifts each photograph until it is at the stage's distance from its original.

    Args:
      stage: of photographs.
      images: n of integers [H, W, 3], at most `MOST_EXCESS` outside 0..255.
      references: n of uint8 [H, W, 3], the originals that errors refer to.
      labels: int [n].
      tokens: +1 and -1, n of [H, W, P]; None each where the stage has none.
      batch_size: photographs in a descent.

    Returns:
      The values, n of int16 [H, W, 3], some perhaps outside 0..255; and the side information, int64
      [n, 5], see `COLUMNS`.
    """
    canvases = [Canvas(*each) for each in zip(images, tokens, strict=True)]
    table = np.array([[label, 0, PARTS, *strength(stage)] for label in labels], np.int64)
    table = table.reshape(-1, len(COLUMNS))
    active = list(range(len(canvases)))
    for index in range(stage.rounds):
        for number, shift in _shifts(stage, canvases, table, active, index, batch_size):
            canvas, original = canvases[number], references[number]
            limit = float(stage.max_mse) * original.size
            part = PARTS
            if canvas.errors(shift, original, [PARTS])[0] > limit:
                errors = canvas.errors(shift, original, range(PARTS + 1))
                ratios = np.abs(np.log(np.maximum(errors, 1e-9) / limit))
                part = int(np.argmin(ratios))
                active = [other for other in active if other != number]
            canvas.shift(shift, part)
            table[number, 1:3] = index + 1, part
    return [canvas.take() for canvas in canvases], table


def inverse(
    stage: GradientCoupling,
    values: Sequence[np.ndarray],
    table: np.ndarray,
    tokens: Iterable[np.ndarray | None],
    batch_size: int,
) -> list[np.ndarray]:
    """Undoes `forward`.

    Args:
      stage: of photographs.
      values: n of integers [H, W, 3].
      table: int [n, 5], the side information.
      tokens: +1 and -1, n of [H, W, P].
      batch_size: photographs in a descent.

    Returns:
      n of int16 [H, W, 3].
    """
    canvases = [Canvas(*each) for each in zip(values, tokens, strict=True)]
    table = np.minimum(table, _MOST)
    rounds = table[:, COLUMNS.index("rounds")]
    for index in reversed(range(min(int(rounds.max(initial=0)), stage.rounds))):
        active = [number for number, count in enumerate(rounds) if index < count]
        for number, shift in _shifts(stage, canvases, table, active, index, batch_size):
            last = index == rounds[number] - 1
            part = table[number, COLUMNS.index("part")] if last else PARTS
            canvases[number].shift(shift, -min(int(part), PARTS))
    return [canvas.take() for canvas in canvases]


def _shifts(
    stage: GradientCoupling,
    canvases: Sequence[Canvas],
    table: np.ndarray,
    active: Sequence[int],
    index: int,
    batch_size: int,
) -> Iterator[tuple[int, Shift]]:
    """Yields the numbers of the active photographs and their shifts in a round."""
    guide = stage.conditioner
    coupling = dataclasses.replace(stage, conditioner=None)

    def batch(numbers):
        filled = [canvases[number].fill(coupling, index) for number in numbers]
        padded = [min(place, len(numbers) - 1) for place in range(batch_size)]
        chosen = [numbers[place] for place in padded]
        working = photograph_guide.Working(
            *(np.concatenate([filled[place][0][part] for place in padded]) for part in range(2))
        )
        reach = table[chosen, COLUMNS.index("reach")].astype(np.int32)
        directions = _descend(
            guide,
            working,
            table[chosen, COLUMNS.index("label")].astype(np.int32),
            np.concatenate([canvases[number].words for number in chosen]),
            np.int32(index),
            reach * (PIXEL_PARTS * integers.RMS_PARTS) // REACH_PARTS,
        )
        directions = np.asarray(directions)
        if any(canvases[number].height * canvases[number].width > _LARGE for number in numbers):
            # What the descent's compilation left behind would come on top of all pixels.
            release_memory()
        shifts = []
        for place, number in enumerate(numbers):
            height, width = working.sizes[place]
            direction = directions[place, :height, :width].astype(np.int16)
            direction = np.pad(direction, ((0, 1), (0, 1), (0, 0)))
            rms = canvases[number].rms(direction, index)
            length = int(table[number, COLUMNS.index("step")])
            shifts.append(Shift(coupling, index, filled[place][1], direction, rms, length))
        return zip(numbers, shifts, strict=True)

    batches = [active[start : start + batch_size] for start in range(0, len(active), batch_size)]
    for shifts in _DESCENTS.map(batch, batches):
        yield from shifts


@jax.jit
def _descend(guide, working, labels, words, index, radius):
    return guide.descend(working, labels, words, index, radius)
