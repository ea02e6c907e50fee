"""Accuracy left against PSNR, for each way to protect, beside PGD and noise at the same distance.

    python benchmarks/psnr_curve.py --config=configs/caltech101.py:gradient --workdir=runs/caltech \
        --config.data.source=DIR --config.eval.max_images=100

The workdir holds trained classifiers, and for `--methods=learned,both` a trained generator. Writes
`curve.json`, `curve.md` and `curve.png` (the last with Matplotlib) into `--out`, and how fast each
method protects and recovers, beside PGD and I-FGSM on the same batch. PGD and noise have the
distances of the method with the most PSNRs: `learned` has only the one it was trained for.
"""

import pathlib
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from raeg_jax.config import command_line

_PSNRS = flags.DEFINE_list("psnrs", ["30", "34", "38", "42", "46"], "Decibels.")
_METHODS = flags.DEFINE_list(
    "methods", ["gradient"], "Of gradient, learned, both and poison; controls go with one."
)
_SPLITS = flags.DEFINE_list("splits", ["test", "train"], "Of train (fitted) and test (unseen).")
_SPEED_PSNR = flags.DEFINE_float(
    "speed_psnr", None, "Decibels at which speed is measured: if not given 34, or the first asked."
)
_OUT = flags.DEFINE_string("out", "", "Folder of the results; the workdir if not given.")

_IFGSM_STEPS = 40


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Measures, prints and writes."""
    # Mistakes in the flags are told at once.
    asked, speed_psnr = parse()
    methods, parts = dict.fromkeys(_METHODS.value), dict.fromkeys(_SPLITS.value)
    from configs.scale import STAGES
    from raeg_jax import data
    from raeg_jax.config.validate import validate
    from raeg_jax.data.memory import open_split
    from raeg_jax.evaluation import benchmark, compiled
    from raeg_jax.evaluation.curve import curve, gap
    from raeg_jax.evaluation.timing import throughput
    from raeg_jax.experiments.reading import aim_at
    from raeg_jax.files import json_bytes, write_whole
    from raeg_jax.generator.build import (
        build_generator,
        check_stages,
        check_targets,
        stages_without_budget,
    )
    from raeg_jax.networks.classifiers import FrozenClassifier
    from raeg_jax.workdir.classifiers import check_classifiers, load_classifiers
    from raeg_jax.workdir.run import restore

    validate(config)
    check_classifiers(workdir)
    params = None
    if any("learned" in STAGES[method] for method in methods):
        # The checkpoint's own settings: its PSNR is the one it was trained for.
        config, params, _ = restore(config, workdir)
    learned_psnr = config.loss.target_psnr

    def possible(method, psnrs):
        """What was learned has a PSNR of its own, and what follows it changes more."""
        if method == "learned":
            return [learned_psnr]
        return [p for p in psnrs if not stages_without_budget(settings(method, p))]

    def settings(method, psnr):
        changed = config.copy_and_resolve_references()
        changed.generator.stages = STAGES[method]
        aim_at(changed, psnr)
        return changed

    for method in methods:
        check_stages(settings(method, speed_psnr).generator)
    for method in methods:
        if not possible(method, asked):
            check_targets(settings(method, min(asked)))
    controlled = max(methods, key=lambda method: len(possible(method, asked)))
    out = benchmark.make_folder(_OUT.value, workdir)
    splits = data.load(config.data)
    classifiers = load_classifiers(config, splits, workdir)
    frozen = {k: compiled.on_one_device(FrozenClassifier(*v)) for k, v in classifiers.items()}

    def maker(method):
        return lambda psnr: build_generator(settings(method, psnr), params, classifiers)

    results = benchmark.origin(config) | {"splits": {}, "speed": {}}

    def write(results):
        write_whole(out / "curve.json", json_bytes(results))
        write_whole(out / "curve.md", markdown(results).encode())

    for split in parts:
        images, labels, _ = open_split(getattr(splits, split), config.data, config.eval.max_images)
        rows = []
        for method in methods:
            rows += curve(
                maker(method), possible(method, asked), frozen, images, labels,
                min(config.eval.batch_size, len(labels)), name=method,
                targets=tuple(config.classifiers.targets),
                held_out=tuple(config.classifiers.held_out),
                pgd_steps=config.eval.pgd_steps if method == controlled else 0, seed=config.seed,
            )  # fmt: skip
            control = f"PGD-{config.eval.pgd_steps}"
            results["splits"][split] = {
                "images": len(labels),
                "rows": rows,
                "gaps": {m: gap(rows, m, control) for m in methods},
            }
            write(results)
    size = min(config.eval.batch_size, len(labels))
    batch = np.asarray(images[np.arange(size)]), np.asarray(labels[:size], np.int32)
    results["speed"] = {
        f"{method} at {psnr:g} dB": throughput(maker(method)(psnr), *batch)
        for method in methods
        for psnr in possible(method, [speed_psnr])
    }
    targets = tuple(frozen[name] for name in config.classifiers.targets)
    results["speed"] |= attack_speeds(targets, speed_psnr, config.eval.pgd_steps, *batch)
    write(results)
    print(markdown(results))
    plot(results, out / "curve.png")


def attack_speeds(targets, psnr: float, pgd_steps: int, images, labels) -> dict[str, Any]:
    """How fast PGD and I-FGSM attack the targets on one batch, as far away as a PSNR allows."""
    import jax
    import jax.numpy as jnp

    from raeg_jax.adversarial.pgd import ifgsm
    from raeg_jax.evaluation.controls import pgd_control
    from raeg_jax.evaluation.timing import speeds
    from raeg_jax.image.metrics import mse_of_psnr
    from raeg_jax.image.quantise import to_uint8

    # A change by epsilon of every value has that PSNR.
    epsilon = mse_of_psnr(psnr) ** 0.5
    distance = np.full(len(images), epsilon * images[0].size ** 0.5, np.float32)

    @jax.jit
    def iterated(targets, images, labels):
        return to_uint8(ifgsm(targets, images.astype(jnp.float32), labels, epsilon, _IFGSM_STEPS))

    calls = {f"I-FGSM-{_IFGSM_STEPS}": lambda: iterated(targets, images, labels)}
    if pgd_steps:
        calls[f"PGD-{pgd_steps}"] = lambda: pgd_control(
            targets, images, labels, distance, pgd_steps
        )
    return {f"{k} at {psnr:g} dB": speeds({"attack": call}, images) for k, call in calls.items()}


def parse() -> tuple[list[float], float]:
    """The PSNRs asked for and that of the speeds; stops at flags that can't be meant."""
    from configs.scale import STAGES
    from raeg_jax.evaluation import benchmark

    benchmark.choices("methods", _METHODS.value, tuple(STAGES))
    benchmark.choices("splits", _SPLITS.value, ("train", "test"))
    asked = benchmark.psnrs("psnrs", _PSNRS.value)
    if _SPEED_PSNR.value is None:
        return asked, 34.0 if 34.0 in asked else asked[0]
    return asked, *benchmark.psnrs("speed_psnr", [str(_SPEED_PSNR.value)])


