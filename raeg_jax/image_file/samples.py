"""From an opened image to uint8 planes without losing anything, or a refusal; and turning them.

A conversion is exact here when no two different samples of the file become the same one: depths
below 8 bits, palettes and colour keys are widened; 16 bits, CMYK and the like are refused.

A camera held sideways stores the raster as its sensor sees it, and a number from 1 to 8 that says
how to turn it (CIPA DC-008, tag 0x0112). Turning only moves samples, so it is undone exactly.
"""

import numpy as np
from PIL import Image
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile

from raeg_jax.errors import UserError

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

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_DEEP = "has more than 8 bits a sample: convert it to 8 bits first"
_PREMULTIPLIED = "has colours multiplied by their alpha: save it with straight alpha first"
_COLOURS = "is {}, and its conversion to RGB isn't exact: convert it to RGB first"
_REFUSED = {
    "I": _DEEP,
    "F": "has floating-point samples: convert it to 8 bits first",
    "La": _PREMULTIPLIED,
}
# Tags of TIFF 6.0.
_BITS, _PHOTOMETRIC, _COMPRESSION, _COLORMAP, _EXTRA, _FORMAT = 258, 262, 259, 320, 338, 339


def upright(raster: np.ndarray, orientation: int) -> np.ndarray:
    """Turns a stored raster [H, W, ...] the way it is to be seen."""
    return np.ascontiguousarray(_TURNS[orientation](raster))


def stored(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an upright image [H, W, ...] back: the inverse of `upright`."""
    return upright(image, _INVERSES.get(orientation, orientation))


def swaps_axes(orientation: int) -> bool:
    """Whether turning swaps width and height."""
    return orientation >= 5


def check_exact(image: Image.Image, depth: int | None, name: str) -> None:
    """Refuses an opened image, not loaded yet, whose samples uint8 can't hold exactly.

    Args:
      image: as `Image.open` returns it; what Pillow converts silently shows before loading only.
      depth: bits a sample, of a PNG file.
      name: of the file, for messages.

    Raises:
      UserError: names the file, the reason and the way out.
    """
    reason = None
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        reason = f"has {frames} frames or pages: save each as a file of its own first"
    elif (depth or _depth(image)) > 8:
        reason = _DEEP
    elif image.mode not in _MODES:
        reason = _REFUSED.get(image.mode, _COLOURS.format(image.mode))
    elif image.mode in ("P", "PA") and image.palette is None:
        reason = "is damaged, its palette is missing: copy it again from where it came"
    elif isinstance(image, TiffImageFile):
        reason = _tiff_reason(image.tag_v2)
    if reason:
        raise UserError(f"{name} {reason}")


def planes(
    image: Image.Image, depth: int | None, key: bytes | None
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Converts a loaded image that `check_exact` let pass.

    Args:
      image: the image.
      depth: bits a sample, of a PNG file.
      key: the content of a PNG's tRNS chunk.

    Returns:
      uint8 [H, W, 3], alpha as uint8 [H, W] or None, and "rgb" or "grey"; maybe as views.
    """
    values = np.asarray(image)
    if image.mode in ("P", "PA"):
        indices = values if image.mode == "P" else values[..., 0]
        colours = np.zeros((256, 3), np.uint8)
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colours[: len(palette)] = palette
        alpha = values[..., 1] if image.mode == "PA" else _palette_alpha(image, key, indices)
        return colours[indices], alpha, "rgb"
    if image.mode == "RGBA":
        return values[..., :3], values[..., 3], "rgb"
    alpha = None
    if image.mode == "RGB":
        if key is not None:
            alpha = _keyed((values == np.frombuffer(key[1:6:2], np.uint8)).all(axis=-1))
        return values, alpha, "rgb"
    grey = values * np.uint8(255) if image.mode == "1" else values
    if image.mode == "LA":
        grey, alpha = values[..., 0], values[..., 1]
    elif key is not None:
        # The key counts in steps of the file's own depth.
        alpha = _keyed(grey == int.from_bytes(key[:2]) * 255 // (2 ** (depth or 8) - 1))
    elif "transparency" in image.info:
        alpha = _keyed(grey == image.info["transparency"])
    return np.repeat(grey[..., None], 3, axis=-1), alpha, "grey"


def _depth(image: Image.Image) -> int:
    """Returns the bits a sample of formats that Pillow reduces to 8 bits silently."""
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(_BITS, (1,)))
    if isinstance(image, PpmImageFile):
        coder, _, _, details = image.tile[0]
        if coder in ("ppm", "ppm_plain") and isinstance(details, tuple):
            return details[-1].bit_length()
    return 8


def _tiff_reason(tags) -> str | None:
    """Returns why the values of a TIFF file with these tags can't be taken as they are, if so."""
    extra = tags.get(_EXTRA, ())
    if set(tags.get(_FORMAT, (1,))) != {1}:
        return "has signed or floating-point samples: convert it to unsigned 8 bits first"
    if 1 in extra:
        return _PREMULTIPLIED
    if extra not in ((), (2,)):
        return "has channels beside colour and alpha: save it as RGB or RGBA first"
    # JPEG's own decoder makes RGB of YCbCr, as it does in a JPEG file.
    if tags.get(_PHOTOMETRIC) == 6 and tags.get(_COMPRESSION) not in (6, 7):
        return _COLOURS.format("YCbCr")
    # 8-bit colours are stored times 257 or times 256.
    if any(colour % 257 and colour % 256 for colour in tags.get(_COLORMAP, ())):
        return "has a palette of 16-bit colours: convert it to 8 bits first"
    return None


def _palette_alpha(image: Image.Image, key: bytes | None, indices: np.ndarray) -> np.ndarray | None:
    transparent = key if key is not None else image.info.get("transparency")
    if transparent is None:
        return None
    alpha = np.full(256, 255, np.uint8)
    if isinstance(transparent, bytes):
        alpha[: len(transparent)] = np.frombuffer(transparent, np.uint8)
    else:
        alpha[transparent] = 0
    return alpha[indices]


def _keyed(transparent: np.ndarray) -> np.ndarray:
    """Returns the alpha of pixels of which some are the transparent colour: uint8 [H, W]."""
    return np.where(transparent, np.uint8(0), np.uint8(255))
