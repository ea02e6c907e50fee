"""What defences, and removers trained on leaked pairs, bring back on unseen protected images."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.compilation import ProgressBar
from raeg_jax.config.rules import COUNT, NATURAL, Each
from raeg_jax.evaluation.scores import mean_score, measure_kinds
from raeg_jax.experiments.context import Context, ProtectedSet
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.plots import figure_of, svg
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table, column, decibels, number, table_of
from raeg_jax.generator.conditioner import UNetConditioner
from raeg_jax.image.quantise import to_uint8
from raeg_jax.methods.registry import TITLES

# In the table of all experiments.
_HEADLINES = ("jpeg_90", "jpeg_50", "blur_1", "noise_nl_means")
# The remover: a small residual U-Net, as for denoising.
_NET = UNetConditioner(features=3, width=32, depth=2)
_SCALE = 64.0
_RATE = 2e-3
_BATCH_SIZE = 32

Change = Callable[[Any], Any]


def units(context: Context) -> Iterator[Unit]:
    """A unit for each method and defence, and for each number of pairs leaked of the generator."""
    settings, most = context.run.config.suite, context.most(context.psnr)
    cost = (most or 1000) * 0.05
    for method in context.methods:
        depends = context.depends(method, context.psnr) | {"images": most} | context.read_by
        for name, defend in DEFENCES.items():
            yield Unit(
                f"defences/{method}-{name}",
                cost,
                functools.partial(measure, context, method, name, defend),
                depends,
            )
        for pairs in () if context.compared else settings.remover_pairs:
            yield Unit(
                f"defences/{method}-{remover_name(pairs)}",
                cost + settings.remover_steps * 0.5,
                functools.partial(measure_remover, context, method, pairs),
                depends | remover_settings(context),
            )


def measure(context: Context, method: str, name: str, defend: Change) -> dict[str, Any]:
    """Classifies defended files.

    Returns:
      `method`, `defence`, and what `measure_kinds` measures of the 'defended original' and of the
      'defended' file; no `classifiers` where there is no file.
    """
    protected = context.protected(method, context.psnr)
    result: dict[str, Any] = {"method": method, "defence": name}
    files = protected.files
    if not len(files.kept):
        return result | {"classifiers": {}}

    def make(index, originals, labels):
        return {
            "defended original": np.asarray(defend(originals)),
            "defended": np.asarray(defend(files.images[index])),
        }

    originals, size = protected.originals(), protected.batch_size
    return result | measure_kinds(context.run.read_by, make, *originals, size)[0]


def measure_remover(context: Context, method: str, pairs: int) -> dict[str, Any]:
    """As `measure`, with a remover that was trained on so many leaked pairs; 0 for all."""
    remove = remover(context.leaked(method), pairs)
    return measure(context, method, remover_name(pairs), remove)


def remover_name(pairs: int) -> str:
    """The name of the remover that was trained on so many pairs; 0 for all."""
    return f"remover_{pairs or 'all'}"


def remover_settings(context: Context) -> dict[str, Any]:
    """The settings that removers depend on."""
    settings = context.run.config.suite
    return {"remover_steps": settings.remover_steps, "leaked of": settings.pirates.images}


def remover(leaked: ProtectedSet, pairs: int) -> Change:
    """A network that turns files back, trained on so many leaked pairs; 0 for all."""
    originals, files = leaked.originals()[0], leaked.files.images
    index = choose(len(originals), pairs)
    config = leaked.run.config
    return train_remover(originals[index], files[index], config.suite.remover_steps, config.seed)


def choose(count: int, chosen: int) -> np.ndarray:
    """Numbers of so many of `count` images, drawn at random from all over them; 0 for all."""
    chosen = min(chosen or count, count)
    return np.random.RandomState(0).permutation(count)[:chosen]


def train_remover(
    originals: np.ndarray, protected: np.ndarray, steps: int, seed: int = 0
) -> Change:
    """Fits a residual U-Net that turns protected images back, by their mean squared error.

    Adam with a cosine schedule; images are flipped at random.

    Args:
      originals: uint8 [N, H, W, 3].
      protected: uint8 [N, H, W, 3], the same images.
      steps: of training.
      seed: of the weights and the draws.

    Returns:
      A function from protected to cleaned images, both uint8 [B, H, W, 3].
    """
    params = _NET.init(jax.random.key(seed), jnp.zeros((1, *originals.shape[1:])))["params"]
    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, steps))
    state, random = optimizer.init(params), np.random.default_rng(seed)
    batch_size = min(_BATCH_SIZE, len(originals))

    def loss(params, x, y):
        return jnp.mean((_clean(params, y) - x) ** 2)

    @jax.jit
    def step(params, state, x, y):
        grads = jax.grad(loss)(params, x.astype(jnp.float32), y.astype(jnp.float32))
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state

    for _ in ProgressBar(range(steps), desc=f"fitting a remover on {len(originals)} pairs"):
        chosen = random.integers(0, len(originals), batch_size)
        direction = slice(None, None, -1 if random.random() < 0.5 else 1)
        pairs = (images[chosen][:, :, direction] for images in (originals, protected))
        params, state = step(params, state, *pairs)
    cleaned = jax.jit(lambda y: to_uint8(_clean(params, y.astype(jnp.float32))))
    return lambda images: np.asarray(cleaned(images))


def _clean(params, y):
    return y + jnp.asarray(_NET.apply({"params": params}, y / _SCALE)) * _SCALE


def table(results: Results, context: Context) -> Table:
    """A row for each method and defence."""
    columns = {
        "method": lambda result: TITLES[result["method"]],
        "defence": column("defence"),
        "PSNR, dB": lambda r: decibels(r["psnr"]["defended"]) if r["classifiers"] else "",
    }
    scores = {
        "{} original": ("accuracy", "defended original"),
        "{}": ("accuracy", "defended"),
        "{} success": ("attack_success", "defended"),
    }
    note = (
        "Unseen images. Accuracy on equally defended originals and on defended files, and attack "
        "success: of the originals classified correctly, the share whose defended file is not. "
        "PSNR: from the original."
    )
    return table_of("Defences", note, results, columns, scores)


def headline(method: str, results: Results, context: Context) -> dict[str, str]:
    """What is left of the attack on the targets after some defences."""
    targets = context.run.targets
    return {
        f"attack success on targets after {result['defence']}": number(
            mean_score(result["classifiers"], "attack_success", "defended", targets)
        )
        for result in results
        if result["method"] == method and result["defence"] in _HEADLINES
    }


def bars(results: Results, context: Context) -> str:
    """Accuracy of the targets on defended originals and on defended files of each method."""
    figure = figure_of(1, width=9)
    results = [result for result in results if result["classifiers"]]
    names = list(dict.fromkeys(result["defence"] for result in results))
    methods = list(dict.fromkeys(result["method"] for result in results))
    width = 0.8 / (len(methods) + 1)
    for number_of_bar, method in enumerate(("", *methods)):
        kind = "defended" if method else "defended original"
        found = {r["defence"]: r for r in results if r["method"] == (method or methods[0])}
        values = [
            mean_score(found[name]["classifiers"], "accuracy", kind, context.run.targets) or 0.0
            if name in found
            else 0.0
            for name in names
        ]
        offset = (number_of_bar - len(methods) / 2) * width
        label = TITLES[method] if method else "original"
        figure.axes[0].bar(np.arange(len(names)) + offset, values, width, label=label)
    figure.axes[0].set_xticks(np.arange(len(names)), names, rotation=45, ha="right")
    figure.axes[0].set(ylabel="accuracy of targets", ylim=(0, 1))
    figure.axes[0].legend()
    return svg(figure)


EXPERIMENT = Experiment(
    name="defences",
    units=units,
    table=table,
    plots=(bars,),
    settings={"suite.remover_steps": COUNT, "suite.remover_pairs": Each(NATURAL, least=0)},
    headline=headline,
    compares=True,
)
