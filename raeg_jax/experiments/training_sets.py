"""What pirates train models on: originals or protected files, each after a defence.

A pirate applies one of `DEFENCES` to every image, several one after the other, or one of
`SET_DEFENCES` to the whole set with its labels. An honest model under the same defence is trained
on originals to which the same was done.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.experiments.context import Context, ProtectedSet
from raeg_jax.experiments.defences import choose, remover, remover_name, remover_settings

HONEST = "honest"
# Of originals of which only a share is protected.
SHARE = "share_"


class Images(NamedTuple):
    """What a model is trained on, and how its user may change what it reads.

    Attributes:
      images: uint8 [N, H, W, 3].
      originals: of these, uint8 [N, H, W, 3].
      labels: int32 [N].
      prepare: the defence of each image alone, uint8 [B, H, W, 3] to the same: a model that was
        trained on grey images may be given grey ones to read. None without such a defence.
    """

    images: np.ndarray
    originals: np.ndarray
    labels: np.ndarray
    prepare: Callable[[np.ndarray], np.ndarray] | None = None

    def tests(self, images: np.ndarray) -> list[np.ndarray]:
        """What the model is tested on of images uint8 [N, H, W, 3]: as they are, and prepared."""
        return [images] if self.prepare is None else [images, self.prepare(images)]


class TrainingSet(NamedTuple):
    """The images of a model, and how it is trained on them.

    Attributes:
      name: of the images: `HONEST`, a method, or another change of the originals.
      load: makes the images.
      defence: names with '+' between; '' for none.
      training: key of `pirated_model.TRAININGS`.
      depends: the settings that the images depend on.
      of_generator: whether the images depend on the generator.
    """

    name: str
    load: Callable[[], Images]
    defence: str = ""
    training: str = ""
    depends: Mapping[str, Any] = {}
    of_generator: bool = True


def without_class_means(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Subtracts the mean image of each class and adds that of all: takes a class's pattern away.

    Args:
      images: uint8 [N, H, W, 3].
      labels: int [N].

    Returns:
      uint8 [N, H, W, 3], rounded and clipped.
    """
    whole = images.mean(axis=0, dtype=np.float64)
    result = np.empty_like(images)
    for label in np.unique(labels):
        of_class = images[labels == label]
        moved = of_class - of_class.mean(axis=0, dtype=np.float64) + whole
        result[labels == label] = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return result


# Images uint8 [N, H, W, 3] and labels int [N] of a whole set -> images of the same shape.
SET_DEFENCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "class_mean": without_class_means,
}
# The names that a defence may consist of.
PARTS = (*DEFENCES, *SET_DEFENCES)


def training_sets(context: Context) -> Iterator[TrainingSet]:
    """Originals and the files of each method; without `--method` also after defences, and others.

    Honest models are there of each defence and training that pirates use.
    """
    settings = context.run.config.suite.pirates

    def make(name: str, defence: str = "", training: str = "") -> TrainingSet:
        load = functools.partial(load_images, context, name, defence)
        if name == HONEST:
            return TrainingSet(name, load, defence, training, {}, of_generator=False)
        return TrainingSet(name, load, defence, training, context.depends(name, context.psnr))

    yield make(HONEST)
    yield from map(make, context.methods)
    if context.compared:
        return
    if not context.run.chain.exact:
        yield TrainingSet("authorised", functools.partial(load_recovered, context))
    for defence in settings.defences:
        yield from (make(name, defence) for name in (HONEST, "raeg"))
    for pairs in context.run.config.suite.remover_pairs:
        for name in (HONEST, "raeg"):
            load = functools.partial(load_cleaned, context, name, pairs)
            yield TrainingSet(name, load, remover_name(pairs), "", remover_settings(context))
    for share in settings.shares:
        load = functools.partial(load_partly_protected, context, share)
        yield TrainingSet(f"{SHARE}{share:g}", load)
    for entry in settings.trainings:
        training, _, defence = entry.partition("+")
        yield from (make(name, defence, training) for name in (HONEST, "raeg"))


def load_images(context: Context, name: str, defence: str = "") -> Images:
    """Originals or files after a defence.

    Args:
      context: has the run.
      name: `HONEST` for originals; a method.
      defence: of `PARTS`, with '+' between; '' for none.
    """
    if name == HONEST:
        leaked = context.leaked(context.methods[0])
        originals, labels = leaked.candidates()
        images = originals
    else:
        leaked = context.leaked(name)
        originals, labels = leaked.originals()
        images = leaked.files.images
    if not defence:
        return Images(images, originals, labels)
    defended = leaked.cached(
        f"{HONEST if name == HONEST else 'files'}_{defence}",
        lambda: defend_set(leaked, images, labels, defence),
    )
    prepare = None
    if not set(defence.split("+")) & SET_DEFENCES.keys():
        prepare = functools.partial(defend_set, leaked, labels=labels, defence=defence)
    return Images(defended, originals, labels, prepare)


def defend_set(
    leaked: ProtectedSet, images: np.ndarray, labels: np.ndarray, defence: str
) -> np.ndarray:
    """Images uint8 [N, H, W, 3] with labels int [N] after each part of a defence."""
    for name in defence.split("+"):
        if name in SET_DEFENCES:
            images = SET_DEFENCES[name](images, labels)
        else:
            images = leaked.change(images, DEFENCES[name])
    return images


def load_recovered(context: Context) -> Images:
    """What the owner of the key recovers."""
    leaked = context.leaked("raeg")
    files = leaked.files
    blobs = [files.blob(index) for index in range(len(files.kept))]
    estimate = leaked.protector(float(files.aim)).estimate(files.images, blobs)
    return Images(np.stack(estimate), *leaked.originals())


def load_cleaned(context: Context, name: str, pairs: int) -> Images:
    """Originals or files after a remover that was trained on so many leaked pairs; 0 for all."""
    leaked = context.leaked("raeg")
    originals, labels = leaked.originals()

    def clean() -> np.ndarray:
        remove = remover(leaked, pairs)
        return np.stack([leaked.change(x, remove) for x in (originals, leaked.files.images)])

    # Of both, so that the remover is trained once.
    steps = context.run.config.suite.remover_steps
    both = leaked.cached(f"remover_{pairs}_{steps}_both", clean)
    return Images(both[0 if name == HONEST else 1], originals, labels)


def load_partly_protected(context: Context, share: float) -> Images:
    """Originals of which a share is protected."""
    leaked = context.leaked("raeg")
    originals, labels = leaked.originals()
    images = originals.copy()
    chosen = choose(len(images), max(1, round(share * len(images))))
    images[chosen] = leaked.files.images[chosen]
    return Images(images, originals, labels)
