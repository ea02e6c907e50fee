"""The table of train.py and eval.py, for the terminal and as Markdown.

That of `--suite=quality` is in `experiments.quality`.
"""

from collections.abc import Mapping
from typing import Any

import rich.box
import rich.table

from raeg_jax.evaluation.scores import CLOSED_SET

# Of a table, in columns.
WIDTH = 80
# What the generator knows of each split.
SPLITS = {"train": "fitted", "test": "unseen"}
ROLES = {"target": "target", "held_out": "held out", "reader": "reader"}
# Row title -> key of `quality`, format.
QUALITY = {
    "PSNR, dB": ("psnr", "{:.2f}"),
    "SSIM": ("ssim", "{:.4f}"),
    "exact pixels": ("exact_pixels", "{:.4f}"),
    "exact images": ("exact_images", "{:.4f}"),
}
NOTE = (
    "Measured on PNG files read back; exact generators protect and recover them as raeg does, the "
    "payload inside. PSNR: mean over the images that differ. Exact pixels: all three samples "
    "equal. Alone: what the first stage makes, without the others and without a payload. Wrong "
    "key: undone with another token, but with the side information (such as the class) that a "
    "payload hides. Noise and PGD (away from the true class, whatever the generator's loss) have "
    "the protected image's L2 distance, up to rounding."
)


KEPT = (
    "Readings kept: the share of images that a classifier with other classes than the data set's "
    "reads as their originals. Classes of the data set: the share that it reads correctly where it "
    "chooses of these alone."
)


def columns(summary: Mapping[str, Any], pgd_steps: int) -> dict[str, str]:
    """The variants of a split and their titles, in order."""
    titles = {
        "original": "original",
        "after_learned": "learned alone",
        "after_shortcut": "and shortcut"
        if "after_learned" in summary["quality"]
        else "shortcut alone",
        "protected": "protected",
        "recovered": "recovered",
        "wrong_token": "wrong key",
        "noise": "noise",
        "pgd": f"PGD-{pgd_steps}",
    }
    return {k: v for k, v in titles.items() if k == "original" or k in summary["quality"]}


def rows(summary: Mapping[str, Any], pgd_steps: int) -> list[tuple[str, ...]]:
    """The table of one split as text: a header, then one row a classifier and measure.

    Args:
      summary: of one split, from `summarise`.
      pgd_steps: for the title of that column.
    """
    variants = columns(summary, pgd_steps)
    table = [("accuracy of", *variants.values())]
    for name, result in summary["classifiers"].items():
        kept = ", readings kept" if result["reference"] == "original" else ""
        titles = {"accuracy": f"{name} ({ROLES[result['role']]}{kept})"}
        titles[CLOSED_SET] = f"{name} (classes of the data set)"
        table += [
            (title, *(_text(result[score][k], "{:.3f}") for k in variants))
            for score, title in titles.items()
            if score in result
        ]
    for title, (key, form) in QUALITY.items():
        values = [summary["quality"].get(k, {}).get(key) for k in variants]
        # Where no image differs there is no PSNR to speak of.
        missing = ["equal" if k in summary["quality"] else "" for k in variants]
        cells = (_text(v, form, m) for v, m in zip(values, missing, strict=True))
        table.append((title, *cells))
    return table


def caption(split: str, summary: Mapping[str, Any]) -> str:
    """One line: which images, how many, and what a table has no column for."""
    size = {name: f"{value / 1024:.1f}" for name, value in summary["png_bytes"].items()}
    rounds, reached = "", summary["quality"]["protected"]["psnr_range"]
    distance = "no image changed" if reached is None else "{:.1f} to {:.1f} dB".format(*reached)
    if summary.get("rounds"):
        rounds = f", rounds {summary['rounds']['mean']:.1f} (at most {summary['rounds']['most']})"
    return (
        f"{split} images ({SPLITS[split]}), {summary['images']}: {distance}, "
        f"samples outside 0..255 {summary['outside_range']:.3%}, "
        f"PNG {size['original']} -> {size['protected']} KiB{rounds}"
    )


