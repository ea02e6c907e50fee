"""Turning rasters as EXIF's orientation says, and back again.

A camera held sideways stores the raster as its sensor sees it, and a number from 1 to 8 that says
how to turn it (CIPA DC-008, tag 0x0112). Turning only moves samples, so it is undone exactly.
"""

import numpy as np

UPRIGHT = 1
# What a viewer does to the stored raster, an array [H, W, ...].
_TURNS = {
    1: lambda raster: raster,
    2: lambda raster: raster[:, ::-1],
    3: lambda raster: raster[::-1, ::-1],
    4: lambda raster: raster[::-1],
    5: lambda raster: raster.swapaxes(0, 1),
    6: lambda raster: raster.swapaxes(0, 1)[:, ::-1],
    7: lambda raster: raster[::-1, ::-1].swapaxes(0, 1),
    8: lambda raster: raster.swapaxes(0, 1)[::-1],
}
ORIENTATIONS = tuple(_TURNS)
# Only the two quarter turns aren't their own inverse.
_INVERSES = {6: 8, 8: 6}


def upright(raster: np.ndarray, orientation: int) -> np.ndarray:
    """Turns a stored raster [H, W, ...] the way it is to be seen."""
    return np.ascontiguousarray(_TURNS[orientation](raster))


def stored(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an upright image [H, W, ...] back: the inverse of `upright`."""
    return upright(image, _INVERSES.get(orientation, orientation))


def swaps_axes(orientation: int) -> bool:
    """Whether width and height change places."""
    return orientation >= 5
