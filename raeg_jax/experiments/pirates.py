"""Pirated models: classifiers trained from scratch on published files, tested on originals.

Beside them stand honest models, trained on the originals. Authorised models, trained on what the
owner of the key recovers, are the honest ones where files give back their originals bit for bit;
so they are trained only of generators that aren't exact.
"""

import dataclasses
import functools
import hashlib
import pathlib
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.ticker import MaxNLocator
from ml_collections import ConfigDict

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.config.rules import COUNT, NATURAL, Each, Number, OneOf
from raeg_jax.data.decode import encode_png
from raeg_jax.errors import UserError
from raeg_jax.evaluation.programs import batches
from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.experiments.context import Context, ProtectedSet
from raeg_jax.experiments.defences import choose, remover, remover_name, remover_settings
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.plots import figure_of, svg
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table, column, grouped, number, over, over_seeds
from raeg_jax.methods.registry import TITLES
from raeg_jax.networks.classifiers import CLASSIFIERS, build_classifier
from raeg_jax.training.classifier import fit_classifier
from raeg_jax.training.logs import FILE, read_rows
from raeg_jax.workdir.origin import FOLDER

HONEST = "honest"
# What pirates may change in the training, beside `config.suite.pirates`.
TRAININGS: dict[str, dict[str, float]] = {
    "": {},
    "adversarial": {"classifiers.adversarial": 4.0},
    "augmented": {"augment.mixup": 0.2, "augment.cutout": 0.4, "augment.grey": 0.3},
}


class Images(NamedTuple):
    """What a model is trained on: uint8 [N, H, W, 3] each, int32 [N]."""

    images: np.ndarray
    originals: np.ndarray
    labels: np.ndarray


class TrainingSet(NamedTuple):
    """The images of a model, and how it is trained on them.

    Attributes:
      name: of the images: `HONEST`, a method, or a change of the generator's files.
      load: makes the images.
      training: key of `TRAININGS`.
      depends: the settings that the images depend on.
    """

    name: str
    load: Callable[[], Images]
    training: str = ""
    depends: Mapping[str, Any] = {}


def training_sets(context: Context) -> list[TrainingSet]:
    """The originals and the files of each method; without `--method` also changes of the files."""
    settings = context.run.config.suite.pirates

    def of_files(method: str, change=lambda leaked: leaked.files.images):
        def load():
            leaked = context.leaked(method)
            return Images(change(leaked), *leaked.originals())

        return load

    def load_honest():
        images, labels = context.leaked(context.methods[0]).candidates()
        return Images(images, images, labels)

    honest = TrainingSet(HONEST, load_honest)
    raw = [
        TrainingSet(method, of_files(method), "", context.depends(method, context.psnr))
        for method in context.methods
    ]
    if context.compared:
        return [honest, *raw]
    changes: dict[str, Callable[[ProtectedSet], np.ndarray]] = {}
    if not context.run.chain.exact:
        changes["authorised"] = recovered
    changes |= {name: functools.partial(defended, name=name) for name in settings.defences}
    pairs = {remover_name(count): count for count in context.run.config.suite.remover_pairs}
    changes |= {name: functools.partial(cleaned, pairs=count) for name, count in pairs.items()}
    changes |= {
        f"share_{share:g}": functools.partial(partly_protected, share=share)
        for share in settings.shares
    }
    sets = [honest, *raw]
    for name, change in changes.items():
        depends = remover_settings(context) if name in pairs else {}
        sets.append(TrainingSet(name, of_files("raeg", change), "", depends))
    for training in settings.trainings:
        sets += [each._replace(training=training) for each in (honest, *raw)]
    return sets


def units(context: Context) -> Iterator[Unit]:
    """A unit for each model: seed by seed, so that a suite that is stopped has some of all."""
    settings = context.run.config.suite.pirates
    for seed in range(settings.seeds):
        for training_set in training_sets(context):
            for architecture in settings.architectures:
                parts = (training_set.name, training_set.training, architecture, str(seed))
                arguments = context.run, context.folder, training_set, architecture, seed
                yield Unit(
                    f"pirates/{'-'.join(filter(None, parts))}",
                    settings.steps * (2.0 if training_set.training == "adversarial" else 1.0),
                    functools.partial(train, *arguments),
                    model_settings(context) | dict(training_set.depends),
                )


