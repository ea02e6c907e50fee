"""The same work in JAX and in PyTorch, on this machine: couplings, training, gradient rounds.

    pip install .[parity]
    python benchmarks/against_torch.py --threads=2
    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/against_torch.py --threads=1

- couplings both ways: ours, of the variant 'glow', and FrEIA's GLOWCouplingBlock with the same
  weights, which must give the same pixels;
- a training step of either: mean squared error to other images, Adam;
- gradient rounds (float, one target): our stage, which can be undone, against an irreversible PGD
  in PyTorch with as many gradients of the same architecture.

Prints wall time and CPU time of all threads in milliseconds a batch, the least of a few calls.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

_THREADS = flags.DEFINE_integer("threads", 2, "Of PyTorch; JAX takes all cores it may use.", 1)
_IMAGES = flags.DEFINE_integer("images", 16, "In a batch.", 1)
_SIDE = flags.DEFINE_integer("side", 64, "Of the images, in pixels; couplings see half of it.", 32)
_BLOCKS = flags.DEFINE_integer("blocks", 4, "Couplings, one after the other.", 1)
_WIDTH = flags.DEFINE_integer("width", 32, "Of their conditioners, of two convolutions.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 4, "Of the gradient stage, with 6 gradients each.", 1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Calls, of which the fastest counts.", 1)
# Channels of an image at half the resolution; of a half; and what our couplings divide pixels by,
# and multiply shifts and log scales by.
_CHANNELS, _HALF, _IN, _SHIFT, _LOG_SCALE, _CLAMP = 12, 6, 64.0, 8.0, 1 / 16, 1.0


def main(rest: list[str]) -> None:
    """Times and prints."""
    del rest
    import torch

    torch.set_num_threads(_THREADS.value)
    print(f"JAX {jax.__version__}, PyTorch {torch.__version__}, {jax.devices()[0]}")
    print("| what | JAX, wall ms | CPU ms | PyTorch, wall ms | CPU ms |\n|---|---|---|---|---|")
    for name, ours, theirs in (*couplings(), gradient_rounds()):
        cells = [f"{ms:.1f}" for call in (ours, theirs) for ms in least(call)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def least(call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds, wall and CPU, of the fastest call after a first one."""
    jax.block_until_ready(call())
    times = []
    for _ in range(_REPEATS.value):
        wall, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(call())
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return 1e3 * min(wall for wall, _ in times), 1e3 * min(cpu for _, cpu in times)


def couplings():
    """Forward, inverse and a training step: (name, ours, FrEIA's) each."""
    import FrEIA.framework
    import FrEIA.modules
    import torch

    from raeg_jax.generator.conditioner import PlainConditioner
    from raeg_jax.generator.coupling import Coupling

    side, random = _SIDE.value // 2, np.random.RandomState(0)
    x, goal = (
        random.uniform(0, 255, (_IMAGES.value, side, side, _CHANNELS)).astype(np.float32)
        for _ in range(2)
    )
    layer = Coupling("glow", functools.partial(PlainConditioner, width=_WIDTH.value, depth=1))
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), x[:1], method="forward"))
    weights = [
        jax.tree.map(lambda p: (0.05 * random.randn(*p.shape)).astype(np.float32), shapes)
        for _ in range(_BLOCKS.value)
    ]
    network = FrEIA.framework.SequenceINN(_CHANNELS, side, side)
    for block in weights:
        network.append(
            FrEIA.modules.GLOWCouplingBlock,
            subnet_constructor=_subnet,
            clamp=_CLAMP,
            clamp_activation="TANH",
        )
        module = network.module_list[-1]
        _fill(module.subnet2, block["params"]["first"])
        _fill(module.subnet1, block["params"]["second"])

    def run(weights, x, method="forward"):
        order = weights if method == "forward" else weights[::-1]
        for block in order:
            x = layer.apply(block, x, method=method)
        return x

    def theirs(images, rev):
        with torch.no_grad():
            return network(images, rev=rev)[0]

    forward = jax.jit(run)
    inverse = jax.jit(functools.partial(run, method="inverse"))
    y = forward(weights, x)
    nchw = {name: torch.tensor(np.transpose(v, (0, 3, 1, 2))) for name, v in
            {"x": x, "y": np.asarray(y), "goal": goal}.items()}  # fmt: skip
    np.testing.assert_allclose(
        np.transpose(theirs(nchw["x"], False).numpy(), (0, 2, 3, 1)), y, atol=1e-2
    )
    yield "couplings, forward", lambda: forward(weights, x), lambda: theirs(nchw["x"], False)
    yield "couplings, inverse", lambda: inverse(weights, y), lambda: theirs(nchw["y"], True)

    optimizer = optax.adam(1e-4)
    torch_optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    @jax.jit
    def step(weights, state):
        grads = jax.grad(lambda w: jnp.mean((run(w, x) - goal) ** 2))(weights)
        changes, state = optimizer.update(grads, state, weights)
        return optax.apply_updates(weights, changes), state

    holder = [weights, optimizer.init(weights)]

    def our_step():
        holder[:] = step(*holder)
        return holder[0]

    def their_step():
        torch_optimizer.zero_grad()
        ((network(nchw["x"])[0] - nchw["goal"]) ** 2).mean().backward()
        torch_optimizer.step()

    yield "couplings, training step", our_step, their_step


