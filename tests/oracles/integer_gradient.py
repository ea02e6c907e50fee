"""Gradient couplings in fixed point in plain NumPy: the inverse, with `integer_classifiers`.

Written from the docstrings, not from the code.
"""

import numpy as np

from tests.oracles.integer_classifiers import whole
from tests.oracles.integer_views import view


def inverse(
    y, label, rounds, part, networks, token=None, editable=None,
    *, step, reach, steps, kappa, loss, bound, margin,
    views=(("identity", 0),), smoothing=0, others=1,
):  # fmt: skip
    """Recovers images of a gradient coupling with masks of one channel, `diagonal`.

    Args:
      y: int32 [B, H, W, 3].
      label: int [B].
      rounds: int [B], of the side information.
      part: int [B], of the side information.
      networks: functions from images to logits and a pullback, see `integer_classifiers.network`.
      token: +1 and -1, [B, H, W, P], or None.
      editable: bool [B, H, W, 1], the pixels that could change; None for all.
      step, reach, steps, kappa, loss, bound, margin, views, smoothing, others: of the coupling and
        its conditioner; for `loss` the class to predict instead, int [B], or None.

    Returns:
      int32 [B, H, W, 3].
    """
    x = np.array(y, np.int32)
    changed = np.ones(x.shape[:3], bool)[..., None] if editable is None else editable
    length = int(np.rint(np.float32(step) * np.float32(1024)))
    for index in reversed(range(max(rounds))):
        mask = round_mask(x.shape, index, token) & changed
        filled, *ends = fill(x, mask)
        direction = _descend(
            np.clip(filled, 0, 255), label, networks, reach, steps, kappa, loss, views, smoothing,
            others,
        )  # fmt: skip
        parts = np.where(index == rounds - 1, part, 32) * (index < rounds)
        x = x - shift(direction, mask, *ends, length, parts, bound, margin)
    return x


def round_mask(shape, index, token):
    """The mask `diagonal` of a round: bool [B, H, W, 3]."""
    i, j = np.indices(shape[1:3])
    start = 0 if token is None else (np.asarray(token) < 0).sum(-1)
    channel = np.broadcast_to((2 * i + j + index + start) % 3, shape[:3])
    return channel[..., None] == np.arange(3)


def shift(direction, mask, low, high, length, part, bound, margin):
    """The shift of a round, int32 [B, H, W, 3].

    Args:
      direction: int [B, H, W, 3], in sixteenths.
      mask: bool [B, H, W, 3].
      low, high: of `fill`.
      length: of the root mean square, in 1,024ths of a pixel value.
      part: int [B], in 32nds.
      bound, margin: of the coupling.
    """
    share = rms(np.where(mask, 512, np.zeros_like(low)))
    full = to_rms(np.where(mask, direction, 0), divide(length * share, 4096))
    full = np.clip(full, -(2**24), 2**24)
    limited = np.clip(divide(full * part[:, None, None, None], 32 * 128), -bound, bound)
    down, up = np.maximum(low - margin, 0), np.maximum(255 - margin - high, 0)
    return np.where(mask, np.clip(limited, -down, up), 0).astype(np.int32)


def fill(x, mask):
    """Weighted mean of the neighbours of a channel, and the detail of the other channels."""
    H, W = x.shape[1:3]
    rows, columns = (np.abs(np.arange(-1, n + 1)) for n in (H, W))
    rows, columns = (
        np.where(i == n, max(n - 2, 0), i) if n > 1 else 0 * i for i, n in ((rows, H), (columns, W))
    )
    total, weights = np.zeros_like(x), np.zeros_like(x)
    low, high = np.full_like(x, 256), np.full_like(x, -1)
    for i in range(3):
        for j in range(3):
            if i == j == 1:
                continue
            pick = slice(None), *np.ix_(rows[i : i + H], columns[j : j + W])
            weight = 4 if 1 in (i, j) else 1
            value, known = x[pick], ~mask[pick]
            total = total + weight * value * known
            weights += weight * known
            low = np.where(known, np.minimum(low, value), low)
            high = np.where(known, np.maximum(high, value), high)
    mean = np.where(weights > 0, divide(total, weights), 128)
    detail = np.where(~mask & (weights > 0), x - mean, 0).sum(-1, keepdims=True)
    known = (~mask).sum(-1, keepdims=True)
    image = np.where(mask, np.clip(mean + divide(15 * detail, 16 * known), 0, 255), x)
    return image, np.minimum(low, image), np.maximum(high, image)


def _descend(
    image, label, networks, reach, steps, kappa, targets, views, smoothing, others
):  # fmt: skip
    start = image * 16
    radius = int(np.rint(np.float32(reach) * np.float32(128)))
    length, displacement = divide(5 * radius, 2 * steps), np.zeros_like(start)
    for index in range(steps):
        seen, pull_view = view(*views[index % len(views)])(start + displacement)
        logits, pulls = zip(*(net(np.float32(seen) / 16) for net in networks), strict=True)
        margins = [lead(z, label, targets, others) for z in logits]
        values = np.stack([value for value, _ in margins]) + round(kappa * 64)
        values = values - np.minimum(values.max(0), 0)
        weights = np.clip(8 + divide(values, 16), 1, 16)
        directions = [
            pull(np.float32(-weight[:, None] * gradient))
            for pull, weight, (_, gradient) in zip(pulls, weights, margins, strict=True)
        ]
        bits = int(np.log2(4096 // len(directions)))
        down = whole(np.stack(directions, axis=1), bits)[0].sum(1)
        down = whole(pull_view(np.float32(down)), 12, least=0)[0]
        if smoothing:
            down, _ = view("gaussian_blur", smoothing)(down)
        displacement = np.clip(displacement + to_rms(down, length), -4080, 4080)
        displacement = np.where(
            rms(displacement) > radius, to_rms(displacement, radius), displacement
        )
        displacement = np.clip(start + displacement, 0, 4080) - start
    return displacement


def lead(logits, label, targets, others):
    """The margin in 64ths, and its gradient; minus that of the targets, if there are any."""
    logits, images = np.rint(logits * 64).astype(np.int64), np.arange(len(label))
    classes = label if targets is None else targets
    rest = logits.copy()
    rest[images, classes] = -(2**30)
    best = np.argsort(-rest, axis=-1, kind="stable")[:, : min(others, logits.shape[-1] - 1)]
    gradient = np.zeros_like(logits)
    np.put_along_axis(gradient, best, -1, axis=-1)
    gradient[images, classes] = best.shape[-1]
    mean = divide(np.take_along_axis(logits, best, -1).sum(-1), best.shape[-1])
    sign = 1 if targets is None else -1
    return sign * (logits[images, classes] - mean), sign * gradient


def divide(a, b):
    b = np.maximum(b, 1)
    return (2 * a + b) // (2 * b)


def rms(x):
    """In eighths: of means of rows, rounded down."""
    rows = (np.int64(x) ** 2 * 64).sum((2, 3)) // (x.shape[2] * x.shape[3])
    mean = rows.sum(1) // x.shape[1]
    roots = np.floor(np.sqrt(mean)).astype(np.int64)
    assert np.all((roots**2 <= mean) & (mean < (roots + 1) ** 2))
    return roots[:, None, None, None]


def to_rms(x, target):
    return divide(np.int64(x) * target, rms(x))
