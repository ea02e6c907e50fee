"""Pirated models: classifiers trained from scratch on what was given away, tested on originals.

Beside them stand honest models, trained on the originals, and authorised ones, trained on what the
owner of the key recovers. Here that is what the pixels alone give back; with the payload recovered
images equal the originals, and models trained on them the honest ones.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.evaluation.batches import batches
from raeg_jax.evaluation.remover import train_remover
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.subject import Subject, as_records
from raeg_jax.networks.classifiers import build_classifier
from raeg_jax.training.classifier import fit_classifier
from raeg_jax.training.logs import FILE, read_rows
from raeg_jax.workdir.origin import FOLDER

# What pirates may change in the training, beside `config.suite.pirates`.
TRAININGS: dict[str, dict[str, float]] = {
    "": {},
    "adversarial": {"classifiers.adversarial": 4.0},
    "augmented": {"augment.mixup": 0.2, "augment.cutout": 0.4, "augment.grey": 0.3},
}


class Loot(NamedTuple):
    """What a model is trained on.

    Attributes:
      name: of the images, such as 'raw' or 'jpeg_50'.
      images: makes them, uint8 [N, H, W, 3], in the order of the originals.
      training: key of `TRAININGS`.
    """

    name: str
    images: Callable[[], np.ndarray]
    training: str = ""


def loots(subject: Subject) -> list[Loot]:
    """All that models are trained on: originals first, then what was given away."""
    settings = subject.config.suite.pirates
    honest, raw = lambda: subject.originals("train")[0], lambda: subject.protected("train").images
    found = [Loot("honest", honest), Loot("authorised", lambda: recovered(subject))]
    found += [Loot("raw", raw)]
    found += [Loot(name, lambda name=name: defended(subject, name)) for name in settings.defences]
    found += [
        Loot(f"remover_{count or 'all'}", lambda count=count: cleaned(subject, count))
        for count in subject.config.suite.remover_pairs
    ]
    found += [
        Loot(f"share_{share:g}", lambda share=share: partly(subject, share))
        for share in settings.shares
    ]
    for training in settings.trainings:
        found += [Loot("honest", honest, training), Loot("raw", raw, training)]
    return found


def owner(subject: Subject) -> Subject:
    """With the images that are given away: as many as the suite says, and all unseen ones."""
    return dataclasses.replace(
        subject, most={"train": subject.config.suite.pirates.images, "test": 0}
    )


def of_removers(subject: Subject) -> dict[str, Any]:
    """Settings that removers depend on."""
    settings = subject.config.suite
    return {"steps of removers": settings.remover_steps, "leaked of": settings.pirates.images}


def units(subject: Subject) -> Iterator[Unit]:
    """A unit for each model: seed by seed, so that a suite that is stopped has some of all."""
    subject = owner(subject)
    settings = subject.config.suite.pirates
    depends = {name: settings[name] for name in ("steps", "looks", "images")}
    for seed in range(settings.seeds):
        for loot in loots(subject):
            of_loot = of_removers(subject) if loot.name.startswith("remover") else {}
            for architecture in settings.architectures:
                parts = (loot.name, loot.training, architecture, str(seed))
                yield Unit(
                    "/".join(("pirates", "-".join(part for part in parts if part))),
                    settings.steps * (2.0 if loot.training == "adversarial" else 1.0),
                    lambda loot=loot, architecture=architecture, seed=seed: train(
                        subject, loot, architecture, seed
                    ),
                    depends | of_loot,
                )


def train(subject: Subject, loot: Loot, architecture: str, seed: int) -> dict[str, Any]:
    """Trains a model and tests it on clean unseen originals.

    Returns:
      `images`, `training`, `architecture`, `seed`; `curve`, the accuracy after some steps; `peak`,
      the most of these; `last`, that of the finished model; `changed`, the share of training
      images that aren't the originals.
    """
    config = subject.config.copy_and_resolve_references()
    settings = config.suite.pirates
    config.update_from_flattened_dict(TRAININGS[loot.training])
    config.classifiers.steps = settings.steps
    config.classifiers.warmup_steps = min(config.classifiers.warmup_steps, settings.steps // 4)
    config.seed = config.seed + 1 + seed
    config.train.eval_every = max(1, settings.steps // settings.looks)
    originals, labels = subject.originals("train")
    images, (clean, truth) = loot.images(), subject.unseen()
    splits = dataclasses.replace(
        subject.splits,
        train=as_records(images, labels),
        test=as_records(clean, truth),
        fingerprint=hashlib.sha256(images.tobytes()).hexdigest()[:16],
    )
    module = build_classifier(architecture, splits.num_classes)
    read = jax.jit(lambda v, x: module.apply(v, x.astype("float32"), train=False).argmax(-1))

    def watch(variables) -> Mapping[str, float]:
        size = min(config.eval.batch_size, len(truth))
        right = [
            np.asarray(read(variables, x) == y)[:count]
            for _, x, y, count in batches(clean, truth, size)
        ]
        return {"clean": float(np.mean(np.concatenate(right)))}

    name = f"{loot.name}{loot.training}-{architecture}-{seed}"
    folder = subject.folder / "pirates" / name
    if fit_classifier(architecture, splits, config, folder, watch) is None:
        raise KeyboardInterrupt
    rows = read_rows(folder / FOLDER / architecture / FILE)
    curve = [[row["step"], row["clean"]] for row in rows if "clean" in row]
    # Nobody needs a pirate's weights.
    shutil.rmtree(folder)
    return {
        "images": loot.name,
        "training": loot.training,
        "architecture": architecture,
        "seed": seed,
        "curve": curve,
        "peak": max(value for _, value in curve),
        "last": curve[-1][1],
        "changed": float(np.mean(np.any(images != originals, axis=(1, 2, 3)))),
    }


def recovered(subject: Subject) -> np.ndarray:
    """What the owner of the key gets back from the pixels alone."""
    made = subject.protected("train")

    def recover(index, images):
        return subject.recover(index, images, subject.code_of(made, index))

    return subject.kept("recovered", lambda: of_all(subject, made.images, recover))


def defended(subject: Subject, name: str) -> np.ndarray:
    """Protected images after a defence."""

    def make():
        made = subject.protected("train").images
        return of_all(subject, made, lambda _, images: DEFENCES[name](images))

    return subject.kept(name, make)


def cleaned(subject: Subject, pairs: int) -> np.ndarray:
    """Protected images after a remover that was trained on so many leaked pairs; 0 for all."""

    def make():
        remove = remover(subject, pairs)
        made = subject.protected("train").images
        return of_all(subject, made, lambda _, images: remove(images))

    return subject.kept(f"remover_{pairs}_{subject.config.suite.remover_steps}", make)


def of_all(subject: Subject, images: np.ndarray, change) -> np.ndarray:
    """What a function of numbers and images makes of all fitted ones, batch by batch."""
    labels = subject.originals("train")[1]
    return np.concatenate(
        [
            np.asarray(change(index, some))[:count]
            for index, some, _, count in batches(images, labels, subject.batch_size("train"))
        ]
    )


def remover(subject: Subject, pairs: int):
    """A network that turns protected images back, trained on so many leaked pairs; 0 for all."""
    images, made = subject.originals("train")[0], subject.protected("train").images
    leaked = chosen_of(len(images), pairs)
    steps, seed = subject.config.suite.remover_steps, subject.config.seed
    return train_remover(images[leaked], made[leaked], steps, min(32, len(leaked)), seed)


def partly(subject: Subject, share: float) -> np.ndarray:
    """Originals of which a share is protected."""
    images = subject.originals("train")[0].copy()
    chosen = chosen_of(len(images), max(1, round(share * len(images))))
    images[chosen] = subject.protected("train").images[chosen]
    return images


def chosen_of(count: int, chosen: int) -> np.ndarray:
    """Which images leak or are protected: so many, from all over the split; 0 for all."""
    chosen = min(chosen or count, count)
    return np.random.RandomState(0).permutation(count)[:chosen]
