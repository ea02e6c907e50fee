"""How fast a configuration trains, protects and recovers on this machine.

    python benchmarks/throughput.py --config=configs/caltech101.py
    python benchmarks/throughput.py --config=configs/caltech101.py:cpu --peak_tflops=0.4

Random images and untrained classifiers: speed does not depend on them, but for the number of
rounds of a gradient stage. Prints images per second of the training step (all devices) and of the
generator both ways (one device), and of the learned stage the arithmetic that XLA counts for them
and, with `--peak_tflops`, the peak of one device, the share of it. A generator with other stages
has neither: their rounds and the steps in them are loops, whose body XLA counts once. Of a study
(configs/ablation.py) it times what all variants share, and says how long all runs take.
"""

import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from raeg_jax.config import command_line

_PEAK = flags.DEFINE_float("peak_tflops", 0.0, "Peak of one device in TFLOP/s, if known.")
_CLASSES = flags.DEFINE_integer("classes", 101, "Number of classes of the classifiers.")
_REPEATS = flags.DEFINE_integer(
    "repeats", 10, "Timed calls, of which the median counts.", lower_bound=1
)


def report(name: str, call, images: int, flops: float | None, devices: int) -> float:
    """Times `call` after one warm-up and prints a line; without arithmetic where not known.

    Returns:
      The median seconds.
    """
    seconds = median_time(call, _REPEATS.value)
    line = f"{name:10} {images / seconds:10.1f} images/s"
    if flops is not None:
        rate = flops / seconds / 1e12
        line += f" {rate:8.3f} TFLOP/s"
        line += f", {rate / (_PEAK.value * devices):.1%} of peak" if _PEAK.value else ""
    print(line, flush=True)
    return seconds


def median_time(call: Callable[[], Any], repeats: int) -> float:
    """The median seconds until a call's arrays are there, after a first call that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def flops_of(program: jax.stages.Lowered) -> float | None:
    """The arithmetic of a program, as XLA counts it; None where it doesn't."""
    return (program.cost_analysis() or {}).get("flops")


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Builds everything as training does, and times it."""
    from raeg_jax.compilation import duration
    from raeg_jax.config.validate import validate
    from raeg_jax.evaluation import programs, protectors
    from raeg_jax.generator.build import build_generator
    from raeg_jax.networks import classifiers
    from raeg_jax.workdir.study import is_study, study_runs

    validate(config)
    # Gradient stages are not trained.
    learned = "learned" in config.generator.stages
    size, batch_size = config.data.image_size, config.train.batch_size
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (batch_size, size, size, 3)).astype(np.uint8)
    labels = random.randint(0, _CLASSES.value, batch_size).astype(np.int32)
    batch = {"image": images, "label": labels}
    key = jax.random.key(config.seed)

    targets = {
        name: classifiers.build_classifier(name, _CLASSES.value)
        for name in config.classifiers.targets
    }
    blank = np.zeros((1, size, size, 3), np.float32)
    frozen = {
        name: jax.jit(lambda k, net=net: net.init(k, blank, train=False))(key)
        for name, net in targets.items()
    }
    params, train, step_flops = (
        training(config, key, targets, frozen, batch) if learned else (None,) * 3
    )
    chain = build_generator(config, params, {k: (net, frozen[k]) for k, net in targets.items()})
    token = protectors.draw_token(chain, np.arange(batch_size), size, size)
    way_flops = None
    if tuple(config.generator.stages) == ("learned",):
        way_flops = flops_of(programs.protect.lower(chain, images, labels, token))

    device = jax.devices()[0]
    print(f"{config.name}, {size} px, batch {batch_size}, {jax.device_count()} x {device}")
    protected, _, code = programs.protect(chain, images, labels, token)
    for name, call in (
        ("protect", lambda: programs.protect(chain, images, labels, token)),
        ("recover", lambda: programs.recover(chain, protected, code, token)),
    ):
        report(name, call, batch_size, way_flops, 1)
    if learned:
        seconds = report("train", train, batch_size, step_flops, jax.device_count())
        if is_study(config):
            runs = study_runs(config, workdir)
            runs = [run for run in runs if "learned" in run.config.generator.stages]
            steps = sum(run.config.train.steps for run in runs)
            took = duration(steps * seconds)
            print(f"study: {len(runs)} runs, {steps} steps in all, which take {took} if alike")


def training(config: ConfigDict, key, targets, frozen, batch):
    """The learned stage's first parameters, a call that takes a training step, and its FLOPs."""
    from raeg_jax.generator.unet import unet_from_config
    from raeg_jax.networks.discriminator import Discriminator
    from raeg_jax.training import parallel
    from raeg_jax.training.optimizers import create_state
    from raeg_jax.training.step import frozen_of, make_train_step
    from raeg_jax.workdir import processes as state_lib

    generator = unet_from_config(config.generator, config.train.memory)
    discriminator = Discriminator(**config.discriminator) if config.loss.weight.gan else None
    state = create_state(config, generator, discriminator, key)
    frozen = frozen_of(config, {name: (net, frozen[name]) for name, net in targets.items()})
    step_fn = make_train_step(config, generator, discriminator, targets)
    # XLA's own count, of one device's part of the step.
    alone = jax.jit(jax.vmap(step_fn, axis_name="batch", in_axes=(None, None, 0)))
    whole = {name: value[None] for name, value in batch.items()}
    flops = flops_of(alone.lower(state, frozen, whole))
    step = parallel.ParallelStep(step_fn, config.parallel, jax.devices())
    holder = {"state": state_lib.replicate(state), "frozen": state_lib.replicate(frozen)}

    def train():
        holder["state"], metrics = step(holder["state"], holder["frozen"], batch)
        return metrics

    return state.params, train, flops


if __name__ == "__main__":
    command_line.run(main)
