"""What published networks expect of a photograph: its size, crop and scale of values, as data."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from raeg_jax.errors import UserError

# Mean and standard deviation of ImageNet, in pixel units.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# As Pillow calls them.
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")
_MOST_SIDE = 4096
# Attributes that are false without a head.
_OF_HEADS = ("of_run", "interpolates")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The way from a photograph of any size to a network's input.

    Attributes:
      resize: length of the shorter side after resizing, in pixels.
      crop: side of the square that is then cut from the middle, in pixels.
      interpolation: of `INTERPOLATIONS`, each with antialiasing.
      mean: is subtracted, per channel, in pixel units.
      std: divides the rest, per channel, in pixel units.
      of_run: whether the network has a head of a run's (`for_run`): it sees the run's images,
        small ones enlarged, their shorter side to `crop`, and reads the run's classes.
      interpolates: whether small images are enlarged by interpolation. Otherwise their pixels are
        repeated, as for heads of version 0.1.0.
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    of_run: bool = False
    interpolates: bool = False

    def __post_init__(self):
        if not 1 <= self.crop <= self.resize <= _MOST_SIDE:
            raise UserError(
                f"preprocessing crop={self.crop}, resize={self.resize} is impossible: the crop "
                f"must be 1 or more, and the resized side as long at least, {_MOST_SIDE} at most: "
                "give both"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(
                f"preprocessing interpolation={self.interpolation!r} is unknown: write one of "
                f"{', '.join(INTERPOLATIONS)}"
            )
        for name, values, more in (("mean", self.mean, ""), ("std", self.std, " of at least 1")):
            possible = len(values) == 3 and np.isfinite(values).all()
            if not possible or (more and min(values) < 1):
                raise UserError(
                    f"preprocessing {name}={_text(values)} is impossible: it must be three numbers"
                    f"{more}, in units of pixels (0 to 255)"
                )

    def for_run(self, side: int) -> "Preprocessing":
        """Of the same weights with a head: small images are enlarged to a side, in pixels."""
        return dataclasses.replace(self, resize=side, crop=side, of_run=True, interpolates=True)

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Resizes and crops as torchvision does: uint8 [H, W, 3] -> uint8 [crop, crop, 3]."""
        # Takes a moment to import, and few commands need it.
        from PIL import Image

        height, width = image.shape[:2]
        short = min(height, width)
        size = [int(self.resize * side / short) for side in (width, height)]
        method = Image.Resampling[self.interpolation.upper()]
        resized = np.asarray(Image.fromarray(image).resize(size, method))
        top, left = (round((side - self.crop) / 2) for side in resized.shape[:2])
        return resized[top : top + self.crop, left : left + self.crop]

    @classmethod
    def parse(cls, text: str, default: "Preprocessing | None" = None) -> "Preprocessing":
        """Reads what a user wrote, such as 'resize=256,crop=224,mean=127:127:127'.

        Args:
          text: some of the attributes, by name.
          default: has the others; None for `Preprocessing()`.

        Raises:
          UserError: an unknown name, no number, or impossible values.
        """
        values: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            if name not in _READ or name in values:
                raise UserError(
                    f"--preprocess={text} can't be read: {part!r} must be one of "
                    f"{', '.join(f'{each}=...' for each in _READ)}, each once"
                )
            try:
                values[name] = _READ[name](value)
            except ValueError:
                kind = "a whole number" if _READ[name] is int else "three numbers, such as 1:2:3"
                raise UserError(
                    f"--preprocess={text} can't be read: {name}={value} must be {kind}"
                ) from None
        return dataclasses.replace(default or cls(), **values)

    def __str__(self) -> str:
        """As `parse` reads it."""
        return ",".join(f"{name}={_text(getattr(self, name))}" for name in _READ)

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        values = dataclasses.asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
        # Files, and ids of generators, from before there were heads don't have them.
        for name in _OF_HEADS:
            if not values[name]:
                del values[name]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preprocessing":
        """The reverse of `to_json`, for what may be anything.

        Raises:
          UserError: impossible values.
          TypeError: other fields, or values of other types.
        """
        numbers = {name: tuple(map(float, values[name])) for name in ("mean", "std")}
        whole = {name: int(values[name]) for name in ("resize", "crop")}
        switches = {name: bool(values.get(name, False)) for name in _OF_HEADS}
        return cls(**values | numbers | whole | switches)


def _triple(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(":")))


# What each attribute is read with.
_READ: dict[str, Callable[[str], Any]] = {
    "resize": int,
    "crop": int,
    "interpolation": str,
    "mean": _triple,
    "std": _triple,
}


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ":".join(str(each).removesuffix(".0") for each in value)
    return str(value)


def _lite(size: int) -> Preprocessing:
    """Of EfficientNet-Lite: (x - 127) / 128, and 32 pixels around the crop."""
    return Preprocessing(size + 32, size, "bicubic", (127.0,) * 3, (128.0,) * 3)


# By architecture: that of torchvision's first weights, and of Google's EfficientNet-Lite.
PUBLISHED = {
    **dict.fromkeys(
        (
            *("resnet18", "resnet34", "resnet50", "resnet101"),
            *("vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "densenet121", "densenet169"),
        ),
        Preprocessing(),
    ),
    **{f"efficientnet_lite{n}": _lite(side) for n, side in enumerate((224, 240, 260, 280, 300))},
}


def published_preprocessing(architecture: str) -> Preprocessing:
    """What the published weights of an architecture expect.

    Raises:
      UserError: none of that name were published.
    """
    if architecture not in PUBLISHED:
        raise UserError(
            f"no published network is called {architecture!r}; known are {', '.join(PUBLISHED)}"
        )
    return PUBLISHED[architecture]
