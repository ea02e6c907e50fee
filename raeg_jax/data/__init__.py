"""Builders of the data sets and the input pipeline.

splits = data.load(config.data)
images, labels, names = data.arrays(splits.test, config.data)
batches = data.train_iterator(splits.train, config.data, batch_size=32, ...)
"""

from raeg_jax.data import decode
from raeg_jax.data.memory import arrays
from raeg_jax.data.pipeline import TrainIterator, train_iterator
from raeg_jax.data.prepare import DATASETS, load
from raeg_jax.data.records import Record, Records, Splits

__all__ = [
    "DATASETS",
    "Record",
    "Records",
    "Splits",
    "TrainIterator",
    "arrays",
    "decode",
    "load",
    "train_iterator",
]
