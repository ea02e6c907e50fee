"""Learns the patterns of a run, once for each workdir, together with surrogates.

The result is saved in `workdir/patterns` and used again as long as the data and the settings that
it depends on are the same. Training that was stopped resumes. `pattern_step` has the objective.
"""

import pathlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.generator.shortcut import MOST_CLASSES
from raeg_jax.training import parallel
from raeg_jax.training.loop import Loop
from raeg_jax.training.pattern_step import (
    create_state,
    first_patterns,
    make_pattern_step,
    to_int8,
)
from raeg_jax.training.surrogates import Surrogates
from raeg_jax.workdir.checkpoint_folder import DamagedError
from raeg_jax.workdir.patterns import (
    check_same_patterns,
    origin_of_patterns,
    patterns_folder,
    read_patterns,
    save_patterns,
)
from raeg_jax.workdir.processes import replicate, say
from raeg_jax.workdir.unfinished import UnfinishedCheckpoint

# Of the learning rate, what the last step has.
_LAST_RATE = 0.05


def ensure_patterns(
    config: ConfigDict, splits: data.Splits, workdir: pathlib.Path
) -> np.ndarray | None:
    """Loads the learned patterns of a run; learns them if the workdir lacks them.

    Training that was stopped resumes: bit for bit on CPU.

    Args:
      config: the whole configuration, of a generator with learned patterns.
      splits: the data set.
      workdir: folder of the run.

    Returns:
      int8 [classes, variants, side, side, 3]; None if a signal (SIGTERM or Ctrl-C) stopped the
      training, with a checkpoint saved.

    Raises:
      UserError: patterns of other data or settings are there, the loss is not finite, or the batch
        is larger than the data set.
    """
    check_same_patterns(config, splits, workdir)
    try:
        patterns = read_patterns(workdir)
    except DamagedError as error:
        say(f"note: {error}: the patterns are learned again")
        patterns = None
    if patterns is not None:
        return patterns
    origin = origin_of_patterns(splits, config)
    with UnfinishedCheckpoint(patterns_folder(workdir), origin) as checkpoint:
        learned, loop = _train(config, splits, workdir, checkpoint)
        if loop.signal:
            say(
                f"stopped by {loop.signal} after step {loop.step} of {config.patterns.steps} of "
                f"the patterns; all is saved in {workdir}: the same command resumes"
            )
            return None
        patterns = to_int8(learned)
        save_patterns(workdir, patterns, origin)
        checkpoint.remove()
    return patterns


def _train(
    config: ConfigDict,
    splits: data.Splits,
    workdir: pathlib.Path,
    checkpoint: UnfinishedCheckpoint,
) -> tuple[np.ndarray, Loop]:
    """Takes the steps; returns float32 patterns, and the loop, which knows step and signal."""
    settings = config.patterns
    seed = zlib.crc32(f"{config.seed} patterns".encode())
    plain = config.copy_and_resolve_references()
    # Images are flipped behind the pattern, as pirates flip those that have it.
    plain.augment.flip = False
    stream = parallel.host_batches(plain, splits.train, "patterns", seed, crop=False)
    surrogates = Surrogates(config, splits.num_classes)
    # Toward the end small steps: what is left of the noise of batches goes into the patterns.
    rate = optax.cosine_decay_schedule(settings.learning_rate, settings.steps, _LAST_RATE)
    optimizer = optax.adam(rate)
    classes = min(splits.num_classes, MOST_CLASSES)
    shape = (classes, settings.variants, settings.grid, settings.grid, 3)
    first = first_patterns(shape, seed)
    start = 0
    if restored := checkpoint.restore(
        jax.eval_shape(lambda: create_state(first, optimizer, surrogates))
    ):
        start, state, position = restored
        stream.set_state(position)
        say(f"resuming the patterns after step {start}")
    else:
        state = create_state(first, optimizer, surrogates)
    state, frozen = replicate(state), replicate({"seed": jnp.uint32(seed)})
    step_fn = parallel.ParallelStep(
        make_pattern_step(config, surrogates, optimizer), config.parallel
    )
    with Loop(
        "learning patterns", patterns_folder(workdir), start, config, "patterns",
        lambda: "lower config.classifiers.learning_rate or config.patterns.learning_rate",
    ) as loop:  # fmt: skip
        for step in loop:
            state["surrogates"] = surrogates.renew(state["surrogates"], step)
            state, metrics = step_fn(state, frozen, next(stream))
            loop.record(metrics)
            if loop.stopping or loop.is_due(config.train.checkpoint_every):
                with loop.pause("saving a checkpoint…"):
                    checkpoint.save(step, state, stream.get_state())
    stream.close()
    return np.asarray(jax.device_get(state["patterns"])), loop
