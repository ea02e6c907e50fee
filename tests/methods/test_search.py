"""The search for a strength, on files whose errors are known."""

import math

import numpy as np
import pytest

from raeg_jax.methods.search import Search


def find(psnr, error, hidden, strength, tries=12):
    """(strengths tried, PSNRs) with an error before hiding and one that hiding adds."""
    search = Search(psnr, strength)
    tried, found = [], []
    while not search.over and len(tried) < tries:
        own = error(search.scale)
        marked = own + hidden(search.scale)
        tried.append(search.scale)
        found.append(10 * math.log10(255**2 / marked) if 0 < marked < math.inf else math.inf)
        search.update(own, marked)
    return tried, np.array(found)


def square(strength):
    return strength**2


@pytest.mark.parametrize("psnr", [28, 34, 42])
@pytest.mark.parametrize("start", [0.3, 3, 40])
def test_a_constant_part_of_hiding_is_met_in_few_tries(psnr, start):
    allowed = 255**2 / 10 ** (psnr / 10)
    _, found = find(psnr, square, lambda strength: 0.6 * allowed, start)
    assert np.any(np.abs(found[:5] - psnr) < 0.05)


def test_what_hides_more_with_strength_is_met():
    _, found = find(34, square, lambda strength: 2 * math.log2(1 + strength), 5)
    assert np.any(np.abs(found[:6] - 34) < 0.05)


def test_what_grows_faster_than_the_model_is_met():
    """As RIT does: shifts are rare below half a quantum, and hiding them costs ever more."""
    _, found = find(34, lambda s: 0.02 * s**4, lambda s: 0.001 * s**5, 5)
    assert np.any(np.abs(found[:5] - 34) < 0.1)


def test_steps_are_bisected():
    """Nothing happens below a strength of 3, as with shifts by quanta."""
    _, found = find(34, lambda s: s**2 * (s > 3), lambda s: 0.5, 1)
    assert np.any(np.abs(found - 34) < 0.1)


def test_a_jump_over_the_psnr_ends_the_search():
    tried, found = find(34, lambda s: 1.0 if s < 3 else 100.0, lambda s: 1.0, 1, tries=40)
    assert len(tried) < 25
    assert np.all(np.abs(found - 34) > 1)


@pytest.mark.parametrize(("cost", "tries"), [(1000.0, 2), (math.inf, 3)])
def test_hiding_that_takes_too_much_ends_it_soon(cost, tries):
    tried, _ = find(34, square, lambda strength: cost, 5)
    assert len(tried) == tries
    assert np.all(np.diff(tried) < 0)


def test_a_start_that_is_much_too_strong_is_no_end():
    """As with an attack of 200 pixel units, which no image has room for."""
    _, found = find(30, square, lambda s: 5.0 if s < 20 else math.inf, 200)
    assert np.any(np.abs(found - 30) < 0.1)


def test_room_is_looked_for_below_where_there_was_none():
    tried, found = find(34, square, lambda s: 5.0 if s < 4 else math.inf, 5)
    assert len(tried) > 2
    assert np.any(np.abs(found - 34) < 1.5)
