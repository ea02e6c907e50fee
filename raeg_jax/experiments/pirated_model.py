"""One model of a pirate or of an honest user, trained and tested on clean images on the way."""

import dataclasses
import hashlib
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.data.decode import encode_png
from raeg_jax.evaluation.programs import batches
from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.experiments.training_sets import Images
from raeg_jax.networks.classifiers import build_classifier
from raeg_jax.training.classifier import fit_classifier
from raeg_jax.training.logs import FILE, read_rows
from raeg_jax.workdir.origin import FOLDER

# What pirates may change in the training, beside `config.suite.pirates`.
TRAININGS: dict[str, dict[str, float]] = {
    "": {},
    "adversarial": {"classifiers.adversarial": 4.0},
    "adversarial_8": {"classifiers.adversarial": 8.0},
    "augmented": {"augment.mixup": 0.2, "augment.cutout": 0.4, "augment.grey": 0.3},
    "crops": {"augment.crop_share": 0.5},
}

# Steps taken, and the accuracy on clean unseen originals after them.
Curve = list[tuple[int, float]]


def train_from_scratch(
    run: TrainedRun,
    folder: pathlib.Path,
    images: Images,
    training: str,
    architecture: str,
    seed: int,
) -> Curve:
    """Trains a model as the run's classifiers are trained, and tests it on the way.

    Args:
      run: data set and settings.
      folder: of this model while it is trained; removed then.
      images: at least a batch.
      training: key of `TRAININGS`.
      architecture: of `CLASSIFIERS`.
      seed: number of the repetition.
    """
    settings = run.config.suite.pirates
    config = run.config.copy_and_resolve_references()
    config.update_from_flattened_dict(TRAININGS[training])
    config.classifiers.steps = settings.steps
    config.classifiers.warmup_steps = min(config.classifiers.warmup_steps, settings.steps // 4)
    config.seed = config.seed + 1 + seed
    config.train.eval_every = max(1, settings.steps // settings.looks)
    return learning_curve(run, folder, images, config, architecture)


def learning_curve(
    run: TrainedRun,
    folder: pathlib.Path,
    images: Images,
    config: ConfigDict,
    name: str,
    module: nn.Module | None = None,
    start: Any | None = None,
    origin: str = "",
) -> Curve:
    """Trains a classifier and tests it each `config.train.eval_every` steps on all unseen images.

    Of these as they are and as `Images.tests` prepares them, the better accuracy counts.

    Args:
      run: data set.
      folder: of this model while it is trained; removed then.
      images: to train on.
      config: the whole configuration, of this training.
      name: of the architecture.
      module: the network, by default that of the name.
      start: variables to begin with.
      origin: digest of `module` and `start`.

    Raises:
      KeyboardInterrupt: a signal stopped the training; the next call resumes.
    """
    clean, truth = run.images("test")
    digest = hashlib.sha256(images.images.tobytes() + origin.encode())
    splits = dataclasses.replace(
        run.splits,
        # Lists of records will do, too.
        train=_records(images.images, images.labels),  # type: ignore[arg-type]
        test=_records(clean, truth),  # type: ignore[arg-type]
        fingerprint=digest.hexdigest()[:16],
    )
    network = module or build_classifier(name, splits.num_classes)
    classify = jax.jit(
        lambda v, x: jnp.argmax(jnp.asarray(network.apply(v, x.astype("float32"), train=False)), -1)
    )

    size, tests = min(config.eval.batch_size, len(truth)), images.tests(clean)

    def accuracy(variables, test) -> float:
        correct = [
            np.asarray(classify(variables, x) == y)[:count]
            for _, x, y, count in batches(test, truth, size)
        ]
        return float(np.mean(np.concatenate(correct)))

    def watch(variables) -> Mapping[str, float]:
        return {"clean": max(accuracy(variables, test) for test in tests)}

    if fit_classifier(name, splits, config, folder, watch, start, module) is None:
        raise KeyboardInterrupt
    rows = read_rows(folder / FOLDER / name / FILE)
    # Only the accuracies are of interest.
    shutil.rmtree(folder)
    return [(row["step"], row["clean"]) for row in rows if "clean" in row]


def _records(images: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Images uint8 [N, H, W, 3] as a split that classifiers are trained on: PNG files."""
    return [
        {"image": encode_png(image), "label": int(label), "file_name": f"{index}.png"}
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
