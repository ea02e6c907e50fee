"""How well a generator protects and recovers, image by image, on files read back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from raeg_jax.data.memory import DecodedOnDemand
from raeg_jax.evaluation import controls, programs, tokens
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.evaluation.protectors import FileProtector, PixelProtector
from raeg_jax.evaluation.scores import correct
from raeg_jax.evaluation.summary import summarise
from raeg_jax.generator.chain import Chain
from raeg_jax.image.metrics import PSNR_CAP
from raeg_jax.networks.classifiers import as_pytree

LogitsFn = Callable[[jax.Array], jax.Array]


def evaluate_split(
    protector: FileProtector | PixelProtector,
    classifiers: Mapping[str, LogitsFn],
    images: np.ndarray | DecodedOnDemand,
    labels: np.ndarray,
    batch_size: int,
    *,
    targets: Sequence[str],
    held_out: Sequence[str],
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
      pgd_steps: steps of the PGD control; 0 leaves it out.
      seed: of the noise.
      first_stages: names of the stages before the last, measured without those after them.
      description: what the progress bar says.

    Returns:
      What `summary.summarise` returns; `per_image`, the arrays [N] that it was made from; and
      `speeds`, images a second to `protect` and to `recover`, without compilation.

    Raises:
      ValueError: no images, a batch size below one, or a classifier that is not given.
    """
    roles = dict.fromkeys(targets, "target") | dict.fromkeys(held_out, "held_out")
    if missing := [name for name in roles if name not in classifiers]:
        raise ValueError(f"no classifier named {missing[0]!r}; given are {sorted(classifiers)}")
    fns = {name: _as_argument(classifiers[name]) for name in roles}
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
            classes = programs.classify(fns, images)
            rows.update({f"read/{name}/{variant}": each for name, each in classes.items()})
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
        add("noise", controls.noise_control(seed, index, originals, distance))
        if pgd_steps > 0:
            add("pgd", controls.pgd_control(attacked, originals, labels, distance, pgd_steps))
        return rows

    per_image = measure_all(measure, images, labels, batch_size, description)
    count = -(-len(labels) // batch_size) * batch_size
    speeds = {name: count / watch.seconds for name, watch in watches.items()}
    summary = summarise(per_image, np.asarray(labels), roles)
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

    def measure(index, originals, labels):
        token = tokens.draw(generator, index, *originals.shape[1:3])
        protected, outside, side_info = programs.protect(generator, originals, labels, token)
        quality = programs.compare(protected, originals)
        recovered = programs.recover(generator, protected, side_info, token)
        by_kind = correct(fns, {"clean": originals, "protected": protected}, labels)
        accuracy = {
            f"{kind}_accuracy": np.mean([by_kind[kind, name] for name in fns], axis=0)
            for kind in ("clean", "protected")
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
