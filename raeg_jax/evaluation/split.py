"""How well a generator protects and recovers the files of a split, each and on average."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from raeg_jax.data.memory import DecodedOnDemand
from raeg_jax.evaluation import programs, protectors
from raeg_jax.evaluation.programs import measure_all
from raeg_jax.evaluation.protectors import FileProtector, PixelProtector
from raeg_jax.evaluation.readers import Reader, Reading, published_readers
from raeg_jax.evaluation.scores import (
    CLOSED_SET,
    ORIGINAL,
    correct,
    correct_readings,
    mean,
    read,
    scores,
)
from raeg_jax.generator.chain import Chain
from raeg_jax.image.metrics import PSNR_CAP
from raeg_jax.networks.classifiers import FrozenClassifier, LogitsFn, as_pytree

# In the order of the table's columns, then those without a column.
VARIANTS = (
    *(ORIGINAL, "after_learned", "after_shortcut"),
    *("protected", "recovered", "wrong_token", "noise", "pgd", "pixels_alone"),
)
# A generator that converged leaves .1 to .3 % of the samples outside 0..255 (docs/measured.md), and
# misses its PSNR by less than 1 dB.
_MOST_OUTSIDE = 0.1
_MOST_MISSED = 10.0


def evaluate_split(
    protector: FileProtector | PixelProtector,
    classifiers: Mapping[str, LogitsFn],
    images: np.ndarray | DecodedOnDemand,
    labels: np.ndarray,
    batch_size: int,
    *,
    targets: Sequence[str],
    held_out: Sequence[str],
    readers: Mapping[str, Reader] | None = None,
    pgd_steps: int,
    seed: int,
    first_stages: Sequence[str] = (),
    description: str = "evaluating",
) -> dict[str, Any]:
    """Protects and recovers every image and classifies the files.

    Every variant (after the first stages alone, protected, recovered, from pixels alone where
    recovery has a payload, with a wrong token where the generator has one, and the two controls) is
    written as PNG and read back before anything is measured; recovery starts from the protected
    file. The controls have the protected file's L2 distance from the original.

    Args:
      protector: makes the files.
      classifiers: logits functions by name, in evaluation mode.
      images: uint8 [N, H, W, 3], the originals; indexed batch by batch.
      labels: int [N].
      batch_size: images at a time; a batch that is not full is padded, not compiled anew.
      targets: names of the classifiers attacked in training; PGD attacks them too, all at once.
      held_out: names of the others.
      readers: read the images too; those that have the name of a classifier do so in its place.
      pgd_steps: steps of the PGD control; 0 leaves it out.
      seed: of the noise.
      first_stages: names of the stages before the last, measured without those after them.
      description: what the progress bar says.

    Returns:
      What `summarise` returns; `per_image`, the arrays [N] that it was made from; and
      `speeds`, images a second to `protect` and to `recover`, without compilation.

    Raises:
      ValueError: no images, a batch size below one, or a classifier that is not given.
    """
    roles = dict.fromkeys(targets, "target") | dict.fromkeys(held_out, "held_out")
    if missing := [name for name in roles if name not in classifiers]:
        raise ValueError(f"no classifier named {missing[0]!r}; given are {sorted(classifiers)}")
    fns: dict[str, LogitsFn] = {name: _as_argument(classifiers[name]) for name in roles}
    read_by: dict[str, LogitsFn | Reader] = {**fns, **(readers or {})}
    roles = dict.fromkeys(read_by, "reader") | roles
    watches = {"protect": programs.Stopwatch(), "recover": programs.Stopwatch()}
    attacked = tuple(fns[name] for name in targets)

    def measure(index, originals, labels):
        """One batch: arrays [B] by name."""
        with watches["protect"]:
            batch = protector.protect(index, originals, labels)
        with watches["recover"]:
            recovered = protector.recover(batch)
        rows = dict(batch.measured)

        def add(variant, images):
            """Writes and reads back; what is measured is what was read."""
            images, rows[f"bytes/{variant}"] = programs.png_roundtrip(images)
            for name, reading in read(read_by, images).items():
                rows[f"read/{name}/{variant}"] = reading.classes
                if reading.closed_set is not None:
                    rows[f"{CLOSED_SET}/{name}/{variant}"] = reading.closed_set
            if variant != "original":
                measured = programs.compare(images, originals)
                rows.update({f"{name}/{variant}": each for name, each in measured.items()})

        add("original", originals)
        for count, name in enumerate(first_stages, 1):
            add(f"after_{name}", protector.first_stages(count, batch, originals, labels))
        add("protected", batch.images)
        rows["bytes/protected"] = batch.sizes
        add("recovered", recovered)
        if protector.has_payload:
            add("pixels_alone", protector.recover_from_pixels(batch))
        if protector.chain.token_planes:
            add("wrong_token", protector.recover_from_pixels(batch, wrong_key=True))
        distance = rows["distance/protected"]
        add("noise", programs.noise_control(seed, index, originals, distance))
        if pgd_steps > 0:
            goals = programs.labels_of_attack(attacked, originals, labels)
            add("pgd", programs.pgd_control(attacked, originals, goals, distance, pgd_steps))
        return rows

    per_image = measure_all(measure, images, labels, batch_size, description)
    count = -(-len(labels) // batch_size) * batch_size
    speeds = {name: count / watch.seconds for name, watch in watches.items()}
    summary = summarise(per_image, np.asarray(labels), roles, tuple(readers or ()))
    return summary | {"per_image": per_image, "speeds": speeds}


def quick(
    generator: Chain,
    targets: Mapping[str, LogitsFn],
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 64,
) -> dict[str, float]:
    """A cheap measurement inside the training loop: the targets only, no controls, no files.

    Files are left out because PNG keeps every uint8 value; `evaluate_split` checks that.

    Args:
      generator: its stages.
      targets: the attacked classifiers by name.
      images: uint8 [N, H, W, 3].
      labels: int [N].
      batch_size: images at a time.

    Returns:
      clean_accuracy, protected_accuracy: means over targets.
      psnr, ssim: of the protected images, PSNR counted as at most 100 dB.
      exact_images: share of images that come back equal.
      outside_range: share of samples outside 0..255 after rounding, before clipping.
    """
    generator = programs.on_one_device(generator)
    fns = {name: _as_argument(fn) for name, fn in targets.items()}
    pairs = {n: (f.module, f.variables) for n, f in fns.items() if isinstance(f, FrozenClassifier)}
    read_by: dict[str, LogitsFn | Reader] = {**fns, **published_readers(pairs)}

    def measure(index, originals, labels):
        token = protectors.draw_token(generator, index, *originals.shape[1:3])
        place = protectors.draw_place(generator, index, *originals.shape[1:3])
        given = programs.labels_of_attack(tuple(fns.values()), originals, labels)
        protected, outside, side_info = programs.protect(generator, originals, given, token, place)
        quality = programs.compare(protected, originals)
        recovered = programs.recover(generator, protected, side_info, token, place)
        by_kind = correct(read_by, {ORIGINAL: originals, "protected": protected}, labels)
        accuracy = {
            f"{name}_accuracy": np.mean([by_kind[kind, target] for target in fns], axis=0)
            for name, kind in (("clean", ORIGINAL), ("protected", "protected"))
        }
        return accuracy | {
            "psnr": np.minimum(quality["psnr"], PSNR_CAP),
            "ssim": quality["ssim"],
            "exact_images": programs.compare(recovered, originals)["exact"],
            "outside_range": outside,
        }

    per_image = measure_all(measure, images, labels, batch_size)
    return {name: float(np.mean(values, dtype=np.float64)) for name, values in per_image.items()}


def examples(
    protector: FileProtector | PixelProtector,
    images: np.ndarray | DecodedOnDemand,
    labels: np.ndarray,
    chosen: np.ndarray,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some files for a grid, in a batch of the size that is compiled already.

    Args:
      protector: as for `evaluate_split`.
      images: as for `evaluate_split`.
      labels: int [N].
      chosen: int [K], K at most `batch_size`.
      batch_size: size of the batch; the chosen images are repeated to fill it.

    Returns:
      Originals, protected and recovered images, uint8 [batch_size, H, W, 3], the chosen ones first.
    """
    index = np.resize(chosen, batch_size)
    originals = np.asarray(images[index])
    batch = protector.protect(index, originals, np.asarray(labels[index], np.int32))
    return originals, batch.images, protector.recover(batch)


