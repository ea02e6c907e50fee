"""What the token protects, seen on a generator whose every sample depends on it."""

import flax.struct
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.evaluation import programs, protectors
from raeg_jax.experiments import token as experiment
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import SideInfo
from raeg_jax.payload.key import CELL
from tests.experiments.experiment_toys import FloatRun, alone

SIZE = 2 * CELL
INDEX = np.arange(3)
LABELS = np.array([0, 1, 2], np.int32)
SEEN = np.array([5, 6, 7], np.int32)
IMAGES = np.random.RandomState(0).randint(40, 200, (3, SIZE, SIZE, 3)).astype(np.uint8)


@flax.struct.dataclass
class Signs:
    """Adds the token's first plane, `amount` times, and the label."""

    amount: float
    token_planes = 2
    placed = False

    def forward(self, x, labels, reference, token, free, place):
        none = jnp.zeros_like(labels)
        return self._moved(x, labels, token, 1), SideInfo(labels, none, none)

    def inverse(self, y, side_info, token, free, place):
        return self._moved(y, side_info.label, token, -1)

    def _moved(self, x, labels, token, way):
        return x + way * (self.amount * token[..., :1] + labels[:, None, None, None])


@flax.struct.dataclass
class Uncoded(Signs):
    """As a learned stage, which leaves no side information.

    For JAX pytrees of two dataclasses with equal fields may count as equal, and share a program: a
    field that `Signs` lacks tells these apart (see `test_structs_that_share_a_program_differ`).
    """

    coded: bool = flax.struct.field(pytree_node=False, default=False)

    def forward(self, x, labels, reference, token, free, place):
        return self._moved(x, 0 * labels, token, 1), ()

    def inverse(self, y, side_info, token, free, place):
        return self._moved(y, jnp.zeros(len(y)), token, -1)


def ways(stage=Signs, guesses=4):
    chain = Chain((stage(8.0),))
    token = protectors.draw_token(chain, INDEX, SIZE, SIZE)
    values, side_info = experiment.forward(chain, IMAGES, LABELS, token)
    return token, experiment.undo(chain, INDEX, np.asarray(values), side_info, guesses, SEEN)


def test_each_way_gives_what_its_token_gives():
    token, found = ways()
    errors = {name: images.astype(int) - IMAGES for name, images in found.items()}
    assert not errors["right token"].any()
    off = errors["one cell off"]
    assert set(np.unique(np.abs(off[:, CELL:, CELL:]))) == {16}
    off[:, CELL:, CELL:] = 0
    assert not off.any()
    assert set(np.unique(np.abs(errors["wrong token"]))) == {0, 16}
    np.testing.assert_array_equal(
        errors["no token"], np.broadcast_to(8 * token[..., :1], IMAGES.shape)
    )
    distance = (LABELS - SEEN)[:, None, None, None]
    np.testing.assert_array_equal(
        errors["wrong token, class as seen"], errors["wrong token"] + distance
    )


def test_guesses_are_averaged_and_the_smoothest_is_chosen():
    chain, (token, found) = Chain((Signs(8.0),)), ways()
    guesses = [protectors.draw_token(chain, INDEX, SIZE, SIZE, b"guess %d" % n) for n in range(4)]
    tried = np.stack([IMAGES + 8.0 * (token - guess)[..., :1] for guess in guesses])
    np.testing.assert_array_equal(found["mean of 4 wrong"], np.round(tried.mean(0)))
    variation = sum(np.abs(np.diff(tried, axis=axis)).mean((2, 3, 4)) for axis in (2, 3))
    best = variation.argmin(0)
    assert len(set(best)) > 1
    np.testing.assert_array_equal(found["smoothest of 4 wrong"], tried[best, INDEX])


@pytest.mark.parametrize(("stage", "classes"), [(Signs, 1), (Uncoded, 0)])
def test_without_guesses_and_codes_their_ways_are_left_out(stage, classes):
    _, found = ways(stage, guesses=0)
    assert len(found) == 4 + classes
    assert ("wrong token, class as seen" in found) == bool(classes)


def test_the_best_of_several_is_what_misleads_most():
    chain = Chain((Signs(8.0),))

    @flax.struct.dataclass
    class Dark:
        """Takes the darker for class 1."""

        def __call__(self, images):
            bright = (images.mean((1, 2, 3)) - 120) / 8
            return jnp.stack([bright, jnp.zeros_like(bright)], axis=1)

    labels = np.zeros(3, np.int32)
    found = list(experiment.best_of(chain, (Dark(),), INDEX, IMAGES, labels, 4))
    assert [count for count, _ in found] == [1, 2, 3, 4]
    brightness = np.stack([images.mean((1, 2, 3)) for _, images in found])
    assert np.all(np.diff(brightness, axis=0) <= 0)
    assert np.any(np.diff(brightness, axis=0) < 0)
    first, _, _ = programs.protect(
        chain, IMAGES, labels, protectors.draw_token(chain, INDEX, SIZE, SIZE)
    )
    np.testing.assert_array_equal(found[0][1], first)


def test_the_right_token_recovers_and_others_do_not(tmp_path):
    context = alone(tmp_path, FloatRun)
    (unit,) = experiment.units(context)
    result = unit.measure()
    ways = list(result["exact"])
    assert (result["exact"]["right token"], result["psnr"]["right token"]) == (1, None)
    assert result["exact"]["wrong token"] == 0
    assert {"one cell off", "no token", "mean of 1 wrong", "protected, best of 2"} < set(ways)
    rows = experiment.table([result], context).rows
    assert [row[0] for row in rows] == ways
    assert rows[1][1:3] == ("equal", "1.000")


def test_a_generator_without_a_token_has_no_unit(tmp_path):
    context = alone(tmp_path)
    context.run.config.generator.token_planes = 0
    assert not list(experiment.units(context))
