"""The tables of a comparison; the first has what a paper would print."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raeg_jax.comparison.contenders import METHODS
from raeg_jax.comparison.scores import misled
from raeg_jax.experiments.tables import Table, heads, number, spread

Results = Sequence[Mapping[str, Any]]


def comparison(results: Mapping[str, Results], targets: Sequence[str], settings) -> Table:
    """A row for each method at `config.comparison.psnr`, from all experiments that were done."""
    psnr, rows = settings.psnr, []
    for method, title in METHODS.items():
        own = {name: [x for x in them if x["method"] == method] for name, them in results.items()}
        quality = [one for one in own.get("quality", []) if one["asked"] == psnr]
        if quality:
            rows.append((title, *_cells(quality, own, results, targets)))
    head = (
        "method", "protected", "PSNR, dB", "SSIM", "misled by attack", "by file", "of all",
        "held out misled", "exact", "payload, bytes", "s to protect", "s to recover",
        "JPEG 50: misled", "blur 1: misled", "JPEG 50: back alone", "JPEG 50: PSNR with payload",
        "blur 1: back alone", "blur 1: PSNR with payload", "pirate of honest",
    )  # fmt: skip
    note = (
        f"Unseen images at {psnr:g} dB (a learned stage at the end has a PSNR of its own), payload "
        "in the file. Misled: share of the images read rightly before, mean over the targets (or "
        "the held-out classifiers), by what the attack found and by the file; of all: images that "
        "a method can't protect count as not misled. Exact: files that give back their original "
        "bit for bit, in all repetitions. Seconds: of an image. Back alone: share of distorted "
        "files that give back anything; PSNR with payload: where it was kept and the method can "
        "be undone, from the original, and in brackets before undoing. Pirate: peak accuracy of "
        "models trained on the files there are, as a share of honest models'. Several "
        f"repetitions: mean (least to most). RAE and RIT start from {settings.attack} with "
        f"{settings.steps} steps."
    )
    return Table("Comparison", note, head, rows)


def _cells(quality: Results, own: Mapping[str, Results], results, targets) -> list[str]:
    first = quality[0]
    return [
        _protected(first),
        _mean([one["psnr"].get("file") for one in quality], 2),
        _mean([one["ssim"].get("file") for one in quality], 4),
        _mean([misled(one, "adversarial", targets, False) for one in quality]),
        _mean([misled(one, "file", targets, False) for one in quality]),
        _mean([_of_all(one, targets) for one in quality]),
        _mean([misled(one, "file", targets, True) for one in quality]),
        _exact(quality),
        number(first["payload"], 0),
        number(statistics.fmean(one["seconds"]["protect"] for one in quality), 2),
        number(first["seconds"]["recover"], 2),
        *(
            _mean([
                misled(one, "defended", targets, False)
                for one in own.get("defences", [])
                if one["defence"] == defence
            ])
            for defence in ("jpeg_50", "blur_1")
        ),
        *_after(own.get("distortion", []), "jpeg_50"),
        *_after(own.get("distortion", []), "blur_1"),
        _of_honest(own.get("pirates", []), results.get("pirates", [])),
    ]  # fmt: skip


def _protected(one: Mapping[str, Any]) -> str:
    beside = one["protected"] - one["in_pixels"] if one["exact"] is not None else 0
    more = f" ({beside} beside the pixels)" if beside else ""
    return f"{one['protected']} of {one['images']}{more}"


def _of_all(one: Mapping[str, Any], targets: Sequence[str]) -> float | None:
    found = [own["of_all"] for name, own in one["classifiers"].items() if name in targets]
    found = [share for share in found if share is not None]
    return statistics.fmean(found) if found else None


def _exact(quality: Results) -> str:
    if quality[0]["exact"] is None:
        return ""
    return f"{sum(x['exact'] for x in quality)} of {sum(x['protected'] for x in quality)}"


def _after(results: Results, name: str) -> tuple[str, str]:
    for one in results:
        if one["distortion"] == name:
            return number(one["alone"], 2), _psnrs(one)
    return "", ""


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
                METHODS[one["method"]], f"{one['asked']:g}", str(one["chance"]),
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
        "is misread in the same three states. Seconds: of an image, both without the first ones."
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
            METHODS[one["method"]], one["defence"], number(one["psnr"], 2),
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
            METHODS[one["method"]], one["distortion"], number(one["alone"], 3),
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
                METHODS.get(method, method), architecture, str(len(own)),
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
