"""What views, smoothing and the ensemble of targets buy gradient couplings, at equal PSNR.

    python benchmarks/gradient_variants.py --config=configs/caltech101.py:gradient --workdir=W \
        --config.data.source=DIR --config.eval.max_images=128 --psnrs=34 --splits=test

The workdir holds trained classifiers. Each row is a way to protect: a variant of gradient couplings
(see `raeg_jax/evaluation/variants.py`), or PGD on the same targets, image by image as far from the
original as `plain` or `targeted`. For each classifier it has the accuracy left after each defence,
and how many images are read as the class that targeted attacks go toward (in the rows of others:
by chance). Writes `gradient_variants.json` and `gradient_variants.md` into `--out`, row by row.
"""

import itertools
import pathlib

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from raeg_jax.config import command_line

_PSNRS = flags.DEFINE_list("psnrs", ["34"], "Decibels.")
_ROWS = flags.DEFINE_list("rows", [], "Names of rows; all if not given. A typo lists them.")
_SPLITS = flags.DEFINE_list("splits", ["test", "train"], "Of train (fitted) and test (unseen).")
_OUT = flags.DEFINE_string("out", "", "Folder of the results; the workdir if not given.")

# Two of the defences are enough to see what views and smoothing are worth.
_DEFENCES = ("none", "jpeg_50", "blur_1")
_DECIBELS = ("psnr", "worst_miss")


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Measures, prints and writes."""
    from raeg_jax import data
    from raeg_jax.adversarial.distortions import DEFENCES
    from raeg_jax.adversarial.losses import class_permutation
    from raeg_jax.config.validate import validate
    from raeg_jax.data.memory import open_split
    from raeg_jax.evaluation import benchmark, compiled, tokens
    from raeg_jax.evaluation.controls import pgd_control
    from raeg_jax.evaluation.defended import evaluate_defended
    from raeg_jax.evaluation.variants import variants
    from raeg_jax.files import json_bytes, write_whole
    from raeg_jax.generator.build import build_generator, check_stages
    from raeg_jax.image.metrics import PSNR_CAP
    from raeg_jax.networks.classifiers import FrozenClassifier
    from raeg_jax.workdir.classifiers import check_classifiers, load_classifiers

    validate(config)
    made = variants(config)
    controls = pgd_rows(config)
    psnrs, rows = check_flags([*made, *controls], controls)
    for name in rows:
        check_stages(made[controls.get(name, name)].generator)
    check_classifiers(workdir)
    out = benchmark.make_folder(_OUT.value, workdir)
    splits = data.load(config.data)
    classifiers = load_classifiers(config, splits, workdir)
    frozen = {k: compiled.on_one_device(FrozenClassifier(*v)) for k, v in classifiers.items()}
    permutation = class_permutation(splits.num_classes)
    results = benchmark.origin(config) | {"splits": {}}

    def protect_by(name, psnr, goals, distances):
        """What makes the protected images of a row."""
        if name == "original":
            return lambda index, images, labels: images
        variant = made[controls.get(name, name)]
        if name not in controls:
            changed = variant.copy_and_resolve_references()
            changed.generator.gradient.target_psnr = psnr
            generator = compiled.on_one_device(build_generator(changed, None, classifiers))

            def protect(index, images, labels):
                token = tokens.draw(generator, index, *images.shape[1:3])
                return compiled.protect(generator, images, labels, token)[0]

            return protect
        attacked = tuple(frozen[k] for k in variant.classifiers.targets)
        targeted = variant.generator.gradient.loss == "targeted"
        distance = distances[controls[name]]

        def attack(index, images, labels):
            classes = goals[index] if targeted else labels
            steps = config.eval.pgd_steps
            return pgd_control(attacked, images, classes, distance[index], steps, targeted)

        return attack

    for split in dict.fromkeys(_SPLITS.value):
        images, labels, _ = open_split(getattr(splits, split), config.data, config.eval.max_images)
        goals = permutation[labels]
        part = {"images": len(labels), "rows": []}
        results["splits"][split] = part
        distances = {}
        for asked, name in [(None, "original"), *itertools.product(psnrs, rows)]:
            result = evaluate_defended(
                protect_by(name, asked, goals, distances), frozen, images, labels, goals,
                min(config.eval.batch_size, len(labels)),
                defences={name: DEFENCES[name] for name in _DEFENCES},
                description=f"{split}, {name}" + (f" at {asked:g} dB" if asked else ""),
            )  # fmt: skip
            each = result.pop("per_image")
            distances[name] = each["distance"]
            row = {"row": name, "attacked": [], "asked": asked}
            if asked:
                row["attacked"] = list(made[controls.get(name, name)].classifiers.targets)
                miss = np.abs(np.minimum(each["psnr"], PSNR_CAP) - asked)
                row["worst_miss"] = float(np.max(miss))
            part["rows"].append(row | result)
            write_whole(out / "gradient_variants.json", json_bytes(results))
            text = f"{table(results).rstrip()}\n"
            write_whole(out / "gradient_variants.md", text.encode())
    print(table(results))


def pgd_rows(config: ConfigDict) -> dict[str, str]:
    """The rows of PGD, and the variant whose distance and direction each has."""
    name = f"PGD-{config.eval.pgd_steps}"
    return {name: "plain", f"{name} targeted": "targeted"} if config.eval.pgd_steps else {}


def check_flags(known: list[str], controls: dict[str, str]) -> tuple[list[float], list[str]]:
    """The PSNRs and rows asked for, controls last; stops at flags that can't be meant."""
    from raeg_jax.errors import UserError
    from raeg_jax.evaluation import benchmark

    rows = benchmark.choices("rows", _ROWS.value or known, known)
    benchmark.choices("splits", _SPLITS.value, ("train", "test"))
    for control, variant in controls.items():
        if control in rows and variant not in rows:
            raise UserError(f"--rows: {control!r} has the distance of {variant!r}: add that one")
    return benchmark.psnrs("psnrs", _PSNRS.value), [name for name in known if name in rows]


def table(results) -> str:
    """One table a split, in the order measured."""
    lines = []
    for split, part in results["splits"].items():
        lines += [f"## {split}, {part['images']} images", ""]
        lines += ["Accuracy after each defence; goal: share read as the class of targeted attacks."]
        accuracy = part["rows"][0]["accuracy"]
        names = list(accuracy["none"])
        heads = [f"{name} {kind}" for name in names for kind in (*accuracy, "goal")]
        heads = ["row", "attacks", "asked, dB", "PSNR, dB", "worst miss, dB", *heads]
        lines += ["", "| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
        for row in part["rows"]:
            cells = [row["row"], ", ".join(row["attacked"])]
            cells += ["" if row["asked"] is None else f"{row['asked']:g}"]
            cells += [f"{row[k]:.2f}" if row.get(k) is not None else "" for k in _DECIBELS]
            for name in names:
                cells += [f"{row['accuracy'][defence][name]:.3f}" for defence in accuracy]
                cells += [f"{row['hits']['none'][name]:.3f}"]
            lines += ["| " + " | ".join(cells) + " |"]
        lines += [""]
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main)
