"""What published networks expect of a photograph: its size, crop and scale of values, as data."""

import dataclasses
from typing import Any

import numpy as np

from raeg_jax.errors import UserError

# Mean and standard deviation of ImageNet, in pixel units.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# As Pillow calls them.
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")
_MOST_SIDE = 4096


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The way from a photograph of any size to a network's input.

    Attributes:
      resize: length of the shorter side after resizing, in pixels.
      crop: side of the square that is then cut from the middle, in pixels.
      interpolation: of `INTERPOLATIONS`, each with antialiasing.
      mean: is subtracted, per channel, in pixel units.
      std: divides the rest, per channel, in pixel units.
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self):
        if not 1 <= self.crop <= self.resize <= _MOST_SIDE:
            raise UserError(
                f"preprocessing crop={self.crop}, resize={self.resize} is impossible: the crop "
                f"must be 1 or more, and the resized side as long at least, {_MOST_SIDE} at most"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(
                f"preprocessing interpolation={self.interpolation!r} is unknown: write one of "
                f"{', '.join(INTERPOLATIONS)}"
            )
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not np.isfinite(values).all() or min(self.std) <= 0:
                raise UserError(
                    f"preprocessing {name}={values} is impossible: it must be three numbers in "
                    "pixel units (0 to 255), those of std above 0"
                )

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

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preprocessing":
        """The reverse of `to_json`, for what may be anything.

        Raises:
          UserError: impossible values.
          TypeError: other fields, or values of other types.
        """
        numbers = {name: tuple(map(float, values[name])) for name in ("mean", "std")}
        whole = {name: int(values[name]) for name in ("resize", "crop")}
        return cls(**values | numbers | whole)


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
