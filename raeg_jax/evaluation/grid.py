"""A picture of what happened: original, protected, difference, recovered."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLUMNS = ("original", "protected", "difference x10", "recovered")
_GAP, _LINE, _MARGIN = 4, 16, 200


def difference(images: np.ndarray, originals: np.ndarray, gain: float = 10.0) -> np.ndarray:
    """The change of each sample times `gain` around mid-grey 128, clipped: uint8, same shape."""
    change = images.astype(np.float32) - originals.astype(np.float32)
    return np.clip(np.round(128 + gain * change), 0, 255).astype(np.uint8)


def grid(
    originals: np.ndarray,
    protected: np.ndarray,
    recovered: np.ndarray,
    captions: Sequence[Sequence[str]],
    cell: int = 128,
) -> np.ndarray:
    """Draws one row an image, its captions on the left and the column titles on top.

    Args:
      originals: uint8 [N, S, S, 3].
      protected: the same shape.
      recovered: the same shape.
      captions: some short lines for each image.
      cell: least side of a drawn image in pixels; smaller images are enlarged by a whole
        factor, so that every sample stays visible as it is.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: the batches differ in shape or there is not one caption an image.
    """
    if not originals.shape == protected.shape == recovered.shape or len(captions) != len(originals):
        raise ValueError(
            f"a grid needs three batches of one shape and as many captions, got "
            f"{originals.shape}, {protected.shape}, {recovered.shape} and {len(captions)}"
        )
    shown = (originals, protected, difference(protected, originals), recovered)
    return panel(dict(zip(COLUMNS, shown, strict=True)), captions, cell)


def panel(
    columns: Mapping[str, np.ndarray], captions: Sequence[Sequence[str]], cell: int = 128
) -> np.ndarray:
    """Draws images side by side.

    Args:
      columns: uint8 [N, S, S, 3] by title.
      captions: some short lines for each of the N rows.
      cell: as for `grid`.

    Returns:
      uint8 [H, W, 3].
    """
    stack = np.stack(list(columns.values()), axis=1)
    factor = max(1, -(-cell // max(stack.shape[2:4])))
    stack = stack.repeat(factor, axis=2).repeat(factor, axis=3)
    count, width_of_grid, height, width, _ = stack.shape
    size = (
        _MARGIN + width_of_grid * (width + _GAP),
        _LINE + _GAP + count * (height + _GAP),
    )
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default()
    for column, title in enumerate(columns):
        draw.text((_MARGIN + column * (width + _GAP), _GAP), title, "black", font)
    for row in range(count):
        top = _LINE + _GAP + row * (height + _GAP)
        for number, line in enumerate(captions[row]):
            draw.text((_GAP, top + number * _LINE), _fit(draw, line, font), "black", font)
        for column in range(width_of_grid):
            image = Image.fromarray(np.ascontiguousarray(stack[row, column]))
            canvas.paste(image, (_MARGIN + column * (width + _GAP), top))
    return np.asarray(canvas)


def _fit(draw: ImageDraw.ImageDraw, line: str, font) -> str:
    """Cuts a line that would run into the images; letters the font lacks become '?'."""
    line = line.encode("latin-1", "replace").decode("latin-1")
    while line and draw.textlength(line, font) > _MARGIN - 2 * _GAP:
        line = line[:-1]
    return line