def _as_argument(logits_fn: LogitsFn) -> LogitsFn:
    return programs.on_one_device(as_pytree(logits_fn))


def divergence(psnr: float | None, outside_range: float, target_psnr: float) -> str | None:
    """Says whether a learned generator has diverged, from what it does to images.

    An integer generator recovers every sample whatever its weights are, so nothing else fails.

    Args:
      psnr: mean over protected images, in dB; None where all equal their originals.
      outside_range: share of the samples outside 0..255, after rounding and before clipping.
      target_psnr: that the generator was trained for (`config.loss.target_psnr`).

    Returns:
      One sentence with these numbers and the way out; None for a generator that has not diverged.
    """
    far = psnr is not None and psnr < target_psnr - _MOST_MISSED
    if not far and outside_range <= _MOST_OUTSIDE:
        return None
    quality = "equal their originals" if psnr is None else f"have {psnr:.1f} dB"
    return (
        f"the learned generator has diverged: protected images {quality} "
        f"(config.loss.target_psnr is {target_psnr:g}), and {outside_range:.0%} of their samples "
        "are outside 0..255, so `raeg protect` can hardly protect a file with it; train it again "
        "with a lower config.optimizer.learning_rate"
    )


def divergence_of(summary: Mapping[str, Any], config: ConfigDict) -> str | None:
    """As `divergence`, of what `summarise` returns; None for stages with a PSNR of their own."""
    if tuple(config.generator.stages) != ("learned",):
        return None
    psnr = summary["quality"]["protected"]["psnr"]
    return divergence(psnr, summary["outside_range"], config.loss.target_psnr)


