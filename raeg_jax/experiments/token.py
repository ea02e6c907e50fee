"""What the secret token locks: recovery with the right one, a wrong one, and one cell off."""

from collections.abc import Iterator
from typing import Any

from raeg_jax.evaluation import compiled, locked, tokens
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.evaluation.roundtrip import png_roundtrip
from raeg_jax.experiments.scores import mean, right, scores
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.subject import Subject
from raeg_jax.image.quantise import to_uint8

_SPLIT = "test"


def units(subject: Subject) -> Iterator[Unit]:
    """One unit; none where the generator has no token."""
    if subject.chain.token_planes:
        guesses = subject.config.suite.guesses
        cost = len(subject.originals(_SPLIT)[1]) * 0.15 * (5 + guesses)
        depends = {"images": subject.config.suite.images, "guesses": guesses}
        yield Unit("token/ways", cost, lambda: measure(subject, guesses), depends)


def measure(subject: Subject, guesses: int) -> dict[str, Any]:
    """Undoes unseen images in all ways of `evaluation.locked`.

    Returns:
      `ways`: for each its `psnr` (decibels, of the images that differ), `exact` (share of images
      equal to their originals) and `classifiers`, the scores.
    """
    images, labels = subject.originals(_SPLIT)
    target = subject.frozen[subject.targets[0]]
    ways: dict[str, None] = {}

    def look(index, originals, truth):
        token = tokens.draw(subject.chain, index, *originals.shape[1:3])
        values, code = locked.forward(subject.chain, originals, truth, token)
        protected, _ = png_roundtrip(to_uint8(values))
        seen = compiled.read({"target": target}, protected)["target"]
        shown = {"protected": protected}
        shown |= dict(locked.undone(subject.chain, index, values, code, guesses, seen))
        ways.update(dict.fromkeys(shown))
        rows = right(subject.frozen, {"original": originals} | shown, truth)
        for way, found in shown.items():
            quality = compiled.compare(found, originals)
            rows |= {(way, "psnr"): quality["psnr"], (way, "exact"): quality["exact"]}
        return rows

    each = measure_all(look, images, labels, subject.batch_size(_SPLIT), "undoing")
    return {
        "ways": {
            way: {
                "psnr": mean(each[way, "psnr"]),
                "exact": mean(each[way, "exact"]),
                "classifiers": scores(each, subject.frozen, ("original", way)),
            }
            for way in ways
        }
    }
