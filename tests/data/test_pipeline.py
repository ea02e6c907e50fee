"""The training stream: complete epochs, shards, and resuming after a stop."""

import collections
import io
import itertools
import json
import multiprocessing
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from raeg_jax import data
from raeg_jax.errors import UserError

COUNT = 22


def solid(number):
    """A flat image, recognisable by its colour whatever the augmentation."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (number * 10, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


SPLIT = [
    {"image": solid(number), "label": number % 3, "file_name": f"{number}.png"}
    for number in range(COUNT)
]


def make(config, split=SPLIT, **changes):
    options = {"batch_size": 4, "seed": 0, "augment": config.augment, "crop": True, **changes}
    return data.train_iterator(split, config.data, **options)


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def numbers(batches):
    """Which images the batches hold, in order."""
    return np.concatenate([batch["image"][:, 0, 0, 0] // 10 for batch in batches]).tolist()


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["label"], b["label"])


@pytest.fixture(params=["memory", "decoding"])
def config(config, request):
    """Both ways to the images."""
    config.data.memory_mib = 2048 if request.param == "memory" else 0
    return config


@pytest.fixture
def textured(config, make_tree, tmp_path):
    """A prepared split whose images show every flip and shift."""
    config.data.dataset = "image_folder"
    config.data.source = str(make_tree(tmp_path / "in", {"a": 12, "b": 12}))
    return data.load(config.data).train


def test_batches(config):
    batch = next(make(config))
    assert (batch["image"].dtype, batch["image"].shape) == (np.uint8, (4, 16, 16, 3))
    assert (batch["label"].dtype, batch["label"].shape) == (np.int32, (4,))
    np.testing.assert_array_equal(batch["label"], batch["image"][:, 0, 0, 0] // 10 % 3)


def test_every_epoch_holds_every_image_in_a_new_order(config):
    # 22 images in batches of 4: epochs end within a batch, and no image is left out.
    seen = numbers(take(make(config), 33))
    epochs = [seen[start : start + COUNT] for start in range(0, 6 * COUNT, COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_seed_decides(config, textured):
    assert_equal(take(make(config, textured), 6), take(make(config, textured), 6))
    other = take(make(config, textured, seed=1), 6)
    assert (other[0]["image"] != next(make(config, textured))["image"]).any()


def test_resumed_stream_is_the_same(config, textured):
    whole = take(make(config, textured), 14)
    first = make(config, textured)
    assert_equal(take(first, 5), whole[:5])
    state = json.loads(json.dumps(first.get_state()))
    second = make(config, textured)
    next(second)
    second.set_state(state)
    assert_equal(take(second, 9), whole[5:])
    # A state can be set again, backwards too.
    second.set_state(state)
    assert_equal(take(second, 2), whole[5:7])


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 2}, {"split": SPLIT[:-1]}])
def test_state_of_another_stream_is_refused(config, change):
    with pytest.raises(UserError, match=r"can't resume .*was .* when the checkpoint was saved"):
        make(config).set_state(make(config, **change).get_state())


def test_shards_share_each_epoch(config):
    shards = [make(config, batch_size=1, shard_index=i, shard_count=2) for i in range(2)]
    epochs = [numbers(take(shard, COUNT // 2)) for shard in shards]
    assert sorted(epochs[0] + epochs[1]) == list(range(COUNT))
    # Over the epochs every host meets every image.
    assert set(numbers(take(shards[0], 10 * COUNT))) == set(range(COUNT))


def test_uneven_shards_have_whole_epochs(config):
    counts = collections.Counter()
    for index, length in ((0, 8), (1, 7), (2, 7)):
        shard = make(config, batch_size=1, shard_index=index, shard_count=3)
        counts.update(numbers(take(shard, length)))
    assert counts == dict.fromkeys(range(COUNT), 1)


def test_shards_are_augmented_differently(config):
    pixels = np.tile(np.arange(16, dtype=np.uint8), (16, 1))[..., None].repeat(3, -1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    same = [{"image": buffer.getvalue(), "label": 0, "file_name": str(i)} for i in range(64)]
    one, other = (
        next(make(config, same, batch_size=32, shard_index=i, shard_count=2)) for i in range(2)
    )
    assert (one["image"] != other["image"]).any()


def test_augmentation_is_as_asked(config, textured):
    originals = [image.tobytes() for image in data.arrays(textured, config.data)[0]]
    mirrored = [image[:, ::-1].tobytes() for image in data.arrays(textured, config.data)[0]]

    def shares(**changes):
        batches = take(make(config, textured, **changes), 12)
        images = [image.tobytes() for batch in batches for image in batch["image"]]
        return [np.mean([image in known for image in images]) for known in (originals, mirrored)]

    plain, flipped = shares(crop=False)
    assert plain + flipped == 1
    assert 0.2 < flipped < 0.8
    assert sum(shares(crop=True)) < 0.5
    config.augment.crop_padding = 0
    assert sum(shares(crop=True)) == 1
    config.augment.flip = False
    assert shares(crop=False) == [1, 0]


def test_blends_come_with_both_labels(config, textured):
    config.augment.mixup, config.augment.flip, config.augment.crop_padding = 1.0, False, 0
    batch = next(make(config, textured))
    assert set(batch) == {"image", "label", "other", "share"}
    originals, labels, _ = data.arrays(textured, config.data)
    for image, label, other, share in zip(*batch.values(), strict=True):
        blends = [
            share * a + (1 - share) * b
            for a, b in itertools.product(originals[labels == label], originals[labels == other])
        ]
        assert min(np.abs(image - blend).max() for blend in blends) < 0.51
    assert set(next(make(config, textured, crop=False))) == {"image", "label"}


def test_worker_processes_change_nothing(config, textured):
    expected = make(config, textured)
    first, later = take(expected, 3), take(expected, 4)
    config.data.workers = 2
    iterator = make(config, textured)
    # From within the stream, so that a restart is tested as well.
    iterator.set_state({**iterator.get_state(), "batches": len(first)})
    try:
        assert_equal(take(iterator, 4), later)
        assert iterator.get_state() == expected.get_state()
        # Images in memory need none.
        assert bool(multiprocessing.active_children()) == (config.data.memory_mib == 0)
    finally:
        iterator.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, r"batch_size=0 can't be filled from 22 training images"),
        ({"batch_size": 23}, r"batch_size=23 can't be filled.*set it to 22 or less, or give more"),
        ({"batch_size": 23, "setting": "config.x"}, r"config\.x=23 can't be filled"),
        ({"batch_size": 12, "shard_count": 2}, r"batch_size=24 can't be filled.*set it to 22 or"),
        ({"batch_size": 5, "shard_count": 5}, r"batch_size=25 can't be filled.*set it to 20 or"),
    ],
)
def test_impossible_streams_are_explained(config, changes, message):
    with pytest.raises(UserError, match=message):
        make(config, **changes)


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        f"""
import multiprocessing, os, signal, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parents[2])!r})
if __name__ == "__main__":
    from configs.base import get_config
    from tests.data.test_pipeline import make, take
    config = get_config()
    config.data.update(workers=2, memory_mib=0, image_size=16)
    iterator = make(config)
    take(iterator, 2)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    # The workers hold the pipe of the output: reading ends when the last of them has ended.
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert result.returncode == -signal.SIGKILL
    assert len(result.stdout.split()) == 2
