"""The numbers of all experiments as tables."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from raeg_jax.evaluation.table import SPLITS

Results = Mapping[str, Any]

_BEFORE_AND_AFTER = ("{} original", "{}", "{} misled")


class Table(NamedTuple):
    """A table of the report.

    Attributes:
      title: heading.
      note: what the numbers mean, in a sentence or two.
      head: of the columns.
      rows: as many cells each.
    """

    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def number(value: float | None, digits: int = 3, missing: str = "") -> str:
    """A cell; nothing for what there is none of."""
    return missing if value is None else f"{value:.{digits}f}"


def _scores(results: Results, kind: str, what: str) -> list[str]:
    return [number(own[what].get(kind)) for own in results["classifiers"].values()]


def heads(names: Sequence[str], *texts: str) -> tuple[str, ...]:
    """Heads of columns: all classifiers in each text."""
    return tuple(text.format(name) for text in texts for name in names)


def _names(results: Iterable[Results]) -> tuple[str, ...]:
    return tuple(next(iter(results))["classifiers"])


def reading(results: Sequence[Results]) -> Table:
    """Accuracy and attack success against PSNR, beside noise and PGD."""
    names, rows = _names(results), []
    for one in results:
        for variant in ("protected", "noise", "pgd"):
            if variant in one["quality"]:
                rows.append(
                    (
                        SPLITS[one["split"]], str(one["images"]), variant,
                        number(one["quality"][variant]["psnr"], 2, "equal"),
                        *_scores(one, "original", "accuracy"), *_scores(one, variant, "accuracy"),
                        *_scores(one, variant, "attack_success"),
                    )
                )  # fmt: skip
    head = ("images", "count", "method", "PSNR, dB", *heads(names, *_BEFORE_AND_AFTER))
    note = (
        "Accuracy on originals and on changed files, and the share misled of the images that were "
        "read rightly before. Noise and PGD have the protected files' distance."
    )
    return Table("Reading", note, head, rows)


def defences(results: Sequence[Results]) -> Table:
    """What is read after each defence."""
    names = _names(results)
    rows = [
        (
            one["defence"], number(one["psnr"], 2, "equal"),
            *_scores(one, "defended original", "accuracy"), *_scores(one, "defended", "accuracy"),
            *_scores(one, "defended", "success"),
        )
        for one in results
    ]  # fmt: skip
    head = ("defence", "PSNR, dB", *heads(names, *_BEFORE_AND_AFTER))
    note = (
        "Unseen images. Accuracy on equally defended originals and on defended protected images, "
        "and the share misled of the originals that were read rightly. PSNR: from the original."
    )
    return Table("Defences", note, head, rows)


def distortion(results: Sequence[Results]) -> Table:
    """What recovery gives after a distortion."""
    rows = [
        (
            one["distortion"], number(one["psnr"], 2, "equal"), number(one["ssim"], 4),
            number(one["psnr_distorted"], 2, "equal"), number(one["ssim_distorted"], 4),
            number(one["exact"]), *_scores(one, "recovered", "accuracy"),
        )
        for one in results
    ]  # fmt: skip
    head = ("distortion", "PSNR, dB", "SSIM", "PSNR to distorted", "SSIM to distorted", "exact")
    note = (
        "Unseen images, recovered from distorted protected files with key and code, without the "
        "payload's clipped values; against the original, and against the equally distorted one."
    )
    return Table("Recovery after distortion", note, head + _names(results), rows)


def transfer(results: Sequence[Results]) -> Table:
    """Who is misled by what was made against whom."""
    rows = [
        (
            ", ".join(one["attacked"]), number(one["psnr"], 2, "equal"),
            *_scores(one, "protected", "accuracy"), *_scores(one, "protected", "success"),
        )
        for one in results
    ]  # fmt: skip
    names = _names(results)
    head = ("attacked", "PSNR, dB", *heads(names, "{}", "{} misled"))
    return Table("Black box", "Unseen images; rows are generators.", head, rows)


def token(results: Sequence[Results]) -> Table:
    """What comes back without the token."""
    (one,) = results
    rows = [
        (
            way, number(found["psnr"], 2, "equal"), number(found["exact"]),
            *_scores(found, way, "accuracy"),
        )
        for way, found in one["ways"].items()
    ]  # fmt: skip
    names = _names(one["ways"].values())
    note = "Unseen images, undone with their payloads' codes (as the class) and clipped values."
    return Table("Secret token", note, ("undone with", "PSNR, dB", "exact", *names), rows)


def pirates(results: Sequence[Results]) -> Table:
    """Models trained on what was given away: mean and spread over seeds."""
    groups: dict[tuple[str, str, str], list[Results]] = {}
    for one in results:
        groups.setdefault((one["images"], one["training"], one["architecture"]), []).append(one)
    rows = []
    for (images, training, architecture), own in groups.items():
        honest = groups.get(("honest", training, architecture), [])
        rows.append(
            (
                images, training or "plain", architecture, str(len(own)),
                *(spread([one[what] for one in own]) for what in ("peak", "last")),
                _share(own, honest),
            )
        )  # fmt: skip
    head = ("trained on", "training", "model", "seeds", "peak", "last", "peak of honest")
    note = (
        "Accuracy on clean unseen originals: mean (least to most over the seeds). The last column "
        "is the mean peak as a share of that of honest models with the same training."
    )
    return Table("Pirated models", note, head, rows)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """A cell: mean, and least to most."""
    mean, least, most = statistics.fmean(values), min(values), max(values)
    return f"{mean:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def _share(own, honest) -> str:
    if not honest:
        return ""
    best = statistics.fmean(one["peak"] for one in honest)
    return number(statistics.fmean(one["peak"] for one in own) / best if best else None, 2)


TABLES: dict[str, Callable[[Sequence[Results]], Table]] = {
    "reading": reading,
    "defences": defences,
    "distortion": distortion,
    "transfer": transfer,
    "token": token,
    "pirates": pirates,
}
