"""The tables of a comparison; the first has what a paper would print."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raeg_jax.comparison.scores import misled
from raeg_jax.experiments.tables import Table, heads, number, spread
from raeg_jax.methods.registry import TITLES

Results = Sequence[Mapping[str, Any]]
# Defences that the first table has; another has all of them.
_SHOWN = ("jpeg_90", "jpeg_50", "blur_1", "noise_nl_means")


def comparison(results: Mapping[str, Results], targets: Sequence[str], settings) -> Table:
    """A column for each method at `config.comparison.psnr`, from all experiments that were done."""
    columns = {}
    for method, title in TITLES.items():
        own = {name: [x for x in them if x["method"] == method] for name, them in results.items()}
        quality = [one for one in own.get("quality", []) if one["asked"] == settings.psnr]
        if quality:
            columns[title] = _cells(quality, own, results, targets)
    names = dict.fromkeys(name for own in columns.values() for name in own)
    rows = [(name, *(own.get(name, "") for own in columns.values())) for name in names]
    # What was not measured has no row.
    rows = [row for row in rows if any(row[1:])]
    note = (
        f"Unseen images at {settings.psnr:g} dB (a learned stage at the end has its own PSNR), "
        "payload in the file. Misled: of the images read rightly before, the share misread after, "
        "mean over the targets or the held-out classifiers; of all: images that a method can't "
        "protect count as not misled. Exact: files that give back their original bit for bit, in "
        "all repetitions. Back from the file: of distorted files the share that gives back "
        "anything; with the payload, which was kept: PSNR to the original, and in brackets before "
        "undoing. Pirates: peak accuracy of models trained on the files there are, as a share of "
        "honest models'. Several repetitions: mean (least to most). RAE and RIT start from "
        f"{settings.attack} with {settings.steps} steps."
    )
    return Table("Comparison", note, ("", *columns), rows)


def _cells(quality: Results, own: Mapping[str, Results], results, targets) -> dict[str, str]:
    """What the table tells of a method, by name of the row."""
    first = quality[0]
    cells = {
        "protected": _protected(first),
        "PSNR, dB": _mean([one["psnr"].get("file") for one in quality], 2),
        "SSIM": _mean([one["ssim"].get("file") for one in quality], 4),
        "targets misled by what the attack found": _misled(quality, "adversarial", targets),
        "by what the payload is hidden in": _misled(quality, "unmarked", targets),
        "by the file": _misled(quality, "file", targets),
        "by the file, of all images": _mean([_of_all(one, targets) for one in quality]),
        "held-out classifiers misled": _misled(quality, "file", targets, held_out=True),
        "exact": _exact(quality),
        "payload, bytes": number(first["payload"], 0),
        "seconds to protect": _mean([one["seconds"]["protect"] for one in quality], 2),
        "seconds to recover": number(first["seconds"]["recover"], 2),
    }
    for one in own.get("defences", []):
        if one["defence"] in _SHOWN:
            cells[f"targets misled after {one['defence']}"] = _misled([one], "defended", targets)
    for one in own.get("distortion", []):
        cells[f"back from the file after {one['distortion']}"] = number(one["alone"], 2)
        cells[f"with the payload after {one['distortion']}, dB"] = _psnrs(one)
    cells["pirates"] = _of_honest(own.get("pirates", []), results.get("pirates", []))
    return cells


def _misled(results: Results, kind: str, targets: Sequence[str], held_out: bool = False) -> str:
    return _mean([misled(one, kind, targets, held_out) for one in results])


def _protected(one: Mapping[str, Any]) -> str:
    beside = one["protected"] - one["in_pixels"] if one["exact"] is not None else 0
    more = f" ({beside} beside the pixels)" if beside else ""
    return f"{one['protected']} of {one['images']}{more}"


def _of_all(one: Mapping[str, Any], targets: Sequence[str]) -> float | None:
    if not one["protected"]:
        return 0.0
    found = [own["of_all"] for name, own in one["classifiers"].items() if name in targets]
    found = [share for share in found if share is not None]
    return statistics.fmean(found) if found else None


def _exact(quality: Results) -> str:
    if quality[0]["exact"] is None:
        return ""
    return f"{sum(x['exact'] for x in quality)} of {sum(x['protected'] for x in quality)}"


def _psnrs(one: Mapping[str, Any]) -> str:
    if one["psnr"] is None:
        return "nothing" if one["protected"] else ""
    return f"{number(one['psnr'], 2)} ({number(one['psnr_distorted'], 2)})"


def _of_honest(own: Results, everybody: Results) -> str:
    honest = {
        (one["architecture"], one["seed"]): one["peak"]
        for one in everybody
        if one["method"] == "honest"
    }
    shares = [
        one["peak"] / honest[one["architecture"], one["seed"]]
        for one in own
        if one["peak"] is not None and honest.get((one["architecture"], one["seed"]))
    ]
    return _mean(shares, 2)


def _mean(values: Sequence[float | None], digits: int = 3) -> str:
    """A cell: mean, and least to most where repetitions differ."""
    values = [value for value in values if value is not None]
    if not values:
        return ""
    if len({round(value, digits) for value in values}) == 1:
        return number(values[0], digits)
    return spread(values, digits)


def quality(results: Results) -> Table:
    """Each method at each PSNR, step by step."""
    names = next((tuple(one["classifiers"]) for one in results if one["classifiers"]), ())
    rows = []
    for one in results:
        reasons = "; ".join(f"{count}: {text}" for text, count in one["failures"].items())
        rows.append(
            (
                TITLES[one["method"]], f"{one['asked']:g}", str(one["chance"]),
                f"{one['protected']} of {one['images']}", reasons, str(one["in_pixels"]),
                *(
                    number(one["psnr"].get(state), 2)
                    for state in ("adversarial", "unmarked", "file")
                ),
                number(one["ssim"].get("file"), 4),
                *(_score(one, name, "accuracy", "original") for name in names),
                *(_score(one, name, "success", "adversarial") for name in names),
                *(_score(one, name, "success", "unmarked") for name in names),
                *(_score(one, name, "success", "file") for name in names),
                "" if one["exact"] is None else str(one["exact"]),
                number(one["payload"], 0), number(one["seconds"]["protect"], 2),
                number(one["seconds"]["recover"], 2),
            )
        )  # fmt: skip
    head = (
        "method", "asked, dB", "repetition", "protected", "failures", "payload in pixels",
        "PSNR adversarial", "before hiding", "file", "SSIM file",
        *heads(names, "{} original", "{} misled by attack", "{} before hiding", "{} by file"),
        "exact", "payload, bytes", "s to protect", "s to recover",
    )  # fmt: skip
    note = (
        "Unseen images. PSNR in decibels, of what the attack found, of what the payload is hidden "
        "in, and of the file; accuracy on originals, and of the images read rightly the share that "
        "is misread in the same three states. Seconds: of an image, without compilation."
    )
    return Table("Quality", note, head, rows)


def _score(one, name: str, what: str, kind: str) -> str:
    own = one["classifiers"].get(name)
    return number(own and own[what].get(kind))


def defences(results: Results) -> Table:
    """A row each method and defence."""
    names = next((tuple(one["classifiers"]) for one in results if one["classifiers"]), ())
    rows = [
        (
            TITLES[one["method"]], one["defence"], number(one["psnr"], 2),
            *(_score(one, name, "accuracy", "defended original") for name in names),
            *(_score(one, name, "accuracy", "defended") for name in names),
            *(_score(one, name, "success", "defended") for name in names),
        )
        for one in results
    ]  # fmt: skip
    head = ("method", "defence", "PSNR, dB", *heads(names, "{} original", "{}", "{} misled"))
    note = (
        "Accuracy on equally defended originals and on defended files, and of the originals read "
        "rightly the share that is misread. PSNR: from the original."
    )
    return Table("Defences", note, head, rows)


def distortion(results: Results) -> Table:
    """A row each method and distortion."""
    names = next((tuple(one["classifiers"]) for one in results if one["classifiers"]), ())
    rows = [
        (
            TITLES[one["method"]], one["distortion"], number(one["alone"], 3),
            number(one["beside"], 3), number(one["psnr"], 2), number(one["psnr_distorted"], 2),
            number(one.get("ssim"), 4), number(one.get("ssim_distorted"), 4),
            *(_score(one, name, "accuracy", "back") for name in names),
        )
        for one in results
    ]  # fmt: skip
    head = (
        "method", "distortion", "from the file alone", "with payload", "PSNR, dB",
        "PSNR before", "SSIM", "SSIM before", *names,
    )  # fmt: skip
    note = (
        "Shares of distorted files that give back anything: from the file alone, and where the "
        "payload was kept elsewhere. Of the latter PSNR and SSIM from the original, before and "
        "after undoing, and accuracy on what comes back."
    )
    return Table("Recovery after distortion", note, head, rows)


def pirates(results: Results) -> Table:
    """Mean and spread over seeds."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in results:
        groups.setdefault((one["method"], one["architecture"]), []).append(one)
    rows = []
    for (method, architecture), own in groups.items():
        own = [one for one in own if one["peak"] is not None]
        rows.append(
            (
                TITLES.get(method, method), architecture, str(len(own)),
                _mean([one["count"] for one in own], 0),
                *(_mean([one[what] for one in own]) for what in ("peak", "last")),
                _of_honest(own, results),
            )
        )  # fmt: skip
    head = ("trained on", "model", "seeds", "images", "peak", "last", "peak of honest")
    note = "Accuracy on clean unseen originals: mean (least to most over the seeds)."
    return Table("Pirated models", note, head, rows)


TABLES: dict[str, Callable[[Results], Table]] = {
    "quality": quality,
    "defences": defences,
    "distortion": distortion,
    "pirates": pirates,
}
