import jax
import numpy as np
import pytest

from raeg_jax.generator.chain import Chain, LearnedStage
from raeg_jax.generator.class_planes import ClassInfo
from raeg_jax.generator.gradient_coupling import GradientCoupling, SideInfo
from raeg_jax.generator.unet import InvertibleUNet
from raeg_jax.payload.errors import DamagedPayloadError
from raeg_jax.payload.key import Token
from raeg_jax.protection import passes
from raeg_jax.protection.passes import Programs, check_side_info, from_table, to_table
from tests.protection.generators import make, photographs, quick

# Portable, as far as it goes.
EMPTY = Chain(())
LEARNED = LearnedStage(InvertibleUNet(), {})
WITH_CLASSES = LearnedStage(InvertibleUNet(class_planes=2), {})
GRADIENT = GradientCoupling(None, 1.0, 1.0)
SIDE_INFO = SideInfo(*np.array([[7, 0], [3, 16], [32, 5]], np.int32))
CLASSES = ClassInfo(np.array([7, 0], np.int32))


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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("stages", "side_info", "table"),
    [
        ((LEARNED,), ((),), [[], []]),
        ((GRADIENT,), (SIDE_INFO,), [[7, 3, 32], [0, 16, 5]]),
        ((LEARNED, GRADIENT), ((), SIDE_INFO), [[7, 3, 32], [0, 16, 5]]),
        ((WITH_CLASSES,), (CLASSES,), [[7], [0]]),
        ((WITH_CLASSES, GRADIENT), (CLASSES, SIDE_INFO), [[7, 7, 3, 32], [0, 0, 16, 5]]),
        ((GRADIENT, GRADIENT), (SIDE_INFO, SIDE_INFO), [[7, 3, 32] * 2, [0, 16, 5] * 2]),
    ],
)
def test_side_information_becomes_a_table_and_comes_back(stages, side_info, table):
    chain = Chain(stages)
    written = to_table(chain, side_info, 2)
    assert written.tolist() == table
    assert written.dtype == np.int64
    check_side_info(chain, written)
    for read, expected in zip(from_table(chain, written), side_info, strict=True):
        assert type(read) is type(expected)
        if expected:
            for name, values in vars(expected).items():
                np.testing.assert_array_equal(getattr(read, name), values)
                assert getattr(read, name).dtype == np.int32


def test_a_table_of_other_stages_is_refused():
    message = r"has 2 columns of side information, and its generator needs 3"
    with pytest.raises(DamagedPayloadError, match=message):
        check_side_info(Chain((GRADIENT,)), np.zeros((1, 2)))
