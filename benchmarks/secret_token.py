"""What the secret token locks: recovery with it and without, and what several tries are worth.

    python benchmarks/secret_token.py --config=configs/caltech101.py:learned --workdir=W \
        --config.data.source=DIR --config.eval.max_images=200 --tries=1,4,16 --pairs=50,500

The workdir holds trained classifiers, and for a learned stage its checkpoint. Unseen images are
protected and undone with the right token and in all ways that somebody without the key might try
(see `raeg_jax/evaluation/locked.py`); a remover is trained on leaked pairs of fitted images; and
images are protected several times, of which the best are kept. Accuracies are of 8-bit images.
Writes `secret_token.json` and `secret_token.md` into `--out`.
"""

import pathlib

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from raeg_jax.config import command_line

_TRIES = flags.DEFINE_list("tries", ["1", "4", "16"], "Numbers of tokens to choose from.")
_PAIRS = flags.DEFINE_list("pairs", [], "Numbers of leaked pairs that removers are trained on.")
_STEPS = flags.DEFINE_integer("remover_steps", 1000, "Training steps of a remover.", lower_bound=1)
_GUESSES = flags.DEFINE_integer("guesses", 16, "Wrong tokens to try; 0 for none.", lower_bound=0)
_OUT = flags.DEFINE_string("out", "", "Folder of the results; the workdir if not given.")


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Measures, prints and writes."""
    tries, pairs = counts("tries", _TRIES.value), counts("pairs", _PAIRS.value)
    from raeg_jax import data
    from raeg_jax.config.validate import validate
    from raeg_jax.data.memory import open_split
    from raeg_jax.errors import UserError
    from raeg_jax.evaluation import benchmark, compiled, locked, tokens
    from raeg_jax.evaluation.batches import batches, measure_all
    from raeg_jax.evaluation.remover import train_remover
    from raeg_jax.files import json_bytes, write_whole
    from raeg_jax.generator.build import build_generator, check_targets
    from raeg_jax.image.quantise import to_uint8
    from raeg_jax.networks.classifiers import FrozenClassifier
    from raeg_jax.workdir.classifiers import check_classifiers, load_classifiers
    from raeg_jax.workdir.run import restore

    validate(config)
    if not config.generator.token_planes:
        raise UserError("config.generator.token_planes=0: there is no token to look at")
    check_classifiers(workdir)
    params = None
    if "learned" in config.generator.stages:
        config, params, _ = restore(config, workdir)
    check_targets(config)
    out = benchmark.make_folder(_OUT.value, workdir)
    splits = data.load(config.data)
    classifiers = load_classifiers(config, splits, workdir)
    chain = compiled.on_one_device(build_generator(config, params, classifiers))
    frozen = {k: compiled.on_one_device(FrozenClassifier(*v)) for k, v in classifiers.items()}
    attacked = tuple(frozen[name] for name in config.classifiers.targets)
    most = config.eval.max_images

    def protected_of(split, count):
        """The first images of a split, and what the generator makes of them."""
        images, labels, _ = open_split(getattr(splits, split), config.data, count)
        size, made = min(config.eval.batch_size, len(labels)), []
        for index, x, truth, real in batches(images, labels, size):
            token = tokens.draw(chain, index, *x.shape[1:3])
            made.append(np.asarray(compiled.protect(chain, x, truth, token)[0])[:real])
        return np.asarray(images[np.arange(len(labels))]), np.concatenate(made)

    removers = {
        f"remover, {count} pairs": train_remover(*protected_of("train", count), _STEPS.value)
        for count in pairs
    }

    def measure(index, x, labels):
        token = tokens.draw(chain, index, *x.shape[1:3])
        values, code = locked.forward(chain, x, labels, token)
        protected = np.asarray(to_uint8(values))
        rows = {"original": x, "protected": protected}
        seen = compiled.read({"target": attacked[0]}, protected)["target"]
        rows |= dict(locked.undone(chain, index, values, code, _GUESSES.value, seen))
        rows |= {name: remove(protected) for name, remove in removers.items()}
        for count, best in locked.best_of(chain, attacked, index, x, labels, max(tries, default=0)):
            if count in tries:
                rows[f"protected, best of {count}"] = best
        result = {}
        for row, images in rows.items():
            result |= {(row, "psnr"): compiled.compare(images, x)["psnr"]}
            result |= {(row, "exact"): compiled.compare(images, x)["exact"]}
            read = compiled.read(frozen, images)
            result |= {(row, name): np.asarray(found) == labels for name, found in read.items()}
        return result

    images, labels, _ = open_split(splits.test, config.data, most)
    size = min(config.eval.batch_size, len(labels))
    each = measure_all(measure, images, labels, size, "undoing")
    results = benchmark.origin(config) | {"images": len(labels), "rows": summary(each)}
    text = table(results, tuple(frozen))
    write_whole(out / "secret_token.json", json_bytes(results))
    write_whole(out / "secret_token.md", text.encode())
    print(text, end="")


def counts(flag: str, values: list[str]) -> list[int]:
    """Whole numbers of at least 1 that a flag lists; stops at others."""
    from raeg_jax.errors import UserError

    if not all(value.isdecimal() and int(value) > 0 for value in values):
        raise UserError(f"--{flag}={','.join(values)}: whole numbers of at least 1")
    return [int(value) for value in values]


def summary(each: dict[tuple[str, str], np.ndarray]) -> dict[str, dict[str, float | None]]:
    """Means over images, row by row; the PSNR over those that differ from their originals."""
    rows: dict[str, dict[str, float | None]] = {}
    for (row, name), values in each.items():
        values = values[np.isfinite(values)] if name == "psnr" else values
        rows.setdefault(row, {})[name] = float(np.mean(values)) if len(values) else None
    return rows


def table(results: dict, classifiers: tuple[str, ...]) -> str:
    """The rows as Markdown."""
    heads = ["images", "PSNR, dB", "exact", *classifiers]
    lines = [f"{results['images']} unseen images.", "", "| " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---:|" * (len(heads) - 1))
    for name, row in results["rows"].items():
        psnr = "equal" if row["psnr"] is None else f"{row['psnr']:.2f}"
        numbers = [f"{row[key]:.3f}" for key in ("exact", *classifiers)]
        lines.append("| " + " | ".join([name, psnr, *numbers]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line.run(main)