def summarise(
    per_image: Mapping[str, np.ndarray],
    labels: np.ndarray,
    roles: Mapping[str, str],
    readers: Collection[str] = (),
) -> dict[str, Any]:
    """Averages over images.

    Args:
      per_image: arrays [N] named 'read/<classifier>/<variant>' (class numbers),
        'psnr/<variant>' (decibels), 'ssim/<variant>', 'equal/<variant>' (share of equal
        pixels), 'exact/<variant>' (bool), 'bytes/<variant>', 'outside', and what else
        `protectors.ProtectedBatch` has. Variants that are missing are left out. Of some readers
        also 'closed_set/<classifier>/<variant>', see `readers.Reading`.
      labels: int [N], the true classes.
      roles: 'target', 'held_out' or 'reader' for each classifier.
      readers: those of the classifiers that have other classes than the data set.

    Returns:
      images: N.
      classifiers: for each, its `role`; `reference`, 'label' or, of readers, 'original': what an
        image must be read as; and what `scores` returns.
      quality: for each changed variant `psnr`, the mean over the images that differ from their
        originals (an equal image has none), None where all are equal; `psnr_range`, the least and
        the most of these; `ssim`; `exact_pixels`, the share of pixels with all three samples
        equal; `exact_images`, the share of images equal throughout.
      outside_range: share of samples that are outside 0..255 after rounding, before clipping.
      rounds: mean and most rounds of the last shortcut or gradient stage; None without one.
      png_bytes: mean size of the files of the original and of the protected images.
      payload: of how many images it lies `in_pixels`, and `beside_pixels`; its mean `bytes`. None
        where files have none.
    """
    variants = [name for name in VARIANTS if f"bytes/{name}" in per_image]
    changed = variants[1:]
    accuracies = scores(correct_of(per_image, labels, roles, readers), roles, variants)
    references = {name: "original" if name in readers else "label" for name in roles}
    return {
        "images": len(labels),
        "classifiers": {
            name: {"role": roles[name], "reference": references[name], **own}
            for name, own in accuracies.items()
        },
        "quality": {name: _quality(per_image, name) for name in changed},
        "outside_range": mean(per_image["outside"]),
        "rounds": _rounds(per_image),
        "png_bytes": {name: mean(per_image[f"bytes/{name}"]) for name in ("original", "protected")},
        "payload": _payload(per_image),
    }


def correct_of(
    per_image: Mapping[str, np.ndarray],
    labels: np.ndarray,
    names: Collection[str],
    readers: Collection[str] = (),
) -> dict[tuple[str, ...], np.ndarray]:
    """As `correct_readings`, of all variants and some classifiers; arguments as `summarise`."""
    readings = {
        variant: {
            name: Reading(
                per_image[f"read/{name}/{variant}"],
                name not in readers,
                per_image.get(f"{CLOSED_SET}/{name}/{variant}"),
            )
            for name in names
        }
        for variant in VARIANTS
        if f"bytes/{variant}" in per_image
    }
    return correct_readings(readings, labels)


def _quality(per_image, variant: str) -> dict[str, Any]:
    psnr = per_image[f"psnr/{variant}"]
    psnr = psnr[np.isfinite(psnr)]
    return {
        "psnr": mean(psnr),
        "psnr_range": [float(psnr.min()), float(psnr.max())] if len(psnr) else None,
        "ssim": mean(per_image[f"ssim/{variant}"]),
        "exact_pixels": mean(per_image[f"equal/{variant}"]),
        "exact_images": mean(per_image[f"exact/{variant}"]),
    }


def _rounds(per_image) -> dict[str, Any] | None:
    if "code/rounds" not in per_image:
        return None
    rounds = per_image["code/rounds"]
    return {"mean": mean(rounds), "most": int(rounds.max())}


def _payload(per_image) -> dict[str, Any] | None:
    if "payload/bytes" not in per_image:
        return None
    hidden = per_image["payload/in_pixels"]
    return {
        "in_pixels": int(hidden.sum()),
        "beside_pixels": int((~hidden).sum()),
        "bytes": mean(per_image["payload/bytes"]),
    }
