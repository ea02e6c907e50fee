"""What readers make of photographs: through several preprocessings, and after defences.

Beside each image lies a file `NAME.json` with what is known of it (`Facts`), readings among it: who
measures again with another reader, or after an interruption, reads no image twice.
"""

import dataclasses
import functools
import io
import json
import pathlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from raeg_jax.evaluation.readers import Reader
from raeg_jax.files import json_bytes, write_whole
from raeg_jax.networks.preprocessing import Preprocessing

# Photographs whose inputs are in memory at a time.
_CHUNK = 16

# uint8 [H, W, 3] -> the same, or to the square that a reader takes.
Change = Callable[[np.ndarray], np.ndarray]


class Reading(NamedTuple):
    """What a reader makes of an image.

    Attributes:
      number: of the class.
      rank: that the class has which the reader sees in the original through its own preprocessing,
        from 1.
      closed_set: number of the best of the data set's classes among them; None where they aren't
        among the reader's.
    """

    number: int
    rank: int
    closed_set: int | None = None


@dataclasses.dataclass
class Facts:
    """What is known of an image, kept in a file.

    Attributes:
      path: of that file.
      values: as JSON holds them.
    """

    path: pathlib.Path
    values: dict[str, Any]

    @classmethod
    def of(cls, image: pathlib.Path) -> "Facts":
        """Those of an image, none where it has no file yet."""
        path = image.with_name(f"{image.name}.json")
        return cls(path, json.loads(path.read_bytes()) if path.exists() else {})

    def add(self, **values: Any) -> None:
        """Adds facts, and writes the file."""
        self.values |= values
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json_bytes(self.values))

    def readings(self, reader: Reader) -> dict[str, Reading]:
        """The readings of a reader, by way."""
        known = self.values.get("readings", {}).get(_name(reader), {})
        return {way: Reading(*reading) for way, reading in known.items()}


class Seen(NamedTuple):
    """An image to be read.

    Attributes:
      load: returns it, uint8 [H, W, 3].
      facts: of it.
      original: facts of the photograph that it was made of; its own for that.
    """

    load: Callable[[], np.ndarray]
    facts: Facts
    original: Facts


@functools.cache
def _name(reader: Reader) -> str:
    return f"{reader.name} {reader.digest()}"


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _blur(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))


def _halve(image: np.ndarray) -> np.ndarray:
    whole = Image.fromarray(image)
    half = [max(1, side // 2) for side in whole.size]
    there = whole.resize(half, Image.Resampling.BILINEAR)
    return np.asarray(there.resize(whole.size, Image.Resampling.BILINEAR))


DEFENCES: dict[str, Change] = {
    **{f"JPEG {quality}": functools.partial(_jpeg, quality=quality) for quality in (90, 75, 50)},
    "blur 1": _blur,
    "half size": _halve,
}


def _squash(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    method = Image.Resampling[preprocessing.interpolation.upper()]
    return np.asarray(Image.fromarray(image).resize((preprocessing.crop,) * 2, method))


def preprocessings(reader: Reader) -> dict[str, Change]:
    """The ways to a reader's input, first its own: with another interpolation, and squashed."""
    own = Preprocessing.from_json(dict(reader.preprocessing))
    other = "bilinear" if own.interpolation == "bicubic" else "bicubic"
    return {
        own.interpolation: own.fit,
        other: dataclasses.replace(own, interpolation=other).fit,
        "squash": functools.partial(_squash, preprocessing=own),
    }


def own_way(reader: Reader) -> str:
    """Name of a reader's own preprocessing, which is that of its interpolation."""
    return next(iter(preprocessings(reader)))


def ways(reader: Reader) -> list[str]:
    """Names of all ways: preprocessings, and defences before its own."""
    return [*preprocessings(reader), *DEFENCES]


def _inputs(
    image: np.ndarray, missing: Mapping[str, Sequence[str]], readers: Mapping[str, Reader]
) -> Iterable[tuple[tuple[str, str], np.ndarray]]:
    """Yields (name of reader, way) and the input; each defence is applied once."""
    for name, wanted in missing.items():
        for way, fit in preprocessings(readers[name]).items():
            if way in wanted:
                yield (name, way), fit(image)
    for way, defend in DEFENCES.items():
        if names := [name for name, wanted in missing.items() if way in wanted]:
            defended = defend(image)
            for name in names:
                yield (name, way), readers[name].fit(defended)


def read(readers: Mapping[str, Reader], images: Sequence[Seen], every_way: bool = True) -> None:
    """Adds to the facts of images the readings that they lack.

    Args:
      readers: by name.
      images: an original before what was made of it.
      every_way: of `ways`; else through their own preprocessings only.
    """
    for start in range(0, len(images), _CHUNK):
        incomplete: list[Seen] = []
        waiting: dict[tuple[str, str], list[tuple[Seen, np.ndarray]]] = {}
        for seen in images[start : start + _CHUNK]:
            missing = {}
            for name, reader in readers.items():
                wanted = ways(reader) if every_way else [own_way(reader)]
                known = seen.facts.readings(reader)
                missing[name] = [way for way in wanted if way not in known]
            if any(missing.values()):
                incomplete.append(seen)
                for key, fitted in _inputs(seen.load(), missing, readers):
                    waiting.setdefault(key, []).append((seen, fitted))
        # An original's own way first: the others' ranks refer to it.
        for name, way in sorted(waiting, key=lambda key: key[1] != own_way(readers[key[0]])):
            fitted_already = dataclasses.replace(readers[name], fit=lambda fitted: fitted)
            entries = waiting[name, way]
            logits = fitted_already.logits([fitted for _, fitted in entries])
            for (seen, _), row in zip(entries, logits, strict=True):
                _note(seen, readers[name], way, row)
        for seen in incomplete:
            seen.facts.add()


def _note(seen: Seen, reader: Reader, way: str, logits: np.ndarray) -> None:
    reference = seen.original.readings(reader).get(own_way(reader))
    number = int(logits.argmax())
    # Only of an original itself there is none, as this is it.
    reference_class = number if reference is None else reference.number
    rank = 1 + int(np.sum(logits > logits[reference_class]))
    classes = reader.data_classes
    closed_set = None if classes is None else int(logits[classes].argmax())
    known = seen.facts.values.setdefault("readings", {}).setdefault(_name(reader), {})
    known[way] = [number, rank, closed_set]


def kept(reader: Reader, images: Sequence[Seen], way: str = "") -> list[bool]:
    """Whether a reader that has read the images and their originals reads the same in both.

    Args:
      reader: the reader.
      images: n of them.
      way: in which it reads the images; its own preprocessing by default.
    """
    own = own_way(reader)
    return [
        seen.facts.readings(reader)[way or own].number == seen.original.readings(reader)[own].number
        for seen in images
    ]


def summary(
    reader: Reader, images: Sequence[Seen], labels: Sequence[int] | None
) -> dict[str, dict[str, float]]:
    """By way: readings kept, median rank of the original's reading, and closed-set accuracy.

    Args:
      reader: that has read all images in all ways.
      images: at least one.
      labels: true classes by their numbers in the data set; None where it has no classes of
        ImageNet.
    """
    results = {}
    for way in ways(reader):
        readings = [seen.facts.readings(reader)[way] for seen in images]
        results[way] = {
            "kept": statistics.fmean(kept(reader, images, way)),
            "median_rank": float(statistics.median(reading.rank for reading in readings)),
        }
        if labels is not None and reader.data_classes is not None:
            right = [each.closed_set == label for each, label in zip(readings, labels, strict=True)]
            results[way]["closed_set_accuracy"] = statistics.fmean(right)
    return results