def recovery(summary: Mapping[str, Any]) -> str:
    """One line: how many images came back bit for bit, and what the pixels alone give back."""
    count, quality, payload = summary["images"], summary["quality"], summary["payload"]
    exact = round(count * quality["recovered"]["exact_images"])
    if payload is None:
        return f"{exact} of {count} came back bit for bit, from the pixels alone."
    there = [
        f"{place} {payload[name]}"
        for name, place in (("in_pixels", "in the pixels of"), ("beside_pixels", "beside them in"))
        if payload[name]
    ]
    alone = quality["pixels_alone"]
    equal = round(count * alone["exact_images"])
    rest = "" if alone["psnr"] is None else f", the others {alone['psnr']:.1f} dB"
    return (
        f"{exact} of {count} came back bit for bit (payload {', '.join(there)}). From pixels "
        f"alone, without the payload's clipped values: {equal} of {count} "
        f"({alone['exact_pixels']:.1%} of the pixels){rest}."
    )


def rich_tables(results: Mapping[str, Any]) -> list[rich.table.Table]:
    """One table a split of at most `WIDTH` columns, for `rich.print`; numbers on the right."""
    tables = []
    for split, summary in results["splits"].items():
        header, *body = rows(summary, results["pgd_steps"])
        table = rich.table.Table(
            title=caption(split, summary),
            title_justify="left",
            caption=recovery(summary),
            caption_justify="left",
            box=rich.box.SIMPLE_HEAD,
            padding=0,
        )
        # Where there are eight columns, this one takes two lines: no number may be cut off.
        table.add_column(header[0])
        for title in header[1:]:
            table.add_column(title.replace(" ", "\n"), justify="right", no_wrap=True)
        for number, row in enumerate(body, 1):
            table.add_row(*row, end_section=number == len(body) - len(QUALITY))
        tables.append(table)
    return tables


def markdown(results: Mapping[str, Any]) -> str:
    """The same tables as Markdown, with the command that made them."""
    step = "" if results["step"] is None else f" (step {results['step']})"
    lines = [
        f"# {results['config']}: protection and recovery",
        "",
        f"`{results['command']}`: {results['dataset']['name']}, {results['image_size']} px, "
        f"{_stages(results['generator'])}, checkpoint {results['checkpoint']}{step}, "
        f"seed {results['seed']}.",
        "",
        note(results),
        "",
        *(f"- {name}: {description(one)}" for name, one in results["classifiers"].items()),
    ]
    for split, summary in results["splits"].items():
        header, *body = rows(summary, results["pgd_steps"])
        lines += ["", f"## {caption(split, summary)}", ""]
        lines += [_line(header), "|---|" + "---:|" * (len(header) - 1)]
        lines += [*(_line(row) for row in body), "", recovery(summary)]
    return "\n".join(lines) + "\n"


def note(results: Mapping[str, Any]) -> str:
    """What the numbers mean."""
    summaries = results["splits"].values()
    references = {one["reference"] for s in summaries for one in s["classifiers"].values()}
    return f"{NOTE} {KEPT}" if "original" in references else NOTE


def description(classifier: Mapping[str, Any]) -> str:
    """Source, weights and preprocessing of a classifier, from `TrainedRun.describe`."""
    weights = f", weights {classifier['weights']}" if "weights" in classifier else ""
    settings = ", ".join(f"{k} {_plain(v)}" for k, v in classifier["preprocessing"].items())
    return f"{classifier['source']}{weights}, {classifier['classes']} classes; {settings}"


def _plain(value: Any) -> str:
    return ":".join(f"{one:g}" for one in value) if isinstance(value, list) else str(value)


def _stages(generator: Mapping[str, Any]) -> str:
    titles = {
        "learned": f"learned stage ({generator['coupling']} coupling)",
        "shortcut": "shortcut stage",
        "gradient": "gradient stage",
    }
    stages = ", then ".join(titles[name] for name in generator["stages"])
    same_machine = generator["exact"] and not generator["portable"]
    return f"{stages}, exact on the same machine only" if same_machine else stages


def _line(row: tuple[str, ...]) -> str:
    return "| " + " | ".join(row) + " |"


def _text(value: float | None, form: str, missing: str = "") -> str:
    return missing if value is None else form.format(value)
