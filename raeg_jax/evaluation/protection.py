"""How well a generator protects and recovers, image by image, on files read back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raeg_jax.data.memory import DecodedOnDemand
from raeg_jax.evaluation import compiled, controls, tokens
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.evaluation.making import Files, Pixels
from raeg_jax.evaluation.roundtrip import png_roundtrip
from raeg_jax.evaluation.summary import summarise
from raeg_jax.evaluation.timing import Stopwatch
from raeg_jax.generator.chain import Chain
from raeg_jax.image.metrics import PSNR_CAP
from raeg_jax.networks.classifiers import as_pytree


def evaluate_split(
    maker: Files | Pixels,
    classifiers: Mapping[str, compiled.LogitsFn],
    images: np.ndarray | DecodedOnDemand,
    labels: np.ndarray,
    batch_size: int,
    *,
    targets: Sequence[str],
    held_out: Sequence[str],
    pgd_steps: int,
    seed: int,
    parts: Sequence[str] = (),
    description: str = "evaluating",
) -> dict[str, Any]:
    """Protects and recovers every image and says what classifiers make of it.

    Every variant (after the first stages alone, protected, recovered, from pixels alone where
    recovery has a payload, with a wrong token where the generator has one, and the two controls) is
    written as PNG and read back before anything is measured; recovery starts from the protected
    file. The controls have the protected file's L2 distance from the original.

    Args:
      maker: of the files.
      classifiers: logits functions by name, in evaluation mode.
      images: uint8 [N, H, W, 3], the originals; looked at batch by batch.
      labels: int [N].
      batch_size: images at a time; a batch that is not full is padded, not compiled anew.
      targets: names of the classifiers attacked in training; PGD attacks them too, all at once.
      held_out: names of the others.
      pgd_steps: steps of the PGD control; 0 leaves it out.
      seed: of the noise.
      parts: names of the first stages, of which it is also measured what they do alone.
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
    fns = {name: _argument(classifiers[name]) for name in roles}
    watches = {"protect": Stopwatch(), "recover": Stopwatch()}
    attacked = tuple(fns[name] for name in targets)

    def measure(index, originals, truth):
        """One batch: arrays [batch] by name."""
        with watches["protect"]:
            made = maker.protect(index, originals, truth)
        with watches["recover"]:
            recovered = maker.recover(made)
        out = dict(made.measured)

        def save(variant, images):
            """Writes and reads back; what is measured is what was read."""
            images, out[f"bytes/{variant}"] = png_roundtrip(images)
            out.update({f"read/{k}/{variant}": v for k, v in compiled.read(fns, images).items()})
            if variant != "original":
                measured = compiled.compare(images, originals)
                out.update({f"{k}/{variant}": v for k, v in measured.items()})

        save("original", originals)
        for count, name in enumerate(parts, 1):
            save(f"after_{name}", maker.partly(count, made, originals, truth))
        save("protected", made.images)
        out["bytes/protected"] = made.sizes
        save("recovered", recovered)
        if maker.has_payload:
            save("pixels_alone", maker.from_pixels(made))
        if maker.chain.token_planes:
            save("wrong_token", maker.from_pixels(made, wrong_key=True))
        distance = out["distance/protected"]
        save("noise", controls.noise_control(seed, index, originals, distance))
        if pgd_steps > 0:
            save("pgd", controls.pgd_control(attacked, originals, truth, distance, pgd_steps))
        return out

    per_image = measure_all(measure, images, labels, batch_size, description)
    count = -(-len(labels) // batch_size) * batch_size
    speeds = {name: count / watch.seconds for name, watch in watches.items()}
    summary = summarise(per_image, np.asarray(labels), roles)
    return summary | {"per_image": per_image, "speeds": speeds}


def quick(
    generator: Chain,
    target_logits_fns: Mapping[str, compiled.LogitsFn],
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 64,
) -> dict[str, float]:
    """A cheap look inside the training loop: the targets only, no controls, no files.

    Files are left out because PNG keeps every uint8 value; `evaluate_split` checks that.

    Args:
      generator: its stages.
      target_logits_fns: the attacked classifiers by name.
      images: uint8 [N, H, W, 3].
      labels: int [N].
      batch_size: images at a time.

    Returns:
      clean_accuracy, protected_accuracy: means over targets.
      psnr, ssim: of the protected images, PSNR counted as at most 100 dB.
      exact_images: share of images that come back equal.
      outside_range: share of samples outside 0..255 after rounding, before clipping.
    """
    generator = compiled.on_one_device(generator)
    fns = {name: _argument(fn) for name, fn in target_logits_fns.items()}

    def measure(index, originals, truth):
        token = tokens.draw(generator, index, *originals.shape[1:3])
        protected, outside, code = compiled.protect(generator, originals, truth, token)
        quality = compiled.compare(protected, originals)
        recovered = compiled.recover(generator, protected, code, token)
        recovered = compiled.compare(recovered, originals)
        before, after = compiled.read(fns, originals), compiled.read(fns, protected)
        return {
            "clean_accuracy": np.mean([np.asarray(v) == truth for v in before.values()], axis=0),
            "protected_accuracy": np.mean([np.asarray(v) == truth for v in after.values()], axis=0),
            "psnr": np.minimum(quality["psnr"], PSNR_CAP),
            "ssim": quality["ssim"],
            "exact_images": recovered["exact"],
            "outside_range": outside,
        }

    per_image = measure_all(measure, images, labels, batch_size)
    return {name: float(np.mean(values, dtype=np.float64)) for name, values in per_image.items()}


def examples(
    maker: Files | Pixels,
    images: np.ndarray,
    labels: np.ndarray,
    chosen: np.ndarray,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some files for a picture, in a batch of the size that is compiled already.

    Args:
      maker: as `evaluate_split`.
      images: uint8 [N, H, W, 3], or what gives them for indices.
      labels: int [N].
      chosen: int [K], K at most `batch_size`.
      batch_size: size of the batch; the chosen images are repeated to fill it.

    Returns:
      Originals, protected and recovered images, uint8 [batch_size, H, W, 3], the chosen ones first.
    """
    index = np.resize(chosen, batch_size)
    originals, truth = np.asarray(images[index]), np.asarray(labels[index], np.int32)
    made = maker.protect(index, originals, truth)
    return originals, made.images, maker.recover(made)


def _argument(logits_fn: compiled.LogitsFn) -> compiled.LogitsFn:
    return compiled.on_one_device(as_pytree(logits_fn))
