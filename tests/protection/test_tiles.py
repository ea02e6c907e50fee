import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import base
from raeg_jax.payload.overflow import Overflow
from raeg_jax.payload.payload import Payload
from raeg_jax.protection import tiles

SIDES = st.integers(1, 50)


@given(SIDES, SIDES, st.integers(0, 20))
def test_tiles_have_one_shape_and_each_pixel_belongs_to_one(height, width, side):
    layout = tiles.layout(height, width, side)
    owned = np.zeros((height, width), int)
    for tile in layout:
        part = owned[tile.rows, tile.columns]
        assert part.shape == tiles.tile_shape(height, width, side)
        part[tile.top :, tile.left :] += 1
    np.testing.assert_array_equal(owned, 1)
    corners = [(tile.rows.start, tile.columns.start) for tile in layout]
    assert corners == sorted(corners)


@given(SIDES, SIDES, st.integers(1, 20))
def test_a_tile_overlaps_those_of_earlier_phases_only(height, width, side):
    done = np.zeros((height, width), bool)
    layout = tiles.layout(height, width, side)
    for phase in tiles.PHASES:
        seen = done.copy()
        for tile in layout:
            if tile.phase == phase:
                own = np.zeros((height, width), bool)
                own[tile.rows, tile.columns][tile.top :, tile.left :] = True
                others = ~own[tile.rows, tile.columns]
                assert seen[tile.rows, tile.columns][others].all()
                done |= own
    assert done.all()


@given(SIDES, SIDES, st.integers(1, 20))
def test_a_payload_counts_the_same_tiles(height, width, largest):
    side = tiles.payload_side(height, width, largest)
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
    assert tiles.tile_shape(height, width, side) == tiles.tile_shape(height, width, largest)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4), SIDES, st.integers(1, 4))
def test_batches_have_each_tile_once(sizes, side, batch_size):
    layouts = [tiles.layout(*size, side) for size in sizes]
    seen = []
    for phase in tiles.PHASES:
        for indices in tiles.batch_indices(layouts, phase, batch_size):
            assert 1 <= len(indices) <= batch_size
            seen += indices
    assert sorted(seen) == [(i, t) for i, each in enumerate(layouts) for t in range(len(each))]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2**22)), min_size=1, max_size=30))
def test_groups_hold_every_image_once_of_one_kind_and_bounded_numbers_of_pixels(images):
    kinds, pixels = [(kind,) for kind, _ in images], [size for _, size in images]
    groups = tiles.group_images(kinds, pixels)
    assert sorted(index for group in groups for index in group) == list(range(len(images)))
    for group in groups:
        assert len({kinds[index] for index in group}) == 1
        assert len(group) == 1 or sum(pixels[index] for index in group) <= 2**21


def test_a_batch_that_is_not_full_repeats_its_last_tile_and_marks_what_is_editable():
    images = [np.arange(18).reshape(2, 3, 3), -np.arange(18).reshape(2, 3, 3)]
    layouts = [tiles.layout(2, 3, 2)] * 2
    batch, editable = tiles.take_batch(images, layouts, [(0, 1), (1, 0), (1, 1)], 5)
    assert batch[:, 0, 0, 1].tolist() == [4, -1, -4, -4, -4]
    assert editable[:, :, 0, 0].tolist() == [[False] * 2, [True] * 2, *[[False] * 2] * 3]
    assert editable[:, :, 1].all()


def test_boxes_say_where_tiles_lie_in_images_of_which_size():
    images = [np.zeros((5, 7, 3)), np.zeros((3, 3, 3))]
    layouts = [tiles.layout(*image.shape[:2], 3) for image in images]
    boxes = tiles.boxes(images, layouts, [(0, 0), (0, 4), (0, 5), (1, 0)], 5)
    expected = [[0, 0, 5, 7], [2, 3, 5, 7], [2, 4, 5, 7], [0, 0, 3, 3], [0, 0, 3, 3]]
    assert boxes.tolist() == expected
    assert boxes.dtype == np.int32


@pytest.mark.parametrize("stages", [("shortcut",), ("gradient",), ("learned", "gradient")])
def test_only_learned_stages_alone_see_as_much_as_in_training(stages):
    config = base.get_config()
    config.generator.stages = stages
    assert tiles.default_side(config) == 256
    config.generator.stages = ("learned",)
    assert tiles.default_side(config) == config.data.image_size
