"""Pirated models: classifiers trained on published files, tested on originals.

Beside them stand honest models, trained on the originals, under the same defences. Authorised
models, trained on what the owner of the key recovers, are the honest ones where files give back
their originals bit for bit; so they are trained only of generators that aren't exact.
"""

import functools
import pathlib
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from ml_collections import ConfigDict

from raeg_jax.config.rules import COUNT, NATURAL, Each, Joined, NameOrFile, Number, OneOf
from raeg_jax.errors import UserError
from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.experiments import published_pirates
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.pirated_model import TRAININGS, train_from_scratch
from raeg_jax.experiments.plots import figure_of, svg
from raeg_jax.experiments.store import OF_GENERATOR, Unit
from raeg_jax.experiments.tables import (
    Table,
    column,
    grouped,
    mean_and_range,
    number,
    over,
    over_seeds,
)
from raeg_jax.experiments.training_sets import HONEST, PARTS, TrainingSet, training_sets
from raeg_jax.methods.registry import TITLES
from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.weights import SUFFIX, is_published
from raeg_jax.workdir.published import weights_path

# Of an image of 160 pixels in EfficientNet-Lite0, in steps of a small network (on a CPU core that
# others use too 86 ms): its features take 15 ms, fine-tuning 156 ms.
_COST_OF_FEATURES, _COST_OF_TUNING = 0.17, 1.8


def units(context: Context) -> Iterator[Unit]:
    """A unit for each model: seed by seed, so that a suite that is stopped has some of all."""
    for seed in range(context.run.config.suite.pirates.seeds):
        for training_set in training_sets(context):
            for model in models(context.run.config, training_set, seed):
                yield Unit(
                    unit_name("pirates", training_set, model, seed),
                    cost(context, training_set, model),
                    functools.partial(
                        train, context.run, context.folder, training_set, model, seed
                    ),
                    model_settings(context, model) | dict(training_set.depends),
                    () if training_set.of_generator else OF_GENERATOR,
                )


def unit_name(experiment: str, training_set: TrainingSet, model: str, seed: int) -> str:
    """The name of the unit of a model."""
    parts = training_set.name, training_set.defence, training_set.training, model, str(seed)
    return f"{experiment}/{'-'.join(filter(None, parts)).replace(' ', '-')}"


def models(config: ConfigDict, training_set: TrainingSet, seed: int) -> Iterator[str]:
    """The models of a training set: architectures, and 'NAME.safetensors frozen' or 'whole'.

    Published networks are trained in their own ways only, and linear classifiers on frozen features
    have no seed.
    """
    settings = config.suite.pirates
    for name in settings.architectures:
        if not is_published(name):
            yield name
        elif not training_set.training:
            yield from (
                f"{name} {way}" for way in settings.published.ways if way != "frozen" or seed == 0
            )


def cost(context: Context, training_set: TrainingSet, model: str) -> float:
    """About how long a model takes, in steps of a small network."""
    settings = context.run.config.suite.pirates
    way = model.partition(" ")[2]
    if not way:
        attacked = "classifiers.adversarial" in TRAININGS[training_set.training]
        return settings.steps * (2.0 if attacked else 1.0)
    count = settings.images or len(context.run.splits.train)
    count *= (settings.published.side / 160) ** 2
    epochs = settings.published.epochs if way == "whole" else 0
    return count * (_COST_OF_FEATURES * (2 + epochs) + _COST_OF_TUNING * epochs)


def model_settings(context: Context, model: str) -> dict[str, Any]:
    """The settings that a model depends on."""
    settings = context.run.config.suite.pirates
    name, _, way = model.partition(" ")
    if not way:
        return {name: settings[name] for name in ("steps", "looks", "images")}
    return {
        "images": settings.images,
        "network": published_pirates.identity(context.run, name),
        **{key: settings.published[key] for key in ("side", "epochs")[: 1 + (way == "whole")]},
    }


