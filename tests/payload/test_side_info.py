"""The side information of stages as a table, and back."""

import numpy as np
import pytest

from raeg_jax.generator.chain import Chain, LearnedStage
from raeg_jax.generator.gradient_coupling import GradientCoupling, SideInfo
from raeg_jax.payload.errors import DamagedPayloadError
from raeg_jax.payload.side_info import check_columns, from_table, to_table

LEARNED = LearnedStage(None, {})
GRADIENT = GradientCoupling(None, 1.0, 1.0)
SIDE_INFO = SideInfo(*np.array([[7, 0], [3, 16], [32, 5]], np.int32))


@pytest.mark.parametrize(
    ("stages", "side_info", "table"),
    [
        ((LEARNED,), ((),), [[], []]),
        ((GRADIENT,), (SIDE_INFO,), [[7, 3, 32], [0, 16, 5]]),
        ((LEARNED, GRADIENT), ((), SIDE_INFO), [[7, 3, 32], [0, 16, 5]]),
        ((GRADIENT, GRADIENT), (SIDE_INFO, SIDE_INFO), [[7, 3, 32] * 2, [0, 16, 5] * 2]),
    ],
)
def test_side_information_becomes_a_table_and_comes_back(stages, side_info, table):
    chain = Chain(stages)
    written = to_table(chain, side_info, 2)
    assert written.tolist() == table
    assert written.dtype == np.int64
    check_columns(chain, written)
    for read, expected in zip(from_table(chain, written), side_info, strict=True):
        assert type(read) is type(expected)
        if expected:
            for name, values in vars(expected).items():
                np.testing.assert_array_equal(getattr(read, name), values)
                assert getattr(read, name).dtype == np.int32


def test_a_table_of_other_stages_is_refused():
    message = r"has 2 columns of side information, and its generator needs 3"
    with pytest.raises(DamagedPayloadError, match=message):
        check_columns(Chain((GRADIENT,)), np.zeros((1, 2)))