def model_settings(context: Context) -> dict[str, Any]:
    """The settings that all models depend on."""
    settings = context.run.config.suite.pirates
    return {name: settings[name] for name in ("steps", "looks", "images")}


def train(
    run: TrainedRun,
    folder: pathlib.Path,
    training_set: TrainingSet,
    architecture: str,
    seed: int,
) -> dict[str, Any]:
    """Trains a model and tests it on all clean unseen originals.

    Args:
      run: data set and settings.
      folder: for the model while it is trained.
      training_set: its images.
      architecture: of `CLASSIFIERS`.
      seed: number of the repetition.

    Returns:
      `images` (the name of the training set), `training`, `architecture`, `seed`; `count`, the
      number of training images; `curve`, the accuracy after some steps; `peak`, the most of these;
      `last`, that of the finished model; `changed`, the share of training images that aren't the
      originals. The last four are None where there are fewer images than in a batch.
    """
    config = run.config.copy_and_resolve_references()
    settings = config.suite.pirates
    config.update_from_flattened_dict(TRAININGS[training_set.training])
    config.classifiers.steps = settings.steps
    config.classifiers.warmup_steps = min(config.classifiers.warmup_steps, settings.steps // 4)
    config.seed = config.seed + 1 + seed
    config.train.eval_every = max(1, settings.steps // settings.looks)
    images, originals, labels = training_set.load()
    result = {
        "images": training_set.name,
        "training": training_set.training,
        "architecture": architecture,
        "seed": seed,
        "count": len(images),
    }
    if len(images) < config.classifiers.batch_size:
        return result | dict.fromkeys(("curve", "peak", "last", "changed"))
    clean, truth = run.images("test")
    splits = dataclasses.replace(
        run.splits,
        # Lists of records will do, too.
        train=_records(images, labels),  # type: ignore[arg-type]
        test=_records(clean, truth),  # type: ignore[arg-type]
        fingerprint=hashlib.sha256(images.tobytes()).hexdigest()[:16],
    )
    module = build_classifier(architecture, splits.num_classes)
    classify = jax.jit(
        lambda v, x: jnp.argmax(jnp.asarray(module.apply(v, x.astype("float32"), train=False)), -1)
    )

    def watch(variables) -> Mapping[str, float]:
        size = min(config.eval.batch_size, len(truth))
        correct = [
            np.asarray(classify(variables, x) == y)[:count]
            for _, x, y, count in batches(clean, truth, size)
        ]
        return {"clean": float(np.mean(np.concatenate(correct)))}

    name = f"{training_set.name}{training_set.training}-{architecture}-{seed}"
    workdir = folder / "models" / name
    if fit_classifier(architecture, splits, config, workdir, watch) is None:
        raise KeyboardInterrupt
    rows = read_rows(workdir / FOLDER / architecture / FILE)
    curve = [[row["step"], row["clean"]] for row in rows if "clean" in row]
    # Only the accuracies are of interest.
    shutil.rmtree(workdir)
    return result | {
        "curve": curve,
        "peak": max(value for _, value in curve),
        "last": curve[-1][1],
        "changed": float(np.mean(np.any(images != originals, axis=(1, 2, 3)))),
    }


def _records(images: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Images uint8 [N, H, W, 3] as a split that classifiers are trained on: PNG files."""
    return [
        {"image": encode_png(image), "label": int(label), "file_name": f"{index}.png"}
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def recovered(leaked: ProtectedSet) -> np.ndarray:
    """What the owner of the key recovers."""
    files = leaked.files
    blobs = [files.blob(index) for index in range(len(files.kept))]
    return np.stack(leaked.protector(float(files.aim)).estimate(files.images, blobs))


def defended(leaked: ProtectedSet, name: str) -> np.ndarray:
    """Files after a defence."""
    return leaked.cached(name, lambda: leaked.change(leaked.files.images, DEFENCES[name]))


def cleaned(leaked: ProtectedSet, pairs: int) -> np.ndarray:
    """Files after a remover that was trained on so many leaked pairs; 0 for all."""
    name = f"remover_{pairs}_{leaked.run.config.suite.remover_steps}"
    return leaked.cached(name, lambda: leaked.change(leaked.files.images, remover(leaked, pairs)))


def partly_protected(leaked: ProtectedSet, share: float) -> np.ndarray:
    """Originals of which a share is protected."""
    images = leaked.originals()[0].copy()
    chosen = choose(len(images), max(1, round(share * len(images))))
    images[chosen] = leaked.files.images[chosen]
    return images


def table(results: Results, context: Context) -> Table:
    """A row for each training set, training and architecture."""
    columns = {
        "trained on": lambda r: TITLES.get(r["images"], r["images"]),
        "training": lambda r: r["training"] or "plain",
        "model": column("architecture"),
    }
    more = {
        "seeds": lambda group: str(sum(r["peak"] is not None for r in group)),
        "images": over("count", 0),
        "peak": over("peak"),
        "last": over("last"),
        "peak of honest": lambda group: share_of_honest(group, results),
    }
    note = (
        "Accuracy on clean unseen originals: mean (least to most over the seeds). The last column "
        "is the mean peak as a share of that of honest models with the same training."
    )
    return over_seeds("Pirated models", note, results, columns, more)


def share_of_honest(results: Results, every: Results) -> str:
    """The mean peak as a share of that of honest models of the same trainings and architectures."""

    def mean_peak(models: Results) -> float:
        peaks = [r["peak"] for r in models if r["peak"] is not None]
        return statistics.fmean(peaks) if peaks else 0.0

    kinds = {(r["training"], r["architecture"]) for r in results}
    honest = [
        r for r in every if r["images"] == HONEST and (r["training"], r["architecture"]) in kinds
    ]
    own, other = mean_peak(results), mean_peak(honest)
    return number(own / other, 2) if own and other else ""


def headline(method: str, results: Results, context: Context) -> dict[str, str]:
    """The peak of models with plain training."""
    plain = [r for r in results if r["images"] == method and not r["training"]]
    return {"pirates": share_of_honest(plain, results)} if plain else {}


def curves(results: Results, context: Context) -> str:
    """Learning curves of models, means over seeds, a plot for each architecture."""
    results = [result for result in results if result["curve"]]
    architectures = list(dict.fromkeys(result["architecture"] for result in results))
    figure = figure_of(max(len(architectures), 1), width=9)
    for axis, architecture in zip(figure.axes, architectures, strict=False):
        models = [result for result in results if result["architecture"] == architecture]
        groups = grouped(models, lambda result: (result["images"], result["training"]))
        for index, ((images, training), group) in enumerate(groups.items()):
            steps = [step for step, _ in group[0]["curve"]]
            values = np.mean([[value for _, value in r["curve"]] for r in group], axis=0)
            axis.plot(
                steps,
                values,
                ("-", "--", ":")[index // 10 % 3],
                color=f"C{index % 10}",
                label=", ".join(filter(None, (TITLES.get(images, images), training))),
            )
        axis.set(title=architecture, xlabel="step")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].set_ylabel("accuracy on clean unseen images")
    if architectures:
        figure.axes[-1].legend(fontsize="x-small", ncols=2)
    return svg(figure)


def check(config: ConfigDict) -> None:
    """Stops at a pirate's architecture that is a target."""
    if both := set(config.suite.pirates.architectures) & set(config.classifiers.targets):
        raise UserError(
            f"config.suite.pirates.architectures has {sorted(both)[0]!r}, which is a target: a "
            "pirate must be another network than those that were attacked"
        )


EXPERIMENT = Experiment(
    name="pirates",
    units=units,
    table=table,
    plots=(curves,),
    settings={
        "suite.pirates.architectures": Each(OneOf(CLASSIFIERS)),
        "suite.pirates.seeds": COUNT,
        "suite.pirates.steps": COUNT,
        "suite.pirates.looks": COUNT,
        "suite.pirates.images": NATURAL,
        "suite.pirates.defences": Each(OneOf(DEFENCES), least=0),
        "suite.pirates.trainings": Each(OneOf(TRAININGS), least=0),
        "suite.pirates.shares": Each(Number(0, 1, strict=True), least=0),
    },
    check=check,
    headline=headline,
    compares=True,
)