def train(
    run: TrainedRun,
    folder: pathlib.Path,
    training_set: TrainingSet,
    model: str,
    seed: int,
) -> dict[str, Any]:
    """Trains a model and tests it on all clean unseen originals.

    Args:
      run: data set and settings.
      folder: for the model while it is trained, and for features.
      training_set: its images.
      model: as `models` calls it.
      seed: number of the repetition.

    Returns:
      `images` (the name of the training set), `defence`, `training`, `architecture`, `seed`;
      `count`, the number of training images; `curve`, the accuracy after some steps; `peak`, the
      most of these; `last`, that of the finished model; `changed`, the share of training images
      that aren't the originals. The last four are None where there are fewer images than in a
      batch.
    """
    images = training_set.load()
    result = {
        "images": training_set.name,
        "defence": training_set.defence,
        "training": training_set.training,
        "architecture": model,
        "seed": seed,
        "count": len(images.images),
    }
    if result["count"] < run.config.classifiers.batch_size:
        return result | dict.fromkeys(("curve", "peak", "last", "changed"))
    own_folder = folder / "models" / pathlib.Path(unit_name("", training_set, model, seed)).name
    name, _, way = model.partition(" ")
    if way == "frozen":
        curve = published_pirates.train_frozen(run, folder, images, name)
    elif way == "whole":
        curve = published_pirates.train_whole(run, folder, own_folder, images, name, seed)
    else:
        curve = train_from_scratch(run, own_folder, images, training_set.training, name, seed)
    different = np.any(images.images != images.originals, axis=(1, 2, 3))
    return result | {
        "curve": curve,
        "peak": max(value for _, value in curve),
        "last": curve[-1][1],
        "changed": float(np.mean(different)),
    }


def table(results: Results, context: Context) -> Table:
    """A row for each training set, defence, training and architecture."""
    columns = {
        "trained on": lambda r: TITLES.get(r["images"], r["images"]),
        "defence": lambda r: r["defence"] or "none",
        "training": lambda r: r["training"] or "plain",
        "model": column("architecture"),
    }
    more: dict[str, Callable[[list[Mapping[str, Any]]], str]] = {
        "seeds": lambda group: str(sum(r["peak"] is not None for r in group)),
        "images": over("count", 0),
        "peak": over("peak"),
        "last": over("last"),
        **shares(results),
    }
    note = (
        "Accuracy on clean unseen originals: mean (least to most over the seeds). The last columns "
        "are shares of the mean of honest models of the same architecture: with the same defence "
        "and training, and undefended with plain training, as a pirate takes what gives him most."
    )
    for method in context.methods:
        if cells := headline(method, results, context):
            text = "; ".join(f"{row} {cell}" for row, cell in cells.items())
            note += f" {TITLES[method]}, of undefended: {text}."
    return over_seeds("Pirated models", note, results, columns, more)


def shares(every: Results) -> dict[str, Callable[[list[Mapping[str, Any]]], str]]:
    """Columns of `over_seeds`: accuracies of models as shares of those of honest models."""

    def of(score: str, undefended: bool = False) -> Callable[[list[Mapping[str, Any]]], str]:
        return lambda group: mean_and_range(
            [share_of_honest(result, every, score, undefended) for result in group], 2
        )

    return {
        "peak of honest": of("peak"),
        "last of honest": of("last"),
        "peak of undefended": of("peak", True),
    }


def share_of_honest(
    result: Mapping[str, Any], every: Results, score: str = "peak", undefended: bool = False
) -> float | None:
    """A model's accuracy as a share of the mean of honest models of its architecture.

    Args:
      result: of `train`.
      every: results, honest ones among them.
      score: 'peak' or 'last'.
      undefended: compares with honest models without defence and with plain training, not with
        those that have the model's.

    Returns:
      None where there is no such honest model, or the model was not trained.
    """
    kind = ("", "") if undefended else (result["defence"], result["training"])
    honest = [
        other[score]
        for other in every
        if other["images"] == HONEST
        and other["architecture"] == result["architecture"]
        and (other["defence"], other["training"]) == kind
        and other[score]
    ]
    if result[score] is None or not honest:
        return None
    return result[score] / statistics.fmean(honest)


