"""What each method does to classifiers and images, what is recovered, and what it costs.

The table of train.py and eval.py without `--suite` is `evaluation.table`.
"""

import collections
import functools
import re
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

from raeg_jax.config.rules import COUNT, NATURAL, PSNR, Each
from raeg_jax.evaluation import programs
from raeg_jax.evaluation.readers import Reader
from raeg_jax.evaluation.scores import ORIGINAL, mean, mean_score, measure_kinds
from raeg_jax.evaluation.trained_run import can_aim_at
from raeg_jax.experiments.context import Context, ProtectedSet
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.plots import LINES, figure_of, plot_scores, svg
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table, column, mean_and_range, number, table_of
from raeg_jax.methods.registry import RANDOMISED, REVERSIBLE, TITLES

# In place of the number of all images, for the time left.
_ALL = 1000


def units(context: Context) -> Iterator[Unit]:
    """All methods at all PSNRs; at the main one repeated where keys or noise make a difference."""
    settings = context.run.config.comparison
    psnrs = (settings.psnr, *settings.psnrs) if context.compared else (None,)
    for psnr in dict.fromkeys(psnrs):
        is_main, most = psnr == context.psnr, context.most(psnr)
        for method in context.methods:
            if method == "raeg" and not is_main and not _can_reach(context, psnr):
                continue
            repeats = settings.seeds if context.compared and is_main and method in RANDOMISED else 1
            for repeat in range(repeats):
                yield Unit(
                    f"quality/{method}-{'own' if psnr is None else format(psnr, 'g')}-{repeat}",
                    most or _ALL,
                    functools.partial(measure, context, method, psnr, repeat),
                    context.depends(method, psnr) | {"images": most} | context.read_by,
                )


def _can_reach(context: Context, psnr: float) -> bool:
    """Whether the generator can aim there: a learned stage at the end has a PSNR of its own."""
    config = context.run.config
    return config.generator.stages[-1] != "learned" and can_aim_at(config, psnr)


