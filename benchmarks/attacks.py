"""What attacks cost on this machine's CPU: ours in a loop, unrolled, and foolbox's.

    python benchmarks/attacks.py                      # needs foolbox, which `.[test]` installs
    python benchmarks/attacks.py --attacks=cw --steps=50

Prints seconds of CPU time: of the first call, which compiles, and the least of three further ones.
Each row has the same model, images and number of steps; weights and images are random, as speed
does not depend on them. `lax` is our loop with JAX's own gradient of convolutions, see
`networks.convolution`.
"""

import contextlib
import time
import warnings
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

_ATTACKS = flags.DEFINE_list("attacks", ["pgd", "cw"], "Of pgd and cw.")
_MODELS = flags.DEFINE_list("models", ["resnet_small", "vgg_small", "densenet_small"], "Networks.")
_STEPS = flags.DEFINE_integer("steps", 6, "Of each attack; of cw in each of 2 searches.", 1)
_IMAGES = flags.DEFINE_integer("images", 64, "In a batch.", 1)
_SIZE = flags.DEFINE_integer("size", 48, "Side of the images, in pixels.", 32)
_RADIUS = 500.0
_SEARCHES = 2


def main(rest: list[str]) -> None:
    """Times and prints."""
    del rest
    print("| attack | model | way | first call, s | further calls, s |\n|---|---|---|---:|---:|")
    for attack in _ATTACKS.value:
        for model in _MODELS.value:
            for way, call in ways(attack, model).items():
                first, further = cpu_seconds(call)
                print(f"| {attack} | {model} | {way} | {first:.2f} | {further:.3f} |", flush=True)


def ways(attack: str, name: str) -> dict[str, Callable[[], jax.Array]]:
    """The ways to run one attack on one model, each a call without arguments."""
    from raeg_jax.adversarial.carlini_wagner import carlini_wagner
    from raeg_jax.adversarial.pgd import pgd_l2
    from raeg_jax.networks import convolution
    from raeg_jax.networks.classifiers import build_classifier

    with warnings.catch_warnings():
        # It imports a name of SciPy that is going away.
        warnings.simplefilter("ignore")
        import foolbox

    random, steps = np.random.default_rng(0), _STEPS.value
    shape = (_IMAGES.value, _SIZE.value, _SIZE.value, 3)
    images = jnp.asarray(random.integers(0, 256, shape), jnp.float32)
    module = build_classifier(name, 10)
    variables = jax.jit(lambda x: module.init(jax.random.key(0), x, train=False))(images[:1])

    def logits(x) -> jax.Array:
        return jnp.asarray(module.apply(variables, x, train=False))

    read = jax.jit(logits)
    labels = jnp.argmax(read(images), axis=-1)

    def ours(patch):
        if attack == "pgd":
            compiled = jax.jit(lambda x: pgd_l2([logits], x, labels, _RADIUS, steps))
        else:
            compiled = jax.jit(
                lambda x: carlini_wagner([logits], x, labels, steps, searches=_SEARCHES)
            )

        def call():
            # Looked at while the first call is traced.
            with patch:
                return compiled(images)

        return call

    model = foolbox.JAXModel(read, bounds=(0, 255))
    pgd = foolbox.attacks.L2PGD(rel_stepsize=2.5 / steps, steps=steps, random_start=False)
    cw = foolbox.attacks.L2CarliniWagnerAttack(
        _SEARCHES, steps, initial_const=1e-3 * 255**2, abort_early=False
    )
    theirs = {
        "pgd": lambda: pgd.run(model, images, labels, epsilon=_RADIUS),
        "cw": lambda: cw.run(model, images, labels),
    }
    return {
        "loop": ours(contextlib.nullcontext()),
        "unrolled": ours(mock.patch("jax.lax.fori_loop", unrolled)),
        "lax": ours(mock.patch.object(convolution, "_convolve", convolution._apply)),
        "foolbox": theirs[attack],
    }


def unrolled(low, high, body, value):
    """`jax.lax.fori_loop`, written out."""
    for index in range(low, high):
        value = body(index, value)
    return value


def cpu_seconds(call: Callable[[], jax.Array]) -> tuple[float, float]:
    """Of the first call, and the least of three further ones."""
    seconds = []
    for _ in range(4):
        start = time.process_time()
        jax.block_until_ready(call())
        seconds.append(time.process_time() - start)
    return seconds[0], min(seconds[1:])


if __name__ == "__main__":
    app.run(main)
