"""What each contender does to classifiers and images, what comes back, and what it takes."""

import collections
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from raeg_jax.comparison.compared import Compared, Make, images_at
from raeg_jax.evaluation import compiled
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.evaluation.timing import Stopwatch
from raeg_jax.experiments.reading import possible
from raeg_jax.experiments.scores import BEFORE, mean, right, scores
from raeg_jax.experiments.store import Unit
from raeg_jax.methods.registry import RANDOMISED, REVERSIBLE

SPLIT = "test"
# On its way from the original to the file; of some methods two are the same.
STATES = ("adversarial", "unmarked", "file")
# In place of the number of all images, for the time left.
_ALL = 1000


def units(make: Make, methods: tuple[str, ...], settings) -> Iterator[Unit]:
    """All methods at all PSNRs; at the main one repeated where there is chance."""
    for psnr in dict.fromkeys((settings.psnr, *settings.psnrs)):
        main, images = psnr == settings.psnr, images_at(make.subject.config, psnr)
        for method in methods:
            if method == "raeg" and not main and not _reaches(make.subject.config, psnr):
                continue
            for chance in range(settings.seeds if main and method in RANDOMISED else 1):
                yield Unit(
                    f"quality/{method}-{psnr:g}-{chance}",
                    images or _ALL,
                    lambda method=method, psnr=psnr, chance=chance: measure(
                        make(method, psnr, chance)
                    ),
                    make.depends(method, psnr) | {"images": images},
                )


def _reaches(config: ConfigDict, psnr: float) -> bool:
    """Whether the generator can aim there: a learned stage at the end has a PSNR of its own."""
    return config.generator.stages[-1] != "learned" and possible(config, psnr)


def measure(compared: Compared) -> dict[str, Any]:
    """Reads files, compares them with their originals, and undoes them.

    Returns:
      `method`, `asked` (decibels), `chance`; `images`, how many were to be protected, `protected`
      of them, and `failures`, how many failed for each reason; `in_pixels`, how many files have
      their payload in the pixels; `payload`, mean bytes; `psnr` (decibels) and `ssim` of each of
      `STATES`, means over images that differ from their originals; `classifiers`, scores on all
      states, and `of_all`: of all images that are read rightly, protected or not, the share that
      the files mislead about; `exact`, how many files gave back their originals bit for bit (None
      where nothing can be undone); `seconds` to `protect` and to `recover` an image.
    """
    files = compared.protected(SPLIT)
    count = len(files.kept)
    reversible = compared.method in REVERSIBLE
    result = {
        "method": compared.method,
        "asked": compared.psnr,
        "chance": compared.chance,
        "images": len(compared.given(SPLIT)[1]),
        "protected": count,
        "failures": dict(collections.Counter(map(_reason, files.failures))),
        "in_pixels": int(files.in_pixels.sum()),
        "payload": mean(files.sizes) if reversible else None,
        "seconds": {"protect": float(files.seconds), "recover": None},
        "exact": 0 if reversible else None,
    }
    if not count:
        return result | {"psnr": {}, "ssim": {}, "classifiers": {}}
    states = {"adversarial": files.adversarial, "unmarked": files.unmarked, "file": files.images}

    def look(index, originals, truth):
        shown = {BEFORE: originals} | {name: images[index] for name, images in states.items()}
        rows = right(compared.frozen, shown, truth)
        for name in STATES:
            found = compiled.compare(shown[name], originals)
            rows |= {(key, name): found[key] for key in ("psnr", "ssim")}
        return rows

    each = measure_all(look, *compared.originals(SPLIT), compared.batch_size(SPLIT))
    classifiers = scores(each, compared.frozen, (BEFORE, *STATES))
    for name, found in _right_of_given(compared).items():
        # Who fails to protect an image misleads nobody with it.
        wrong = each[BEFORE, name] & ~each["file", name]
        classifiers[name]["of_all"] = float(wrong.sum() / found) if found else None
    if reversible:
        result["exact"], result["seconds"]["recover"] = _recovered(compared)
    return result | {
        "psnr": {name: mean(each["psnr", name]) for name in STATES},
        "ssim": {name: mean(each["ssim", name]) for name in STATES},
        "classifiers": classifiers,
    }


def _right_of_given(compared: Compared) -> dict[str, int]:
    """How many of all originals each classifier reads rightly."""
    images, labels = compared.given(SPLIT)
    size = min(compared.config.eval.batch_size, len(labels))
    each = measure_all(
        lambda index, some, truth: right(compared.frozen, {BEFORE: some}, truth),
        images, labels, size,
    )  # fmt: skip
    return {name: int(each[BEFORE, name].sum()) for name in compared.frozen}


def _recovered(compared: Compared) -> tuple[int, float]:
    """How many files give back their originals, and the seconds that one takes."""
    files, (originals, _) = compared.protected(SPLIT), compared.originals(SPLIT)
    size, exact, watch = compared.batch_size(SPLIT), 0, Stopwatch()
    undoer = compared.contender(float(files.aim))
    for start in range(0, len(originals), size):
        some = range(start, min(start + size, len(originals)))
        blobs = [None if files.in_pixels[i] else files.blob(i) for i in some]
        with watch:
            found = undoer.recover(files.images[some], blobs)
        exact += sum(
            isinstance(one, np.ndarray) and np.array_equal(one, originals[i])
            for i, one in zip(some, found, strict=True)
        )
    return exact, watch.seconds / len(originals)


def _reason(failure: str) -> str:
    """A failure without the numbers of its image."""
    return re.sub(r"\d+(\.\d+)?", "…", failure)
