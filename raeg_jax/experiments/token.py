"""What the secret token protects: recovery with it and without, and what several tokens are worth.

Somebody who has the generator's weights, but not the key, can run it backward with other tokens. In
this experiment he is given more than he would have: the side information and clipped values that a
payload keeps encrypted. Of the side information the class is the only part that is easily had
elsewhere, from a data set's labels. So it is about pixels, not files.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.config.rules import COUNT, NATURAL, Each
from raeg_jax.evaluation import programs, protectors
from raeg_jax.evaluation.scores import measure_kinds
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table, column, decibels, number, table_of
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.class_planes import ClassInfo
from raeg_jax.generator.learned_pattern import Place
from raeg_jax.image.quantise import to_uint8
from raeg_jax.networks.classifiers import LogitsFn
from raeg_jax.payload.key import CELL
from raeg_jax.protection.predict import attack_loss


def units(context: Context) -> Iterator[Unit]:
    """One unit; none where the generator has no token."""
    if context.run.chain.token_planes:
        settings = context.run.config.suite
        runs = 5 + settings.guesses + max(settings.tries, default=0)
        depends = {name: settings[name] for name in ("images", "guesses", "tries")}
        depends |= context.read_by
        cost = (settings.images or 1000) * 0.15 * runs
        yield Unit("token/ways", cost, lambda: measure(context), depends)


def measure(context: Context) -> dict[str, Any]:
    """Undoes unseen images in all ways of `undo`, and protects them with the best of some tokens.

    Returns:
      What `measure_kinds` measures of 'protected', of each way to undo, and of 'protected, best of
      N'.
    """
    run, settings = context.run, context.run.config.suite
    attacked = tuple(run.frozen[name] for name in run.targets)

    def make(index, originals, labels):
        token = protectors.draw_token(run.chain, index, *originals.shape[1:3])
        labels = programs.labels_of_attack(attacked, originals, labels)
        place = protectors.draw_place(run.chain, index, *originals.shape[1:3])
        values, side_info = forward(run.chain, originals, labels, token, place)
        protected, _ = programs.png_roundtrip(np.asarray(to_uint8(values)))
        seen = programs.classify({"target": attacked[0]}, protected)["target"]
        ways = {"protected": protected}
        ways |= undo(run.chain, index, values, side_info, settings.guesses, seen)
        tries = max(settings.tries, default=0)
        for count, best in best_of(run.chain, attacked, index, originals, labels, tries):
            if count in settings.tries:
                ways[f"protected, best of {count}"] = best
        return ways

    images, labels = run.images("test", settings.images)
    size = run.batch_size(labels)
    return measure_kinds(run.read_by, make, images, labels, size, "undoing")[0]


@jax.jit
def forward(
    generator: Chain,
    images: jax.Array,
    labels: jax.Array,
    token: jax.Array,
    place: Place | None = None,
) -> tuple[jax.Array, Any]:
    """Protects uint8 [B, H, W, 3]: the values before clipping, float32, and side information."""
    return generator.forward(images.astype(jnp.float32), labels, token, place=place)


def undo(
    generator: Chain,
    index: np.ndarray,
    protected: jax.Array | np.ndarray,
    side_info: Any,
    guesses: int,
    seen: jax.Array | np.ndarray,
) -> dict[str, np.ndarray]:
    """Recovers a batch with its token, and in all ways that somebody without it might try.

    Args:
      generator: with token planes.
      index: int [B], the images' numbers, as `protectors.draw_token` takes them.
      protected: float32 [B, H, W, 3], as `forward` made them.
      side_info: of these images.
      guesses: wrong tokens to try for the last two ways.
      seen: int32 [B], the classes that a classifier takes the protected images for.

    Returns:
      Images uint8 [B, H, W, 3] by way: 'right token'; 'one cell off', a single sign of the token
      is wrong; 'wrong token'; where stages depend on the class 'wrong token, class as seen', if the
      true class is not known either; 'no token', zeros in its place; 'mean of N wrong', of what N
      wrong tokens recover; 'smoothest of N wrong', of these the one of least total variation.
    """
    height, width = protected.shape[1:3]

    def draw(key):
        return protectors.draw_token(generator, index, height, width, key)

    def recover(key, token=None, side_info=side_info):
        token = draw(key) if token is None else token
        place = protectors.draw_place(generator, index, height, width, key)
        return np.asarray(programs.recover(generator, protected, side_info, token, place))

    right, wrong = protectors.RIGHT_KEY, protectors.WRONG_KEY
    one_off = draw(right).copy()
    # In the middle of the image.
    row, column = (length // 2 // CELL * CELL for length in (height, width))
    one_off[:, row : row + CELL, column : column + CELL, 0] *= -1
    ways = {
        "right token": recover(right),
        "one cell off": recover(right, one_off),
        "wrong token": recover(wrong),
    }
    if any(isinstance(stage, ClassInfo) for stage in side_info):
        guessed = tuple(
            dataclasses.replace(stage, label=jnp.asarray(seen))
            if isinstance(stage, ClassInfo)
            else stage
            for stage in side_info
        )
        ways["wrong token, class as seen"] = recover(wrong, side_info=guessed)
    ways["no token"] = recover(wrong, np.zeros_like(one_off))
    if guesses:
        total = np.zeros(protected.shape, np.float64)
        smoothest = None
        for guess in range(guesses):
            recovered = recover(b"guess %d" % guess)
            total += recovered
            smoothest = keep_best(smoothest, recovered, np.asarray(_variation(recovered)))
        ways[f"mean of {guesses} wrong"] = np.round(total / guesses).astype(np.uint8)
        assert smoothest is not None
        ways[f"smoothest of {guesses} wrong"] = smoothest[0]
    return ways


def keep_best(
    best: tuple[np.ndarray, np.ndarray] | None, images: np.ndarray, costs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of two versions of each image the one of least cost.

    Args:
      best: what this function returned for earlier versions; None for the first.
      images: another version, uint8 [B, H, W, 3].
      costs: its costs [B].

    Returns:
      The best images so far, and their costs.
    """
    if best is None:
        return images, costs
    better = costs < best[1]
    return np.where(better[:, None, None, None], images, best[0]), np.minimum(best[1], costs)


