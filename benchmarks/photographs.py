r"""What published networks read in protected photographs, and what comes back without the key.

    python benchmarks/photographs.py --images=CALTECH/101_ObjectCategories,MINI/val --count=200 \
        --generator=photo.raeg --readers=lite0.safetensors,lite1.safetensors,lite2.safetensors \
        --psnrs=38,42 --counter=12 --out=RESULTS.json

Photographs are protected at each PSNR with a fixed key, one at a time, and recovered: it counts
those that don't come back exactly, and the seconds, without compilation. Gaussian noise and an
irreversible attack (the descent of the generator's guide with as many steps, on the whole
photograph) have the PSNR of the protected file, image by image. Every reader reads every image
through three preprocessings, and through its own after defences of the photograph at full size. A
reading is kept where it equals that of the undisturbed original through the reader's own
preprocessing.

The first `--counter` photographs are also attacked by somebody who has the generator file and the
protected file: he runs the rounds backward with tokens of his own.

Images, seconds and readings are kept in a folder beside `--out`, of its name without suffix. The
same command resumes; another one, with other readers or more photographs, adds what is missing.
Prints tables in Markdown.
"""

import pathlib
from typing import Any

from absl import flags
from inputs import choose, existing

from raeg_jax.config import command_line

_IMAGES = flags.DEFINE_list("images", [], "Folders of photographs.")
_COUNT = flags.DEFINE_integer("count", 200, "Photographs of each folder.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of their choice.")
_GENERATOR = flags.DEFINE_string("generator", "", "Generator file, of photographs.")
_READERS = flags.DEFINE_list("readers", [], "Files of weights of all that read, targets too.")
_PSNRS = flags.DEFINE_list("psnrs", ["38"], "To protect at, in decibels.")
_KINDS = flags.DEFINE_list("kinds", ["protected", "noise", "pgd"], "Read beside the originals.")
_COUNTER = flags.DEFINE_integer("counter", 0, "Photographs attacked without the key.", 0)
_GUESSES = flags.DEFINE_integer("guesses", 4, "Tokens that are drawn for each of them.", 1)
_OUT = flags.DEFINE_string("out", "", "File of the results.")

_MEASURES = {
    "kept": ("readings kept", "{:.3f}"),
    "closed_set_accuracy": ("closed-set accuracy", "{:.3f}"),
    "median_rank": ("median rank of the original's reading", "{:g}"),
}


def main() -> None:
    """Measures folder by folder, prints tables and writes all."""
    from raeg_jax.compilation import enable_cache

    enable_cache()  # Before JAX is imported.
    from changed_photographs import CONTROLS, Changes
    from photograph_measurement import Measurement

    from raeg_jax.errors import UserError
    from raeg_jax.evaluation.readers import open_readers
    from raeg_jax.files import json_bytes, write_whole
    from raeg_jax.protection.loaded_generator import load_generator

    folders = [existing("images", folder) for folder in _IMAGES.value]
    out = pathlib.Path(_OUT.value)
    if not folders or not _READERS.value or out.suffix != ".json":
        raise UserError("--images, --readers and --out: name folders, files, and a .json file")
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise UserError(f"--images: two folders are called alike ({', '.join(names)}): rename one")
    for kind in _KINDS.value:
        if kind not in ("protected", *CONTROLS):
            raise UserError(f"--kinds={kind} is unknown: use protected, {', '.join(CONTROLS)}")
    try:
        psnrs = [float(psnr) for psnr in _PSNRS.value]
    except ValueError:
        raise UserError(f"--psnrs={','.join(_PSNRS.value)}: write numbers") from None
    generator = load_generator(existing("generator", _GENERATOR.value))
    readers = open_readers(_READERS.value)
    results: dict[str, Any] = {
        "generator": generator.id.hex(),
        "targets": list(generator.config.classifiers.targets),
        "readers": {name: reader.describe() for name, reader in readers.items()},
        "seed": _SEED.value,
        "folders": {},
    }
    for folder, name in zip(folders, names, strict=True):
        measurement = Measurement(
            Changes(generator, out.with_suffix("") / generator.id.hex() / name),
            folder,
            *choose(folder, _COUNT.value, _SEED.value),
            readers,
        )
        limits = _COUNTER.value, _GUESSES.value
        measured = results["folders"][name] = measurement.run(psnrs, _KINDS.value, *limits)
        print(tables(name, measured), flush=True)
        write_whole(out, json_bytes(results))


def tables(name: str, measured: dict[str, Any]) -> str:
    """The results of a folder in Markdown.

    Args:
      name: of the folder.
      measured: from `Measurement.run`.
    """
    parts = [f"## {name}, {measured['photographs']} photographs", _protection(measured)]
    read = {"original": measured["original"]}
    for psnr, at in measured["psnrs"].items():
        read |= {f"{kind} {psnr} dB": at[kind] for kind in _KINDS.value if kind in at}
    parts += [_readings(read, *each) for each in _MEASURES.items()]
    parts += [
        _counter(f"{psnr} dB", at["counter"])
        for psnr, at in measured["psnrs"].items()
        if "counter" in at
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _table(title: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join([title, "", *(f"| {' | '.join(line)} |" for line in lines)])


def _protection(measured: dict[str, Any]) -> str:
    header = ["dB", "not exact", "PSNR", "least", "payload beside", "rounds"]
    header += ["s to protect: median", "largest", "s to recover: median", "largest"]
    rows = []
    for psnr, at in measured["psnrs"].items():
        each = at["protection"]
        rows.append([psnr, f"{len(each['not_exact'])} of {each['photographs']}"])
        if "psnr" in each:
            rows[-1] += [f"{each[name]:.2f}" for name in ("psnr", "least_psnr")]
            rows[-1] += [str(each["payload_beside_pixels"]), f"{each['rounds']:.2f}"]
            rows[-1] += [
                f"{each[name][which]:.2f}"
                for name in ("protect_seconds", "recover_seconds")
                for which in ("median", "largest")
            ]
    return _table("Exactness and seconds", header, rows)


def _readings(read: dict[str, Any], measure: str, title_and_form: tuple[str, str]) -> str:
    title, form = title_and_form
    # Readers with other interpolations may have other ways.
    ways = list(dict.fromkeys(way for of in read.values() for each in of.values() for way in each))
    rows = [
        [kind, reader, *(form.format(each[w][measure]) if w in each else "" for w in ways)]
        for kind, of in read.items()
        for reader, each in of.items()
        if all(measure in values for values in each.values())
    ]
    return _table(title.capitalize(), ["image", "reader", *ways], rows) if rows else ""


def _counter(psnr: str, counter: dict[str, Any]) -> str:
    readers = list(counter["protected"])
    rows = [["protected file", "", *(f"{counter['protected'][name]:.3f}" for name in readers)]]
    for guess, of in counter["guesses"].items():
        for measure, title in (
            ("mean", "mean of tokens"),
            ("best", "any token"),
            ("mean_image", "mean image"),
        ):
            rows.append([guess, title, *(f"{of[name][measure]:.3f}" for name in readers)])
    title = (
        f"Without the key, {psnr}: readings kept of {counter['photographs']} photographs, "
        f"{counter['tokens']} tokens each, {counter['rounds']} rounds"
    )
    return _table(title, ["class", "of", *readers], rows)


if __name__ == "__main__":
    command_line.run_without_config(main)
