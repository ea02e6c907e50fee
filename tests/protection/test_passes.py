import jax
import numpy as np
import pytest

from raeg_jax.generator.chain import Chain
from raeg_jax.payload.token import Token
from raeg_jax.protection import passes
from raeg_jax.protection.passes import Programs
from tests.protection.generators import make, photographs, quick

# Portable, as far as it goes.
EMPTY = Chain(())


def add(chain, tiles, number):
    return tiles + number


def ones(batch, height=5, width=4):
    return np.ones((batch, height, width, 3), np.float32)


@pytest.mark.parametrize(
    ("count", "most", "batch"),
    [(1, 16, 1), (2, 16, 2), (3, 16, 4), (9, 16, 16), (9, 10, 10), (16, 16, 16), (20, 16, 16)],
)
def test_few_tiles_make_a_smaller_batch(count, most, batch):
    assert Programs(add).batch_size(EMPTY, 5, 4, count, most) == batch


def test_a_generator_in_floating_point_has_one_size_of_batch():
    assert Programs(add).batch_size(quick().chain, 5, 4, 1, 16) == 16


def test_a_program_that_is_there_is_taken_where_compiling_takes_longer():
    programs = Programs(add)
    np.testing.assert_array_equal(programs(EMPTY, ones(8), 2), ones(8) + 2)
    (program,) = programs._programs.values()

    def chosen(*args):
        return programs.batch_size(EMPTY, *args)

    program.compiling, program.running = 10.0, 8.0
    assert chosen(5, 4, 1, 16) == 8
    assert chosen(5, 4, 1, 4) == 1
    assert chosen(5, 5, 1, 16) == 1
    assert chosen(5, 4, 9, 16) == 16
    program.compiling = 6.0
    assert chosen(5, 4, 1, 16) == 1
    assert chosen(5, 4, 3, 16) == 8


def test_programs_of_shapes_that_are_done_with_are_dropped():
    programs, client = Programs(add), jax.devices()[0].client
    programs(EMPTY, ones(1), 0.0)
    before = len(client.live_executables())
    for width in range(5, 20):
        programs(EMPTY, ones(1, width=width), 0.0)
    assert len(client.live_executables()) - before <= passes._MOST_PROGRAMS


def test_values_do_not_depend_on_the_size_of_the_batch():
    chain = make(("learned",), ()).chain
    images, told = photographs(3, 20, 20), np.zeros(3, np.int32)
    tokens = [Token(bytes(32), b"twelve bytes", chain.token_planes)] * 3
    together, _ = passes.forward(chain, images, told, tokens, [0] * 3, 16)
    sizes = {batch for (kind, batch) in passes._FORWARD._programs if kind[-2:] == (20, 20)}
    assert sizes == {4}
    for program in passes._FORWARD._programs.values():
        program.compiling, program.running = 0.0, 1.0
    (alone,), _ = passes.forward(chain, images[2:], told[2:], tokens[2:], [0], 16)
    sizes = {batch for (kind, batch) in passes._FORWARD._programs if kind[-2:] == (20, 20)}
    assert sizes == {1, 4}
    np.testing.assert_array_equal(alone, together[2])