def measure(context: Context, method: str, psnr: float | None, repeat: int = 0) -> dict[str, Any]:
    """Classifies files, compares them with their originals, and undoes them.

    Returns:
      `method`, `asked` (decibels), `repeat`; `images`, how many were to be protected, `protected`
      of them, and `failures`, how many failed for each reason; `in_pixels`, how many files have
      their payload in the pixels; `payload`, mean bytes; `psnr` (decibels) and `ssim` of each of
      'adversarial', 'unmarked' and 'file', means over images that differ from their originals;
      `classifiers`, scores on all states, and `success_of_all`: of all images that are classified
      correctly, protected or not, the share on whose files the attack succeeds; `exact`, how many
      files gave back their originals bit for bit (None where nothing can be undone); `seconds` to
      `protect` and to `recover` an image.
    """
    protected = context.protected(method, psnr, repeat)
    files, run = protected.files, context.run
    count, reversible = len(files.kept), method in REVERSIBLE
    result: dict[str, Any] = {
        "method": method,
        "asked": psnr,
        "repeat": repeat,
        "images": len(protected.candidates()[1]),
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

    def make(index, originals, labels):
        return {state: images[index] for state, images in states.items()}

    originals, size = protected.originals(), protected.batch_size
    found, per_image = measure_kinds(run.read_by, make, *originals, size)
    images, labels = protected.candidates()
    # Of these only the originals are classified; readers are right about all of them.
    own = {name: one for name, one in run.read_by.items() if not isinstance(one, Reader)}
    every, _ = measure_kinds(own, lambda *_: {}, images, labels, run.batch_size(labels))
    for name, scores in found["classifiers"].items():
        # A method that fails to protect an image has no success with it.
        success = (per_image[ORIGINAL, name] & ~per_image["file", name]).sum()
        share = every["classifiers"][name]["accuracy"][ORIGINAL] if name in own else 1.0
        scores["success_of_all"] = float(success / (share * len(labels))) if share else None
    if reversible:
        result["exact"], result["seconds"]["recover"] = _recover(protected)
    return result | {key: found[key] for key in ("psnr", "ssim", "classifiers")}


def _recover(protected: ProtectedSet) -> tuple[int, float]:
    """How many files give back their originals, and the seconds an image."""
    files, (originals, _) = protected.files, protected.originals()
    size, exact, watch = protected.batch_size, 0, programs.Stopwatch()
    protector = protected.protector(float(files.aim))
    for start in range(0, len(originals), size):
        index = range(start, min(start + size, len(originals)))
        blobs = [None if files.in_pixels[i] else files.blob(i) for i in index]
        with watch:
            recovered = protector.recover(files.images[index], blobs)
        exact += sum(
            isinstance(image, np.ndarray) and np.array_equal(image, originals[i])
            for i, image in zip(index, recovered, strict=True)
        )
    return exact, watch.seconds / len(originals)


def _reason(failure: str) -> str:
    """A failure without the numbers of its image."""
    return re.sub(r"\d+(\.\d+)?", "…", failure)


def table(results: Results, context: Context) -> Table:
    """Each method at each PSNR, state by state."""

    def state(key: str, name: str, digits: int):
        return lambda r: number(r[key][name], digits, "equal") if r[key] else ""

    columns = {
        "method": lambda r: TITLES[r["method"]],
        "asked, dB": lambda r: "own" if r["asked"] is None else f"{r['asked']:g}",
        "repetition": column("repeat"),
        "protected": lambda r: f"{r['protected']} of {r['images']}",
        "failures": lambda r: "; ".join(f"{n}: {reason}" for reason, n in r["failures"].items()),
        "exact": lambda r: "" if r["exact"] is None else str(r["exact"]),
        "payload in pixels": column("in_pixels"),
        "payload, bytes": lambda r: number(r["payload"], 0),
        "s to protect": lambda r: number(r["seconds"]["protect"], 2),
        "s to recover": lambda r: number(r["seconds"]["recover"], 2),
        "PSNR adversarial": state("psnr", "adversarial", 2),
        "before hiding": state("psnr", "unmarked", 2),
        "file": state("psnr", "file", 2),
        "SSIM file": state("ssim", "file", 4),
    }
    scores = {
        "{} original": ("accuracy", ORIGINAL),
        "{} success of attack": ("attack_success", "adversarial"),
        "{} before hiding": ("attack_success", "unmarked"),
        "{} of file": ("attack_success", "file"),
    }
    note = (
        "Unseen images. PSNR in decibels, of what the attack found, of what the payload is hidden "
        "in, and of the file; accuracy on originals, and attack success in the same three states: "
        "of the images classified correctly before, the share misclassified after. Seconds: of an "
        "image, without compilation."
    )
    return table_of("Quality", note, results, columns, scores)


def headline(method: str, results: Results, context: Context) -> dict[str, str]:
    """Of the files with the main PSNR."""
    results = [r for r in results if r["method"] == method and r["asked"] == context.psnr]
    if not results:
        return {}
    first, roles = results[0], context.run.roles
    targets = roles["target"]

    def success(state, role="target"):
        return mean_and_range(
            mean_score(result["classifiers"], "attack_success", state, roles[role])
            for result in results
        )

    return {
        "protected": _protected(first),
        "PSNR, dB": mean_and_range([result["psnr"].get("file") for result in results], 2),
        "SSIM": mean_and_range([result["ssim"].get("file") for result in results], 4),
        "attack success on targets, of what the attack found": success("adversarial"),
        "of what the payload is hidden in": success("unmarked"),
        "of the file": success("file"),
        "of the file, of all images": mean_and_range(_success_of_all(r, targets) for r in results),
        "on held-out classifiers": success("file", "held_out"),
        "on readers": success("file", "reader"),
        "exact": _exact(results),
        "payload, bytes": number(first["payload"], 0),
        "seconds to protect": mean_and_range([r["seconds"]["protect"] for r in results], 2),
        "seconds to recover": number(first["seconds"]["recover"], 2),
    }


def _protected(result) -> str:
    beside = result["protected"] - result["in_pixels"] if result["exact"] is not None else 0
    note = f" ({beside} beside the pixels)" if beside else ""
    return f"{result['protected']} of {result['images']}{note}"


def _success_of_all(result, targets) -> float | None:
    if not result["protected"]:
        return 0.0
    shares = [result["classifiers"][name]["success_of_all"] for name in targets]
    shares = [share for share in shares if share is not None]
    return statistics.fmean(shares) if shares else None


def _exact(results: Results) -> str:
    if results[0]["exact"] is None:
        return ""
    return f"{sum(r['exact'] for r in results)} of {sum(r['protected'] for r in results)}"


def curves(results: Results, context: Context) -> str:
    """Attack success and SSIM against PSNR, a line for each method and role."""
    figure = figure_of(2, width=10, shared=False)
    success, similarity = figure.axes
    for colour, (method, title) in enumerate(TITLES.items()):
        points = [r for r in results if r["method"] == method and r["protected"]]
        points = [r for r in points if r["psnr"]["file"] is not None and not r["repeat"]]
        if not points:
            continue
        scored = [(result["psnr"]["file"], result["classifiers"]) for result in points]
        plot_scores(
            success, scored, "attack_success", "file", context.run.roles,
            colour=colour, label=title,
        )  # fmt: skip
        points.sort(key=lambda result: result["psnr"]["file"])
        psnrs, ssims = ([result[key]["file"] for result in points] for key in ("psnr", "ssim"))
        similarity.plot(psnrs, ssims, "o-", color=f"C{colour}", label=title)
    success.set(xlabel="PSNR of files, dB", ylabel=f"attack success ({LINES})", ylim=(0, 1))
    similarity.set(xlabel="PSNR of files, dB", ylabel="SSIM of files")
    similarity.legend(loc="lower right")
    return svg(figure)


EXPERIMENT = Experiment(
    name="quality",
    units=units,
    table=table,
    plots=(curves,),
    settings={
        "comparison.psnrs": Each(PSNR, least=0),
        "comparison.curve_images": NATURAL,
        "comparison.seeds": COUNT,
    },
    headline=headline,
    compares=True,
)
