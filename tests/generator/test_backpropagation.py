"""Blocks that keep less for their gradients have the gradients of those that keep all."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.generator.backpropagation import MEMORY, run_blocks
from raeg_jax.generator.conditioner import PlainConditioner
from raeg_jax.generator.coupling import COUPLINGS, Coupling
from raeg_jax.generator.mixing import MIXINGS
from raeg_jax.generator.unet import Block, InvertibleUNet

CHANNELS, PLANES = 4, 2
RANDOM = np.random.RandomState(0)
X = RANDOM.randint(0, 256, (2, 5, 6, CHANNELS)).astype(np.float32)
TOKEN = RANDOM.choice([-1.0, 1.0], (2, 5, 6, PLANES)).astype(np.float32)
# The last column has no partner: half of its channels must stay 0.
MASK = np.ones((1, 5, 6, CHANNELS), np.float32)
MASK[:, :, -1, 2:] = 0


class Blocks(nn.Module):
    """Blocks forward, and others back, as a step with a wrong token has them."""

    coupling: str
    mixing: str
    memory: str
    depth: int = 2

    def setup(self):
        conditioner = functools.partial(PlainConditioner, width=4, depth=1)
        self.blocks = [
            Block(MIXINGS[self.mixing](CHANNELS, i), Coupling(self.coupling, conditioner))
            for i in range(self.depth)
        ]

    def __call__(self, x, planes, mask=MASK):
        y = run_blocks(self.memory, self.blocks, "forward", x, (mask, planes))
        back = run_blocks(self.memory, self.blocks[::-1], "inverse", y + 1, (mask, -planes))
        return y, back


def random_variables(network, *inputs):
    random = np.random.RandomState(1)
    return jax.tree.map(
        lambda leaf: 0.3 * random.randn(*leaf.shape).astype(np.float32),
        jax.eval_shape(network.init, jax.random.key(0), *inputs),
    )


@functools.cache
def results(coupling, mixing, memory):
    """Gradients by variables, x, planes and mask, and what blocks make of x."""
    network = Blocks(coupling, mixing, memory)
    variables = random_variables(network, X, TOKEN)

    def loss(variables, x, planes, mask):
        y, back = network.apply(variables, x, planes, mask)
        return jnp.sum(jnp.sin(y / 40)) + jnp.sum(jnp.cos(back / 30)), (y, back)

    # Not compiled as a whole, which fuses, and so rounds, each program in its own way.
    return jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True)(variables, X, TOKEN, MASK)


CASES = [
    *(("reversible", coupling, "permutation") for coupling in COUPLINGS),
    *(("reversible", "affine", mixing) for mixing in MIXINGS if mixing != "permutation"),
    *(("remat", coupling, "permutation") for coupling in ("integer", "affine")),
]


@pytest.mark.parametrize(("memory", "coupling", "mixing"), CASES)
def test_gradients_are_the_plain_ones(memory, coupling, mixing):
    gradients, outputs = results(coupling, mixing, memory)
    plain, plain_outputs = results(coupling, mixing, "plain")
    for one, other in zip(outputs, plain_outputs, strict=True):
        assert np.abs(other - X).max() > 1
        np.testing.assert_array_equal(one, other)
    # Inputs made again are equal where all are integers; sums have another order everywhere.
    close = 1e-6 if COUPLINGS[coupling].exact or memory == "remat" else 1e-4
    for one, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=close * np.abs(other).max())


def test_memory_is_flat_in_depth():
    x = np.zeros((2, 32, 32, CHANNELS), np.float32)
    planes = np.zeros((2, 32, 32, PLANES), np.float32)

    @functools.cache
    def needed(memory, depth):
        network = Blocks("additive", "none", memory, depth)
        variables = random_variables(network, x, planes, None)

        def loss(variables, x):
            return sum(jnp.sum(jnp.sin(y)) for y in network.apply(variables, x, planes, None))

        program = jax.jit(jax.grad(loss)).lower(variables, x).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert needed("reversible", 4) < 1.3 * needed("reversible", 1)
    assert needed("plain", 4) > 2 * needed("plain", 1)


def test_the_network_hands_its_setting_to_every_level():
    x = np.zeros((1, 8, 8, 3), np.float32)
    small = {"conditioner": "plain", "blocks": (1, 1), "widths": (4, 4), "depth": 1}
    ways = {}
    for memory in MEMORY:
        network = InvertibleUNet(memory=memory, **small)
        variables = random_variables(network, x)
        ways[memory] = str(jax.make_jaxpr(lambda v, n=network: n.apply(v, x))(variables))
    # Three runs of blocks: two levels on the way down, the finest one on the way up.
    assert ways["reversible"].count("custom_vjp_call") == 3
    assert ways["remat"].count("remat2[") == 3
    assert "custom_vjp_call" not in ways["plain"] + ways["remat"]
    assert "remat2[" not in ways["plain"] + ways["reversible"]
