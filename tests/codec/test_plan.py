"""Plans: what they promise, and which one is taken."""

import numpy as np
import pytest
import skimage.data

from raeg_jax.codec.bands import Band
from raeg_jax.codec.plan import BASES, CLASSES, WAYS, Statistics


def planes_of(image):
    return image.transpose(2, 0, 1).astype(np.int16)


def choices_of(band):
    statistics = Statistics()
    statistics.add(band.planes, band.cells(band.height))
    return statistics.choices()


@pytest.mark.parametrize("bits", [50, 500, 1500])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_room_counted_is_that_of_unmarked_layers(bits, channels):
    # Coins lie on black: there are flags to subtract.
    image = np.repeat(skimage.data.coins()[:60, :80, None], channels, axis=2)
    image += np.random.default_rng(0).integers(0, 4, image.shape).astype(np.uint8)
    band = Band(planes_of(image), 30)
    plan, room = choices_of(band).best(bits)
    assert room >= bits
    assert band.room_by_row(plan)[-1] == room


def test_parts_that_were_counted_stand_for_the_whole():
    statistics = Statistics()
    statistics.add(planes_of(skimage.data.astronaut()[:40, :40]), np.arange(1600))
    whole, third = statistics.choices(), statistics.choices(1, 3)
    np.testing.assert_array_equal(third.room, 3 * whole.room)
    np.testing.assert_array_equal(third.plan, whole.plan)


def test_longer_messages_cost_more_for_each_bit():
    choices = choices_of(Band(planes_of(skimage.data.astronaut()[:64, :64]), 22))
    rooms = [choices.best(bits)[1] for bits in (100, 1000, 3000)]
    costs = [choices.cost[choices.room == room].min() / room for room in rooms]
    assert costs == sorted(costs)
    assert costs[0] < 0.8 * costs[2]


def test_no_plan_is_returned_for_more_than_the_most_room():
    choices = choices_of(Band(planes_of(skimage.data.astronaut()[:20, :20]), 22))
    assert choices.best(int(choices.room.max()) + 1) is None
    plan, room = choices.best(int(choices.room.max()))
    assert room == choices.room.max()
    assert len(plan.ways) == CLASSES
    assert plan.base in BASES
    assert max(plan.ways) < len(WAYS)
