"""The endless, shuffled, sharded, resumable stream of training batches."""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence

import grain
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from raeg_jax.data import decode
from raeg_jax.data.augment import (
    mix,
    random_cutout,
    random_flip,
    random_grey,
    random_part,
    random_shift,
)
from raeg_jax.data.memory import fits, images_of, labels_of
from raeg_jax.data.records import Record
from raeg_jax.errors import UserError


class TrainIterator(Iterator):
    """Yields `{"image": uint8 [b, S, S, 3], "label": int32 [b]}` without end.

    If images are blended, also `"other"`, int32 [b], the label of the image that each is blended
    with, and `"share"`, float32 [b], the weight of the image itself.

    Batch number n depends on the seed and on n alone, so the position is the number of batches
    taken: `set_state(get_state())` of an equal iterator continues with identical batches, whatever
    the numbers of threads and worker processes. With another number of hosts, but the same global
    batch, it continues at the same place of the epoch.

    Attributes:
      workers: processes that make the batches; 0 if threads of this process do.
    """

    def __init__(self, batches: grain.MapDataset, workers: int, identity: dict):
        self.workers = workers
        self._batches = batches
        self._identity = identity
        self._taken = 0
        self._stream: Iterator[dict] | None = None

    def __next__(self) -> dict:
        if self._stream is None:
            self._stream = self._start(self._taken)
        batch = next(self._stream)
        self._taken += 1
        return batch

    def get_state(self) -> dict:
        """The position, as values that JSON can hold."""
        return {"batches": self._taken, **self._identity}

    def set_state(self, state: dict) -> None:
        """Moves to the position of `get_state`.

        Raises:
          UserError: the state is of other data, another seed or another global batch size.
        """
        for name, value in self._identity.items():
            if state.get(name) != value:
                raise UserError(
                    f"can't resume the training data: {name} was {state.get(name)} when the "
                    f"checkpoint was saved and is {value} now"
                )
        self.close()
        self._taken = int(state["batches"])

    def close(self) -> None:
        """Stops worker processes and threads; the next batch starts new ones."""
        if self._stream is not None:
            self._stream.close()  # type: ignore[attr-defined]  # Grain's iterators have it
            self._stream = None

    def _start(self, position: int) -> Iterator[dict]:
        threads = min(os.cpu_count() or 1, 8)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(4, threads))
        stream = self._batches[position:].to_iter_dataset(options)
        if self.workers:
            if not flags.FLAGS.is_parsed():
                # Grain reads flags of its own, which only absl.app parses.
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=self.workers)
            stream = stream.mp_prefetch(options, worker_init_fn=_end_with_parent)
        return iter(stream)


def train_iterator(
    split: Sequence[Record],
    settings: ConfigDict,
    *,
    batch_size: int,
    seed: int,
    augment: ConfigDict,
    shard_index: int = 0,
    shard_count: int = 1,
    crop: bool,
    setting: str = "batch_size",
) -> TrainIterator:
    """Makes the stream of training batches of one host.

    Every epoch is shuffled differently over the whole split, then dealt out to the hosts. Batches
    continue across epochs, so no image is left out. Images come from memory if the split takes less
    than `settings.memory_mib`; else they are decoded when they are needed, by `settings.workers`
    processes (0: by threads).

    Args:
      split: records.
      settings: `config.data`.
      batch_size: images a batch on this host.
      seed: of the order and of the augmentation; the same on all hosts.
      augment: `config.augment`.
      shard_index: this host's number.
      shard_count: number of hosts.
      crop: whether all of `augment` applies; else images are at most flipped.
      setting: the name of the global batch size among the settings, for the message.

    Raises:
      UserError: a shard is smaller than a batch.
    """
    _check_batch(len(split), batch_size, shard_count, setting)
    make = _Batch(split, settings, augment, flip_only=not crop)
    order = grain.MapDataset.range(len(split)).seed(seed % 2**32).shuffle()
    batches = (
        order[shard_index::shard_count]
        .repeat()
        .batch(batch_size, drop_remainder=True)
        # Hosts get random numbers of their own.
        .random_map(make, seed=(seed + 7919 * (shard_index + 1)) % 2**32)
    )
    identity = {"seed": seed, "examples": len(split), "global_batch": batch_size * shard_count}
    # Images in memory need no more than threads; each process would hold them once more.
    return TrainIterator(batches, 0 if make.in_memory else settings.workers, identity)


def _end_with_parent(index: int, count: int) -> None:
    """Lets a worker process end when its parent does, killed ones included."""
    del index, count

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None, "only worker processes call this"
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class _Batch:
    """Makes a batch from its indices: from memory, or by decoding."""

    def __init__(
        self, split: Sequence[Record], settings: ConfigDict, augment: ConfigDict, flip_only: bool
    ):
        self._split = split
        self._size = settings.image_size
        self._flip = augment.flip
        names = ("crop_padding", "grey", "cutout", "mixup")
        self._strength = {name: 0 if flip_only else augment[name] for name in names}
        self._crop_share = 1.0 if flip_only else augment.crop_share
        self._labels = labels_of(split)
        self._images: np.ndarray | None = None
        if fits(len(split), settings):
            self._images = images_of(split, settings)

    @property
    def in_memory(self) -> bool:
        """Whether the images are decoded already."""
        return self._images is not None

    def __call__(self, indices: np.ndarray, generator: np.random.Generator) -> dict:
        if self._images is not None:
            images = self._images[indices]
        else:
            images = np.stack([self._load(int(index)) for index in indices])
        if self._flip:
            images = random_flip(images, generator)
        labels, strength = self._labels[indices], self._strength
        if self._crop_share < 1:
            images = random_part(images, self._crop_share, generator)
        if strength["crop_padding"]:
            images = random_shift(images, strength["crop_padding"], generator)
        if strength["grey"]:
            images = random_grey(images, strength["grey"], generator)
        if strength["cutout"]:
            images = random_cutout(images, strength["cutout"], generator)
        if not strength["mixup"]:
            return {"image": images, "label": labels}
        images, partner, share = mix(images, strength["mixup"], generator)
        return {"image": images, "label": labels, "other": labels[partner], "share": share}

    def _load(self, index: int) -> np.ndarray:
        return decode.load(self._split[index]["image"], self._size)


def _check_batch(examples: int, batch_size: int, shard_count: int, setting: str) -> None:
    # The batch that the smallest shard can fill, on every host.
    most = examples // shard_count * shard_count
    if not 0 < batch_size * shard_count <= most:
        raise UserError(
            f"{setting}={batch_size * shard_count} can't be filled from {examples} training "
            f"images: set it to {most} or less, or give more images"
        )