def _subnet(channels_in, channels_out):
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels_in, _WIDTH.value, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(_WIDTH.value, channels_out, 3, padding=1),
    )


def _fill(net, params) -> None:
    """Gives a subnet our weights; our constants are folded into them."""
    import torch

    first, last = (params["scale_and_shift"]["PlainConditioner_0"][f"Conv_{i}"] for i in range(2))
    out = np.repeat(np.array([_LOG_SCALE / _CLAMP, _SHIFT], np.float32), _HALF)
    for layer, conv, into, factor in ((net[0], first, _IN, None), (net[2], last, 1.0, out)):
        kernel, bias = np.transpose(conv["kernel"], (3, 2, 0, 1)) / into, conv["bias"]
        if factor is not None:
            kernel, bias = kernel * factor[:, None, None, None], bias * factor
        layer.weight.data = torch.tensor(kernel.astype(np.float32))
        layer.bias.data = torch.tensor(bias.astype(np.float32))


def gradient_rounds():
    """Our gradient stage and a PGD in PyTorch with as many gradients: (name, ours, theirs)."""
    import torch
    from torch import nn
    from torch.nn import functional

    from configs import base
    from raeg_jax.evaluation import programs, protectors
    from raeg_jax.generator.build import build_generator
    from raeg_jax.networks.classifiers import build_classifier

    config, side, classes = base.get_config(), _SIDE.value, 10
    config.generator.stages = ("gradient",)
    # So far away that all rounds are taken.
    config.generator.gradient.update(arithmetic="float", rounds=_ROUNDS.value, target_psnr=20.0)
    config.generator.gradient.step = 0.2
    config.classifiers.targets = ("vgg_small",)
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (_IMAGES.value, side, side, 3)).astype(np.uint8)
    labels = random.randint(0, classes, len(images)).astype(np.int32)
    module = build_classifier("vgg_small", classes)
    variables = jax.jit(lambda: module.init(jax.random.key(0), jnp.float32(images[:1]), False))()
    chain = build_generator(config, None, {"vgg_small": (module, variables)})
    token = protectors.draw_token(chain, np.arange(len(images)), side, side)
    gradients = _ROUNDS.value * config.generator.gradient.attack_steps

    def conv(features_in, features, stride=1):
        return [nn.Conv2d(features_in, features, 3, stride, 1, bias=False),
                nn.BatchNorm2d(features), nn.ReLU()]  # fmt: skip

    network = nn.Sequential(
        *(*conv(3, 32, 2), nn.MaxPool2d(2), *conv(32, 64), *conv(64, 64), nn.MaxPool2d(2)),
        *(*conv(64, 128), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(128, classes),
    ).eval()
    # A plain attack needs no gradients of weights.
    network.requires_grad_(False)
    originals = torch.tensor(np.transpose(images, (0, 3, 1, 2)).astype(np.float32))
    truth = functional.one_hot(torch.tensor(labels, dtype=torch.int64), classes).bool()

    def pgd():
        x = originals
        for _ in range(gradients):
            x = x.detach().requires_grad_()
            logits = network((x - 118.0) / 58.0)
            loss = (logits[truth] - logits.masked_fill(truth, -1e9).amax(-1)).sum()
            (gradient,) = torch.autograd.grad(loss, x)
            norm = gradient.flatten(1).norm(dim=1)[:, None, None, None].clamp(min=1e-9)
            x = (x - 40.0 * gradient / norm).clamp(0, 255)
        return x.detach().numpy()

    name = f"{_ROUNDS.value} gradient rounds, {gradients} gradients"
    return name, lambda: programs.protect(chain, images, labels, token), pgd


if __name__ == "__main__":
    app.run(main)
