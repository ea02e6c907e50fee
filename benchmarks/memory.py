"""What a training step takes of a device's memory, against the depth of the learned stage.

    python benchmarks/memory.py --config=configs/caltech101.py
    python benchmarks/memory.py --config=configs/base.py --depths=2,4 --memory=plain,reversible

One line for each number of blocks a level and each `config.train.memory`: the whole step's memory
on one device, as the compiler counts it, the part beside weights and optimizer (activations and
gradients), and the median wall time and CPU time of a step. Random images, untrained classifiers.
"""

import pathlib
import statistics
import time

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from raeg_jax.config import command_line

_DEPTHS = flags.DEFINE_list("depths", ["2", "4", "8", "16"], "Numbers of blocks a level.")
_MEMORY = flags.DEFINE_list("memory", ["plain", "remat", "reversible"], "What blocks keep.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed steps after the first.", lower_bound=1)


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Takes a few steps of each network."""
    del workdir
    from raeg_jax.config.validate import validate
    from raeg_jax.networks.classifiers import build_classifier

    size, batch_size = config.data.image_size, config.train.batch_size
    random = np.random.RandomState(0)
    batch = {
        "image": random.randint(0, 256, (batch_size, size, size, 3)).astype(np.uint8),
        "label": random.randint(0, 10, batch_size).astype(np.int32),
    }
    blank = np.zeros((1, size, size, 3), np.float32)
    targets = {}
    for name in config.classifiers.targets:
        net = build_classifier(name, 10)
        targets[name] = net, jax.jit(lambda net=net: net.init(jax.random.key(0), blank, False))()
    print(f"{config.name}, {size} px, batch {batch_size}, {jax.devices()[0]}")
    print("| blocks a level | memory | whole step, MiB | beside weights, MiB | wall s | CPU s |")
    print("|---|---|---|---|---|---|")
    for depth in map(int, _DEPTHS.value):
        config.generator.blocks = (depth,) * len(config.generator.widths)
        for memory in _MEMORY.value:
            config.train.memory = memory
            validate(config)
            whole, beside, wall, cpu = measure(config, targets, batch)
            print(
                f"| {depth} | {memory} | {whole / 2**20:.0f} | {beside / 2**20:.0f} "
                f"| {wall:.2f} | {cpu:.2f} |",
                flush=True,
            )


def measure(config, targets, batch) -> tuple[float, float, float, float]:
    """Bytes of a step, those beside weights and optimizer, and median seconds of wall and CPU."""
    from raeg_jax.generator.unet import unet_from_config
    from raeg_jax.training.optimizers import create_state
    from raeg_jax.training.parallel import ParallelStep
    from raeg_jax.training.step import frozen_of, make_train_step
    from raeg_jax.workdir.processes import replicate

    device = jax.devices()[:1]
    generator = unet_from_config(config.generator, config.train.memory)
    state = create_state(config, generator, None, jax.random.key(0))
    state, frozen = replicate(state, device), replicate(frozen_of(config, targets), device)
    inputs = sum(leaf.nbytes for leaf in jax.tree.leaves((state, frozen, batch)))
    modules = {name: net for name, (net, _) in targets.items()}
    step = ParallelStep(make_train_step(config, generator, None, modules), config.parallel, device)
    walls, cpus = [], []
    for _ in range(1 + _REPEATS.value):
        wall, cpu = time.perf_counter(), time.process_time()
        state, metrics = step(state, frozen, batch)
        jax.block_until_ready((state, metrics))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    whole = step.memory or 0
    return whole, whole - inputs, statistics.median(walls[1:]), statistics.median(cpus[1:])


if __name__ == "__main__":
    command_line.run(main)
