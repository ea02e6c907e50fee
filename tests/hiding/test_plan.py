"""Plans: the capacity that they promise, and which one is chosen."""

import numpy as np
import pytest
import skimage.data

from raeg_jax.hiding.marking import Band
from raeg_jax.hiding.plan import BASES, BINS, CLASSES, ErrorHistograms


def band_and_candidates(image):
    band = Band(image, range(len(image)))
    histograms = ErrorHistograms()
    histograms.add(band.planes, band.positions(len(image)))
    return band, histograms.candidates()


@pytest.mark.parametrize("bits", [50, 500, 1500])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_capacity_counted_is_that_of_unmarked_layers(bits, channels):
    # Coins lie on black: there are flags to subtract.
    image = np.repeat(skimage.data.coins()[:60, :80, None], channels, axis=2)
    image += np.random.default_rng(0).integers(0, 4, image.shape).astype(np.uint8)
    band, candidates = band_and_candidates(image)
    plan, capacity = candidates.best(bits)
    assert capacity >= bits
    assert band.capacity_by_row(plan)[-1] == capacity


def test_parts_that_were_counted_stand_for_the_whole():
    histograms = ErrorHistograms()
    planes = skimage.data.astronaut()[:40, :40].transpose(2, 0, 1).astype(np.int16)
    histograms.add(planes, np.arange(1600))
    whole, third = histograms.candidates(), histograms.candidates(1, 3)
    np.testing.assert_array_equal(third.capacity, 3 * whole.capacity)
    np.testing.assert_array_equal(third.values, whole.values)


def test_longer_messages_cost_more_for_each_bit():
    _, candidates = band_and_candidates(skimage.data.astronaut()[:64, :64])
    capacities = [candidates.best(bits)[1] for bits in (100, 1000, 3000)]
    costs = [candidates.cost[candidates.capacity == c].min() / c for c in capacities]
    assert costs == sorted(costs)
    assert costs[0] < 0.8 * costs[2]


def test_no_plan_is_returned_for_more_than_the_largest_capacity():
    _, candidates = band_and_candidates(skimage.data.astronaut()[:20, :20])
    largest = int(candidates.capacity.max())
    assert candidates.best(largest + 1) is None
    plan, capacity = candidates.best(largest)
    assert capacity == largest
    assert len(plan.bins) == CLASSES
    assert plan.base in BASES
    assert max(plan.bins) < len(BINS)