def markdown(results) -> str:
    """One table a split, then the gaps and the speeds."""
    lines = []
    for split, part in results["splits"].items():
        names = list(part["rows"][0]["accuracy"])
        lines += [f"## {split}, {part['images']} images", ""]
        lines += ["| method | PSNR, dB | worst miss, dB | " + " | ".join(names)]
        lines[-1] += " | outside | exact images | rounds |"
        lines += ["|---|" + "---:|" * (len(names) + 5)]
        for row in sorted(part["rows"], key=lambda r: (r["asked"], r["method"])):
            cells = [
                row["method"],
                decibels(row["psnr"], "equal"),
                decibels(row["worst_miss"], "unchanged image"),
            ]
            cells += [f"{row['accuracy'][name]:.3f}" for name in names]
            cells += (
                [f"{row['outside_range']:.3%}", f"{row['exact_images']:.3f}"]
                if ("outside_range" in row)
                else ["", ""]
            )
            rounds = row.get("rounds")
            cells += [f"{rounds['mean']:.1f} (at most {rounds['most']})" if rounds else ""]
            lines += ["| " + " | ".join(cells) + " |"]
        for method, gaps in part["gaps"].items():
            if gaps:
                text = ", ".join(map(behind, gaps))
                lines += ["", f"Decibels of {method} behind PGD at equal accuracy of targets"]
                lines[-1] += " (with the 90 % interval of a bootstrap over images):"
                lines[-1] += f" {text}."
        lines += [""]
    for name, speed in results["speed"].items():
        ways = {"protect": "protected", "recover": "recovered", "attack": "attacked"}
        ways = {way: done for way, done in ways.items() if f"{way}_images_per_s" in speed}
        rates = " / ".join(f"{speed[f'{way}_images_per_s']:.1f}" for way in ways)
        done = " / ".join(ways.values())
        lines += [f"{name}: {rates} images/s {done} on {speed['device']}.", ""]
    return "\n".join(lines)


def behind(gap) -> str:
    """A gap in words, of a row that may have none."""
    if gap["gap"] is None:
        return f"beyond PGD's curve at {gap['psnr']:.1f} ({gap['beyond']} all of its accuracies)"
    low, high = gap["interval"]
    return f"{gap['gap']:+.2f} ({low:+.2f} to {high:+.2f}) at {gap['psnr']:.1f}"


def decibels(value: float | None, otherwise: str) -> str:
    """A cell of the table, of a number that may be infinite."""
    return otherwise if value is None else f"{value:.2f}"


def plot(results, path: pathlib.Path) -> None:
    """Mean accuracy of the targets (lines) and of the held-out classifiers (dashed)."""
    from matplotlib.figure import Figure

    from raeg_jax.files import whole_file

    figure = Figure((9, 4))
    axes = figure.subplots(1, len(results["splits"]), sharey=True, squeeze=False)
    for axis, (split, part) in zip(axes[0], results["splits"].items(), strict=True):
        for method in dict.fromkeys(row["method"] for row in part["rows"]):
            rows = [r for r in part["rows"] if r["method"] == method and r["psnr"] is not None]
            rows.sort(key=_by_psnr)
            x = [row["psnr"] for row in rows]
            line = axis.plot(x, [row["targets"] for row in rows], marker="o", label=method)[0]
            # Nothing is drawn where no classifier is held out.
            held_out = [np.nan if row["held_out"] is None else row["held_out"] for row in rows]
            axis.plot(x, held_out, linestyle="--", color=line.get_color(), alpha=0.6)
        axis.set(title=f"{split} images", xlabel="PSNR, dB")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("mean accuracy left (dashed: held-out)")
    # Of all axes, once everything is drawn.
    axes[0, 0].set_ylim(0, None)
    axes[0, 0].legend(loc="upper right", fontsize="small")
    figure.tight_layout()
    with whole_file(path) as file:
        figure.savefig(file, dpi=120, format="png")


def _by_psnr(row):
    return row["psnr"]


if __name__ == "__main__":
    command_line.run(main)
