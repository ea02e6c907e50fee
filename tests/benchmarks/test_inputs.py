"""What benchmarks are given."""

from inputs import spread


def test_some_images_are_from_all_over_a_folder():
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread(range(3), 5) == spread(range(3), 0) == [0, 1, 2]
    assert spread([], 5) == []
