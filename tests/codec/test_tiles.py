import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raeg_jax.codec import tiles
from raeg_jax.codec.overflow import Overflow
from raeg_jax.codec.payload import Payload

SIDES = st.integers(1, 50)


@given(SIDES, SIDES, st.integers(0, 20))
def test_tiles_cover_an_image_once_and_in_order(height, width, side):
    layout = tiles.layout(height, width, side)
    covered = np.zeros((height, width), int)
    for tile in layout:
        covered[tile] += 1
        assert covered[tile].size
    np.testing.assert_array_equal(covered, 1)
    corners = [(rows.start, columns.start) for rows, columns in layout]
    assert corners == sorted(corners)


@given(SIDES, SIDES, st.integers(1, 20))
def test_a_payload_counts_the_same_tiles(height, width, largest):
    side = tiles.side_for(height, width, largest)
    layout = tiles.layout(height, width, side)
    payload = Payload(
        nonce=bytes(12),
        generator_id=bytes(8),
        height=height,
        width=width,
        sha256=bytes(32),
        tile=side,
        codes=np.zeros((len(layout), 0)),
        overflow=Overflow(np.zeros(0), np.zeros(0)),
    )
    assert payload.tiles == len(layout)
    assert (len(layout) == 1) == (side == 0)
    for rows, columns in layout:
        assert max(rows.stop - rows.start, columns.stop - columns.start) <= largest


@given(SIDES, SIDES, st.integers(0, 20), st.integers(1, 5), st.integers(1, 4))
def test_batches_have_each_tile_once_and_one_shape(height, width, side, count, batch_size):
    layout = tiles.layout(height, width, side)
    seen = []
    for places in tiles.batches(layout, count, batch_size):
        assert 1 <= len(places) <= batch_size
        assert len({np.empty((height, width))[layout[tile]].shape for _, tile in places}) == 1
        seen += places
    assert sorted(seen) == [(i, t) for i in range(count) for t in range(len(layout))]


@given(st.integers(1, 100), SIDES, SIDES, st.integers(0, 20), st.integers(1, 8))
def test_lots_hold_every_image_once_and_bounded_numbers_of_pixels(
    count, height, width, side, batch_size
):
    lots = [range(count)[lot] for lot in tiles.lots(count, height, width, side, batch_size)]
    assert [index for lot in lots for index in lot] == list(range(count))
    pixels = 4 * batch_size * side**2 if side else batch_size * height * width
    assert all(len(lot) == 1 or len(lot) * height * width <= pixels for lot in lots)


def test_a_batch_that_is_not_full_repeats_its_last_tile():
    images = [np.arange(12).reshape(2, 2, 3), -np.arange(12).reshape(2, 2, 3)]
    layout = tiles.layout(2, 2, 1)
    batch = tiles.take(images, layout, [(0, 3), (1, 0), (1, 1)], 5)
    assert batch[:, 0, 0, 1].tolist() == [10, -1, -4, -4, -4]