def most_of_undefended(
    method: str, results: Results, of_file: bool, raw: bool = False
) -> tuple[float, str] | None:
    """The largest mean peak of pirated models, as a share of that of undefended honest models.

    Args:
      method: whose files they are trained on.
      results: of all models.
      of_file: of networks with published weights; else of those trained from scratch.
      raw: only of models that are trained plainly on files as they are.

    Returns:
      The share, and by which defence, training and architecture; None without such models.
    """
    chosen = [
        result
        for result in results
        if result["images"] == method
        and is_published(result["architecture"].partition(" ")[0]) == of_file
        and not (raw and (result["defence"] or result["training"]))
    ]
    found = []
    kinds = grouped(chosen, lambda r: (r["defence"] or "none", r["training"], r["architecture"]))
    for kind, group in kinds.items():
        each = [share_of_honest(result, results, undefended=True) for result in group]
        if numbers := [share for share in each if share is not None]:
            found.append((statistics.fmean(numbers), ", ".join(filter(None, kind))))
    return max(found, default=None)


def headline(method: str, results: Results, context: Context) -> dict[str, str]:
    """What pirates reach with files as they are, and with the defence that gives them most."""
    cells = {}
    for row, of_file in (("pirates", False), ("pirates with published weights", True)):
        if raw := most_of_undefended(method, results, of_file, raw=True):
            cells[row] = number(raw[0], 2)
        best = most_of_undefended(method, results, of_file)
        if best and not context.compared:
            cells[f"{row}, best defence"] = f"{number(best[0], 2)} ({best[1]})"
    return cells


def curves(results: Results, context: Context) -> str:
    """Learning curves of models, means over seeds, a plot for each architecture."""
    results = [result for result in results if result["curve"] and len(result["curve"]) > 1]
    architectures = list(dict.fromkeys(result["architecture"] for result in results))
    figure = figure_of(max(len(architectures), 1), width=9)
    for axis, architecture in zip(figure.axes, architectures, strict=False):
        trained = [result for result in results if result["architecture"] == architecture]
        groups = grouped(trained, lambda r: (r["images"], r["defence"], r["training"]))
        for index, ((images, *how), group) in enumerate(groups.items()):
            steps = [step for step, _ in group[0]["curve"]]
            values = np.mean([[value for _, value in r["curve"]] for r in group], axis=0)
            axis.plot(
                steps,
                values,
                ("-", "--", ":")[index // 10 % 3],
                color=f"C{index % 10}",
                label=", ".join(filter(None, (TITLES.get(images, images), *how))),
            )
        axis.set(title=architecture, xlabel="step")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].set_ylabel("accuracy on clean unseen images")
    if architectures:
        figure.axes[-1].legend(fontsize="x-small", ncols=2)
    return svg(figure)


def check(config: ConfigDict) -> None:
    """Stops at a pirate's architecture that is a target, and at a file that isn't there."""
    names = config.suite.pirates.architectures
    scratch = {name for name in names if not is_published(name)}
    if both := scratch & set(config.classifiers.targets):
        raise UserError(
            f"config.suite.pirates.architectures has {sorted(both)[0]!r}, which is a target: a "
            "pirate must be another network than those that were attacked"
        )
    for name in filter(is_published, names):
        weights_path(config, name)


EXPERIMENT = Experiment(
    name="pirates",
    units=units,
    table=table,
    plots=(curves,),
    settings={
        "suite.pirates.architectures": Each(NameOrFile(CLASSIFIERS, SUFFIX)),
        "suite.pirates.seeds": COUNT,
        "suite.pirates.steps": COUNT,
        "suite.pirates.looks": COUNT,
        "suite.pirates.images": NATURAL,
        "suite.pirates.defences": Each(Joined(PARTS), least=0),
        "suite.pirates.trainings": Each(
            Joined(PARTS, first=tuple(filter(None, TRAININGS))), least=0
        ),
        "suite.pirates.shares": Each(Number(0, 1, strict=True), least=0),
        "suite.pirates.published.ways": Each(OneOf(published_pirates.WAYS)),
        "suite.pirates.published.side": Number(32, 512, whole=True),
        "suite.pirates.published.epochs": COUNT,
    },
    check=check,
    headline=headline,
    compares=True,
)