@jax.jit
def _variation(images):
    """Mean absolute difference of neighbours, [B]."""
    x = images.astype(jnp.float32)
    rows = jnp.abs(x[:, 1:] - x[:, :-1]).mean((1, 2, 3))
    return rows + jnp.abs(x[:, :, 1:] - x[:, :, :-1]).mean((1, 2, 3))


def best_of(
    generator: Chain,
    attacked: tuple[LogitsFn, ...],
    index: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    tries: int,
) -> Iterator[tuple[int, np.ndarray]]:
    """Protects a batch with several tokens and keeps the image that misleads the targets most.

    Args:
      generator: with token planes.
      attacked: the target classifiers.
      index: int [B], the images' numbers.
      images: uint8 [B, H, W, 3].
      labels: int32 [B].
      tries: most tokens.

    Yields:
      For 1, 2, ... `tries` tokens: how many, and the best images so far, uint8 [B, H, W, 3].
    """
    best = None
    height, width = images.shape[1:3]
    for count in range(1, tries + 1):
        key = protectors.RIGHT_KEY if count == 1 else b"try %d" % (count - 1)
        token = protectors.draw_token(generator, index, height, width, key)
        place = protectors.draw_place(generator, index, height, width, key)
        protected, _, _ = programs.protect(generator, images, labels, token, place)
        losses = np.asarray(attack_loss(attacked, protected, labels))
        best = keep_best(best, np.asarray(protected), losses)
        yield count, best[0]


def table(results: Results, context: Context) -> Table:
    """A row for each way."""
    (result,) = results
    rows = [{**result, "kind": way} for way in result["psnr"]]
    columns = {
        "undone with": column("kind"),
        "PSNR, dB": lambda row: decibels(row["psnr"][row["kind"]]),
        "exact": lambda row: number(row["exact"][row["kind"]]),
    }
    note = (
        "Unseen images, undone with their side information (as the class) and clipped values; the "
        "last rows: the protected image that misleads the targets most, of several tokens."
    )
    return table_of("Secret token", note, rows, columns, {"{}": ("accuracy", None)})


EXPERIMENT = Experiment(
    name="token",
    units=units,
    table=table,
    settings={"suite.guesses": NATURAL, "suite.tries": Each(COUNT, least=0)},
)
