"""Does recovery give the same bits in other programs than the one that protected?

    python benchmarks/exactness.py --config=configs/caltech101.py:gradient --workdir=W \
        --config.data.source=DIR --config.eval.max_images=128

The workdir holds trained classifiers, and for a learned stage its checkpoint. Protects in one
batch size under jit, then recovers in others, and without jit, and counts the pixels and images
that differ from the originals. Recovery starts from what the generator made, before clipping to
0..255: what is counted here is arithmetic alone. Writes `exactness.json` into `--out`.
"""

import pathlib

import inputs
import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from raeg_jax.config import command_line

_BATCHES = flags.DEFINE_list("batches", ["64", "16", "7", "1"], "Sizes to recover in; first: both.")
_EAGER = flags.DEFINE_integer("eager", 8, "Images recovered without jit, which is slow.", 0)
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "test"], "Fitted or unseen images.")
_OUT = flags.DEFINE_string("out", "", "Folder of the results; the workdir if not given.")


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Measures, prints and writes."""
    from raeg_jax import data
    from raeg_jax.config import run_config
    from raeg_jax.config.validate import validate
    from raeg_jax.errors import UserError
    from raeg_jax.evaluation import programs, protectors
    from raeg_jax.evaluation.programs import batches
    from raeg_jax.generator.build import build_generator, check_targets
    from raeg_jax.generator.unet import unet_from_config
    from raeg_jax.workdir.classifiers import check_classifiers, load_classifiers
    from raeg_jax.workdir.run import restore

    sizes = [int(size) for size in _BATCHES.value]
    validate(config)
    check_classifiers(workdir)
    params = None
    if "learned" in config.generator.stages:
        if not unet_from_config(config.generator).exact:
            raise UserError(
                f"config.generator.coupling={config.generator.coupling!r} gives fractions, which "
                "rounding changes: only 'integer' can come back to the bit"
            )
        config, params, _ = restore(config, workdir)
    check_targets(config)
    out = inputs.make_folder(_OUT.value, workdir)
    splits = data.load(config.data)
    classifiers = load_classifiers(config, splits, workdir)
    chain = programs.on_one_device(build_generator(config, params, classifiers))
    split = getattr(splits, _SPLIT.value)
    images, labels, _ = data.arrays(split, config.data, config.eval.max_images)
    originals = images.astype(np.float32)
    # The chain is an argument, as in the package: constants might be computed otherwise.
    forward = jax.jit(lambda chain, x, labels, token: chain.forward(x, labels, token))
    inverse = jax.jit(lambda chain, y, code, token: chain.inverse(y, code, token))

    def token(index):
        return protectors.draw_token(chain, index, *originals.shape[1:3])

    made = []
    for index, x, truth, count in batches(originals, labels, sizes[0]):
        found = forward(chain, x, truth, token(index))
        made += [jax.tree.map(lambda leaf, n=count: np.asarray(leaf)[:n], found)]
    protected, code = jax.tree.map(lambda *parts: np.concatenate(parts), *made)

    def recovered(size):
        parts = []
        for index, y, _, _ in batches(protected, labels, size):
            own = jax.tree.map(lambda leaf, i=index: leaf[i], code)
            parts += [np.asarray(inverse(chain, y, own, token(index)))]
        return np.concatenate(parts)[: len(labels)]

    few = min(_EAGER.value, len(labels))
    # Without jit goes what goes under it in the same batch: only that differs.
    ways = {f"batch {size}": recovered(size) for size in dict.fromkeys((*sizes, few)) if size}
    if few:
        with jax.disable_jit():
            own = jax.tree.map(lambda leaf: leaf[:few], code)
            ways["without jit"] = np.asarray(
                chain.inverse(protected[:few], own, token(np.arange(few)))
            )
    results = {
        "config": config.name,
        "image_size": config.data.image_size,
        "generator": run_config.to_json(config)["generator"],
        "versions": run_config.versions(),
        "split": _SPLIT.value,
        "stages": list(config.generator.stages),
        "settings": run_config.to_json(config),
        "protected in": f"batch {sizes[0]}",
        "ways": {name: differences(found, originals) for name, found in ways.items()},
        "device": f"{jax.devices()[0].platform} ({jax.devices()[0].device_kind})",
    }
    inputs.write_results(out / "exactness.json", results)


def differences(found: np.ndarray, originals: np.ndarray) -> dict[str, int]:
    """Counts what differs from the first of the originals, float32 [N, H, W, 3] each."""
    differ = np.any(found != originals[: len(found)], axis=-1)
    return {
        "images": len(found),
        "images that differ": int(np.sum(np.any(differ, axis=(1, 2)))),
        "pixels that differ": int(np.sum(differ)),
        "pixels": differ.size,
    }


if __name__ == "__main__":
    command_line.run(main)
