"""What blocks keep for their gradients: all activations, those between blocks, or only the output.

    setting      kept for the way back      made again                          networks' passes
    plain        every activation           nothing                             3
    remat        each block's input         the block, from its input           4
    reversible   the last block's output    each input, by inverting the step   4

A pass counts once forward and twice backward. Inverting needs what the gradient needs, the
conditioner's output for the half that a step doesn't change, so both come from one evaluation
(RevNet, Gomez et al., arXiv 1707.04585). Gradients are those of the plain way: exactly where
couplings map integers to integers and are given integers, else but for the rounding of floating
point, as inputs made again differ from the inputs in their last bits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# (mask, planes) of blocks.
Conditions = tuple[jax.Array | None, jax.Array | None]
_OPPOSITE = {"forward": "inverse", "inverse": "forward"}


def _plain(blocks, method, x, conditions):
    for block in blocks:
        x = getattr(block, method)(x, *conditions)
    return x


def _remat(blocks, method, x, conditions):
    for block in blocks:
        module, variables = block.unbind()

        @jax.checkpoint
        def run(variables, x, conditions, module=module):
            return module.apply(variables, x, *conditions, method=method)

        x = run(variables, x, conditions)
    return x


def _reversible(blocks, method, x, conditions):
    modules = [block.unbind() for block in blocks]

    @jax.custom_vjp
    def run(variables, x, conditions):
        for (module, _), own in zip(modules, variables, strict=True):
            x = module.apply(own, x, *conditions, method=method)
        return x

    def forward(variables, x, conditions):
        y = run(variables, x, conditions)
        return y, (variables, y, conditions)

    def backward(kept, gradient):
        variables, y, conditions = kept
        of_variables, of_conditions = [], jax.tree.map(jnp.zeros_like, conditions)
        for (module, _), own in reversed(list(zip(modules, variables, strict=True))):
            y, gradient, of_own, of_block = _pull(module, method, own, y, gradient, conditions)
            of_variables.append(of_own)
            of_conditions = jax.tree.map(jnp.add, of_conditions, of_block)
        return of_variables[::-1], gradient, of_conditions

    run.defvjp(forward, backward)
    return run([variables for _, variables in modules], x, conditions)


def _pull(module, method, variables, y, gradient, conditions):
    """Undoes one block: its input, and the gradients of its input, variables and conditions."""
    sums = jax.tree.map(jnp.zeros_like, (variables, conditions))
    for part, direction in reversed(module.STEPS[method]):

        def step(variables, x, conditions, part=part, direction=direction):
            return module.apply(variables, x, *conditions, part, direction, method="step")

        y = _after(gradient, y)
        # The compiler evaluates the conditioner once: the half that it reads is the same in both.
        x = step(variables, y, conditions, direction=_OPPOSITE[direction])
        _, pull = jax.vjp(step, variables, x, conditions)
        of_variables, gradient, of_conditions = pull(gradient)
        sums = jax.tree.map(jnp.add, sums, (of_variables, of_conditions))
        y = x
    return y, gradient, *sums


def _after(gradient, y):
    """y, which the compiler can't use before the gradient is there.

    Else it may invert all blocks first and keep what it finds. XLA drops `optimization_barrier` on
    CPU, so 0 is added in a way that it doesn't see through; where the gradient is NaN, y is, too.
    """
    return y + jnp.minimum(jnp.abs(gradient), 0)


Run = Callable[[Sequence[nn.Module], str, jax.Array, Conditions], jax.Array]
MEMORY: dict[str, Run] = {"plain": _plain, "remat": _remat, "reversible": _reversible}


def run_blocks(
    memory: str, blocks: Sequence[Any], method: str, x: jax.Array, conditions: Conditions
) -> jax.Array:
    """Passes x through blocks of one level, in order.

    Args:
      memory: key of `MEMORY`, what is kept for gradients.
      blocks: each has `forward` and `inverse` of (x, mask, planes), `step`, and `STEPS`, the steps
        that either consists of; bound modules.
      method: 'forward' or 'inverse', of each block.
      x: float32 [B, h, w, C].
      conditions: mask and planes of the blocks.

    Returns:
      float32, the shape of x.
    """
    # Variables must exist before they can be handed on.
    fresh = not blocks or blocks[0].is_initializing()
    return MEMORY["plain" if fresh else memory](blocks, method, x, conditions)
