import numpy as np
import pytest

from raeg_jax.codec import codes
from raeg_jax.codec.errors import DamagedPayloadError
from raeg_jax.invertible.chain import Chain, Learned
from raeg_jax.invertible.gradient_coupling import Code, GradientCoupling

LEARNED = Learned(None, {})
GRADIENT = GradientCoupling(None, 1.0, 1.0)
CODE = Code(*np.array([[7, 0], [3, 16], [32, 5]], np.int32))


@pytest.mark.parametrize(
    ("stages", "code", "table"),
    [
        ((LEARNED,), ((),), [[], []]),
        ((GRADIENT,), (CODE,), [[7, 3, 32], [0, 16, 5]]),
        ((LEARNED, GRADIENT), ((), CODE), [[7, 3, 32], [0, 16, 5]]),
        ((GRADIENT, GRADIENT), (CODE, CODE), [[7, 3, 32] * 2, [0, 16, 5] * 2]),
    ],
)
def test_what_stages_leave_is_a_table_and_comes_back(stages, code, table):
    chain = Chain(stages)
    written = codes.to_table(chain, code, 2)
    assert written.tolist() == table
    assert written.dtype == np.int64
    found = codes.from_table(chain, written)
    assert [type(own) for own in found] == [type(own) for own in code]
    for own, expected in zip(found, code, strict=True):
        if expected:
            for name in ("label", "rounds", "part"):
                np.testing.assert_array_equal(getattr(own, name), getattr(expected, name))
                assert getattr(own, name).dtype == np.int32


def test_a_table_of_other_stages_is_told():
    with pytest.raises(DamagedPayloadError, match="has 2 code columns, and its generator needs 3"):
        codes.check_columns(Chain((GRADIENT,)), np.zeros((1, 2)))
    codes.check_columns(Chain((LEARNED,)), np.zeros((4, 0)))
