"""What is measured on the photographs of one folder, for `photographs.py`."""

import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from changed_photographs import Changes, Photograph
from photograph_readings import Facts, Seen, kept, read, summary

from raeg_jax.evaluation.readers import Reader

# Places among the readings of the protected file whose class an attacker takes for the true one.
_GUESSED = {"2nd": 1, "3rd": 2, "4th": 3, "5th": 4}


class Measurement:
    """All that is measured on one folder.

    Args:
      changes: makes the images.
      folder: of the photographs.
      paths: of the chosen ones.
      classes: of the folder, if they are ImageNet's; else none.
      readers: by name.
    """

    def __init__(
        self,
        changes: Changes,
        folder: pathlib.Path,
        paths: Sequence[pathlib.Path],
        classes: Sequence[str],
        readers: Mapping[str, Reader],
    ):
        self._changes, self._name, self._classes = changes, folder.resolve().name, list(classes)
        self._readers = {
            name: reader.for_data_set(classes) if classes else reader
            for name, reader in readers.items()
        }
        sources = [Photograph(path, path.relative_to(folder).as_posix()) for path in paths]
        self._originals = {source: changes.original(source) for source in sources}

    def run(
        self, psnrs: Sequence[float], kinds: Sequence[str], counter: int, guesses: int
    ) -> dict[str, Any]:
        """The results, as JSON holds them.

        Args:
          psnrs: to protect at, in decibels.
          kinds: to read: 'protected' and some of `changed_photographs.CONTROLS`.
          counter: how many photographs to attack without the key.
          guesses: tokens that are drawn for each of them.
        """
        self._tell("originals")
        originals = list(self._originals.values())
        read(self._readers, originals)
        results: dict[str, Any] = {
            "photographs": len(originals),
            "original": self._summary(list(self._originals), originals),
            "psnrs": {},
        }
        for psnr in psnrs:
            self._tell(f"{psnr:g} dB, protecting")
            facts = {source: self._changes.protect(source, psnr) for source in self._originals}
            exact = {source: each for source, each in facts.items() if each.values["exact"]}
            results["psnrs"][f"{psnr:g}"] = at = {"protection": _protection(facts)}
            for kind in kinds if exact else ():
                self._tell(f"{psnr:g} dB, {kind}")
                at[kind] = self._kind(exact, psnr, kind)
            if counter and exact:
                self._tell(f"{psnr:g} dB, counter-attack")
                at["counter"] = self._counter(exact, psnr, counter, guesses)
        return results

    def _tell(self, what: str) -> None:
        print(f"{self._name}: {what}", file=sys.stderr, flush=True)

    def _changed(self, sources: Sequence[Photograph], psnr: float, kind: str) -> list[Seen]:
        return [
            self._changes.changed(source, psnr, kind, self._originals[source].facts)
            for source in sources
        ]

    def _kind(self, exact: Mapping[Photograph, Facts], psnr: float, kind: str) -> dict[str, Any]:
        if kind != "protected":
            for source, facts in exact.items():
                self._changes.control(source, psnr, kind, facts)
        images = self._changed(list(exact), psnr, kind)
        read(self._readers, images)
        return self._summary(list(exact), images)

    def _summary(self, sources: Sequence[Photograph], images: Sequence[Seen]) -> dict[str, Any]:
        labels = [self._classes.index(x.class_name) for x in sources] if self._classes else None
        return {name: summary(reader, images, labels) for name, reader in self._readers.items()}

    def _counter(
        self, exact: Mapping[Photograph, Facts], psnr: float, most: int, tokens: int
    ) -> dict[str, Any]:
        """What comes back to somebody who has the generator file and guesses token and class."""
        sources = list(exact)[:most]
        # He knows what is common.
        rounds = statistics.mode(facts.values["rounds"] for facts in exact.values())
        protected = self._changed(sources, psnr, "protected")
        rankings = self._changes.rankings([seen.load() for seen in protected])
        tries: dict[str, list[list[Seen]]] = {}
        means: dict[str, list[Seen]] = {}
        for source, ranking in zip(sources, rankings, strict=True):
            labels = {guess: int(ranking[place]) for guess, place in _GUESSED.items()}
            labels["known"] = exact[source].values["label"]
            original = self._originals[source].facts
            for guess, label in labels.items():
                made, mean = self._changes.guess(source, psnr, label, rounds, tokens, original)
                tries.setdefault(guess, []).append(made)
                means.setdefault(guess, []).append(mean)
        images = [seen for group in tries.values() for made in group for seen in made]
        images += [seen for group in means.values() for seen in group]
        read(self._readers, protected + images, every_way=False)
        groups = {guess: [guess] for guess in _GUESSED}
        groups |= {"2nd to 5th": list(_GUESSED), "known": ["known"]}

        def shares(reader, guesses):
            # By guess, photograph and token.
            back = np.array([[kept(reader, made) for made in tries[guess]] for guess in guesses])
            of_means = np.array([kept(reader, means[guess]) for guess in guesses])
            return {
                "mean": float(back.mean()),
                "best": float(back.any(axis=(0, 2)).mean()),
                "mean_image": float(of_means.mean()),
            }

        return {
            "photographs": len(sources),
            "rounds": rounds,
            "tokens": tokens,
            "protected": {
                name: statistics.fmean(kept(reader, protected))
                for name, reader in self._readers.items()
            },
            "guesses": {
                title: {name: shares(reader, group) for name, reader in self._readers.items()}
                for title, group in groups.items()
            },
        }


def _protection(facts: Mapping[Photograph, Facts]) -> dict[str, Any]:
    """Exactness, distance and seconds."""
    exact = [each.values for each in facts.values() if each.values["exact"]]
    results: dict[str, Any] = {
        "photographs": len(facts),
        "not_exact": [source.name for source, each in facts.items() if not each.values["exact"]],
    }
    if exact:
        results |= {
            "psnr": statistics.median(each["psnr"] for each in exact),
            "least_psnr": min(each["psnr"] for each in exact),
            "payload_beside_pixels": sum(not each["in_pixels"] for each in exact),
            "rounds": statistics.fmean(each["rounds"] for each in exact),
        }
        for name in ("protect_seconds", "recover_seconds"):
            seconds = [each[name] for each in exact]
            results[name] = {"median": statistics.median(seconds), "largest": max(seconds)}
    return results
