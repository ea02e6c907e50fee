import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import base
from raeg_jax.codec import tiles
from raeg_jax.payload.overflow import Overflow
from raeg_jax.payload.payload import Payload

SIDES = st.integers(1, 50)


@given(SIDES, SIDES, st.integers(0, 20))
def test_tiles_have_one_shape_and_each_pixel_is_one_tiles_own(height, width, side):
    layout = tiles.layout(height, width, side)
    owned = np.zeros((height, width), int)
    for tile in layout:
        part = owned[tile.rows, tile.columns]
        assert part.shape == tiles.shape(height, width, side)
        part[tile.top :, tile.left :] += 1
    np.testing.assert_array_equal(owned, 1)
    corners = [(tile.rows.start, tile.columns.start) for tile in layout]
    assert corners == sorted(corners)


@given(SIDES, SIDES, st.integers(1, 20))
def test_what_a_tile_overlaps_had_its_turn_before(height, width, side):
    done = np.zeros((height, width), bool)
    layout = tiles.layout(height, width, side)
    for turn in tiles.TURNS:
        seen = done.copy()
        for tile in layout:
            if tile.turn == turn:
                own = np.zeros((height, width), bool)
                own[tile.rows, tile.columns][tile.top :, tile.left :] = True
                others = ~own[tile.rows, tile.columns]
                assert seen[tile.rows, tile.columns][others].all()
                done |= own
    assert done.all()


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
        side_info=np.zeros((len(layout), 0)),
        overflow=Overflow(np.zeros(0), np.zeros(0)),
    )
    assert payload.tiles == len(layout)
    assert (len(layout) == 1) == (side == 0)
    assert tiles.shape(height, width, side) == tiles.shape(height, width, largest)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4), SIDES, st.integers(1, 4))
def test_batches_have_each_tile_once(sizes, side, batch_size):
    layouts = [tiles.layout(*size, side) for size in sizes]
    seen = []
    for turn in tiles.TURNS:
        for places in tiles.batches(layouts, turn, batch_size):
            assert 1 <= len(places) <= batch_size
            seen += places
    assert sorted(seen) == [(i, t) for i, own in enumerate(layouts) for t in range(len(own))]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2**22)), min_size=1, max_size=30))
def test_lots_hold_every_image_once_of_one_kind_and_bounded_numbers_of_pixels(images):
    kinds, pixels = [(kind,) for kind, _ in images], [own for _, own in images]
    lots = tiles.lots(kinds, pixels)
    assert sorted(index for lot in lots for index in lot) == list(range(len(images)))
    for lot in lots:
        assert len({kinds[index] for index in lot}) == 1
        assert len(lot) == 1 or sum(pixels[index] for index in lot) <= 2**21


def test_a_batch_that_is_not_full_repeats_its_last_tile_and_marks_what_is_free():
    images = [np.arange(18).reshape(2, 3, 3), -np.arange(18).reshape(2, 3, 3)]
    layouts = [tiles.layout(2, 3, 2)] * 2
    batch, free = tiles.take(images, layouts, [(0, 1), (1, 0), (1, 1)], 5)
    assert batch[:, 0, 0, 1].tolist() == [4, -1, -4, -4, -4]
    assert free[:, :, 0, 0].tolist() == [[False] * 2, [True] * 2, *[[False] * 2] * 3]
    assert free[:, :, 1].all()


@pytest.mark.parametrize("stages", [("shortcut",), ("gradient",), ("learned", "gradient")])
def test_only_learned_stages_alone_see_as_much_as_in_training(stages):
    config = base.get_config()
    config.generator.stages = stages
    assert tiles.default_side(config) == 256
    config.generator.stages = ("learned",)
    assert tiles.default_side(config) == config.data.image_size
