"""What the user is told of a data set: its classes, their images, and what is odd about them."""

import numpy as np

from raeg_jax.data.listing import Listing
from raeg_jax.data.records import Splits

# With more classes than this only the smallest and the largest are named.
_NAMED = 20
_EXAMPLES = 3


def summary(splits: Splits) -> str:
    """One line: the number of classes, and how many images each has in each split."""
    names, (train, test) = splits.class_names, _counts(splits)
    text = (
        f"{splits.name}: {len(names)} classes, {len(splits.train)} training and "
        f"{len(splits.test)} test images"
    )
    if len(names) <= _NAMED:
        rows = [f"{name} {a} + {b}" for name, a, b in zip(names, train, test, strict=True)]
        return f"{text}: {', '.join(rows)}"
    least, most = (int(place(train + test)) for place in (np.argmin, np.argmax))
    return (
        f"{text}: from {names[least]} {train[least]} + {test[least]} to {names[most]} "
        f"{train[most]} + {test[most]}"
    )


def content_notes(listing: Listing, splits: Splits) -> list[str]:
    """Sentences on classes that are never tested, and on images that two classes share."""
    notes = []
    untested = [splits.class_names[label] for label in np.flatnonzero(_counts(splits)[1] == 0)]
    if untested:
        notes.append(
            f"{splits.name}: {len(untested)} classes have no test image, so they are trained on "
            f"and never tested: {_some(untested)}"
        )
    if shared := listing.in_two_classes():
        pairs = [f"{one} = {other}" for one, other in shared]
        notes.append(
            f"{splits.name}: {len(shared)} images are in two classes and count in both: "
            f"{_some(pairs)}"
        )
    return notes


def _counts(splits: Splits) -> list[np.ndarray]:
    """Images of each class in the training and in the test split, int [C] each."""
    return [
        np.bincount(records.labels, minlength=splits.num_classes)
        for records in (splits.train, splits.test)
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")
