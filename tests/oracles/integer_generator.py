"""The integer generator in plain NumPy int32: no JAX, no floating point but to read the weights.

Written from the docstrings, not from the code: the same bits from both mean that nothing
depends on how JAX compiles or which algorithm multiplies.
"""

import numpy as np


def conditioning(token, labels, class_planes, shape):
    """The planes that conditioners are given: int32 [B, H, W, P + Q].

    Args:
      token: of +1 and -1 [B, H, W, P], or None.
      labels: int [B].
      class_planes: Q.
      shape: of the images, [B, H, W, 3].
    """
    codes = [f"{int(label) * 40075:064b}"[::-1][:class_planes] for label in labels]
    signs = np.array([[1 - 2 * int(bit) for bit in code] for code in codes], np.int32)
    planes = np.broadcast_to(
        signs.reshape(len(labels), 1, 1, class_planes), (*shape[:3], class_planes)
    )
    return planes if token is None else np.concatenate([token.astype(np.int32), planes], axis=-1)


def inverse(params, y, token=None, editable=None, *, blocks, depth):
    """Recovers images of the default generator (integer, unet, permutation, haar).

    Args:
      params: its parameters, nested dicts of float32 arrays.
      y: int32 [B, H, W, 3].
      token: of +1 and -1 [B, H, W, P], perhaps with planes of the class, or None.
      editable: bool [B, H, W, 1], the pixels that could change; None for all.
      blocks: blocks each way of each level, finest first.
      depth: halvings inside a conditioner.

    Returns:
      int32 [B, H, W, 3].
    """
    token = np.zeros((*y.shape[:3], 0), np.int32) if token is None else token.astype(np.int32)
    editable = np.ones((*y.shape[:3], 1), bool) if editable is None else editable
    return _level(
        params["pyramid"], np.asarray(y, np.int32), token, editable, tuple(blocks), 0, depth
    )


def _level(params, y, token, editable, blocks, index, depth):
    height, width, channels = y.shape[1:]
    token = token[:, ::2, ::2]
    # A block of 2 x 2 changes only if all of its pixels may.
    editable = np.pad(
        editable, [(0, 0), (0, height % 2), (0, width % 2), (0, 0)], constant_values=True
    )
    editable = editable.reshape(len(y), -(-height // 2), 2, -(-width // 2), 2, 1).all(axis=(2, 4))
    z, mask = _analyse(y), _mask(height, width, channels) * editable
    deepest = index == len(blocks) - 1
    if not deepest:
        for i in reversed(range(blocks[index])):
            z = _block(params[f"up_{i}"], z, token, mask, 1000 * index + 2 * i + 1, depth)
        low = _level(params["below"], z[..., :channels], token, editable, blocks, index + 1, depth)
        z = np.concatenate([low, z[..., channels:]], axis=-1)
    for i in reversed(range(blocks[index])):
        z = _block(params[f"down_{i}"], z, token, mask, 1000 * index + 2 * i, depth)
    return _synthesise(z, height, width)


def _block(params, z, token, mask, index, depth):
    order = np.random.RandomState(index).permutation(z.shape[-1])
    z, mask = z[..., order], mask[..., order]
    half = z.shape[-1] // 2
    c, d = z[..., :half], z[..., half:]
    coupling = params["coupling"]
    b = d - _shift(coupling["second"], c, token, mask[..., half:], depth)
    a = c - _shift(coupling["first"], b, token, mask[..., :half], depth)
    return np.concatenate([a, b], axis=-1)[..., np.argsort(order)]


def _shift(params, by, token, mask, depth):
    """8 pixels for each 1 of the conditioner's output; 64 pixels are 1 of its input."""
    (layers,) = params["shift"].values()
    # 64 pixels are 32 units.
    seen = np.concatenate([_clip(_round(by, 1)), 32 * token], axis=-1)
    sums, units = _unet(layers, seen, depth)
    # Units of 1 / (32 * units): times 8.
    return (
        np.stack(
            [_round(sums[..., i], int(np.log2(units[i])) + 5 - 3) for i in range(len(units))],
            axis=-1,
        )
        * mask
    )


def _unet(layers, x, depth):
    step = iter(range(len(layers)))

    def conv(x, stride=1):
        return _requantise(*_conv(layers[f"FixedConv_{next(step)}"], x, stride))

    x, skips = conv(x), []
    for _ in range(depth):
        skips.append(x)
        x = conv(_leaky(x), 2)
        x = _clip(x + conv(_leaky(x)))
    for skip in reversed(skips):
        x = conv(x).repeat(2, axis=1).repeat(2, axis=2)[:, : skip.shape[1], : skip.shape[2]]
        x = _clip(x + skip)
        x = _clip(x + conv(_leaky(x)))
    return _conv(layers[f"FixedConv_{next(step)}"], _leaky(x), 1)


def _conv(layer, x, stride):
    """Sums, int32, and the weights' units in 1 of each channel."""
    kernel, bias = (np.asarray(layer[k], np.float64) for k in ("kernel", "bias"))
    rows, columns, channels, features = kernel.shape
    limit = min(127, (2**24 - 2**20 - 1) // (127 * rows * columns * channels))
    limit = max(limit - 1 | 1, 1)
    peaks = np.abs(kernel).max((0, 1, 2))
    units = np.array([max(2**e for e in range(13) if e == 0 or p * 2**e <= limit) for p in peaks])
    weights = np.clip(np.rint(kernel * units), -limit, limit).astype(np.int32)
    offsets = np.clip(np.rint(bias * units * 32), -(2**20), 2**20).astype(np.int32)
    height, width = x.shape[1:3]
    border = ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0))
    padded = np.pad(x, border)
    sums = np.zeros((len(x), -(-height // stride), -(-width // stride), features), np.int32)
    for i in range(rows):
        for j in range(columns):
            seen = padded[:, i : i + height : stride, j : j + width : stride]
            sums += seen @ weights[i, j]
    return sums + offsets, units


def _requantise(sums, units):
    shifted = [_round(sums[..., i], int(np.log2(unit))) for i, unit in enumerate(units)]
    return _clip(np.stack(shifted, axis=-1))


def _leaky(x):
    return np.where(x < 0, _round(x, 2), x)


def _clip(x):
    return np.clip(x, -127, 127)


def _round(x, bits):
    """x / 2^bits to the nearest integer, ties to even; a negative number of bits multiplies."""
    if bits <= 0:
        return x << -bits
    down, rest, half = x >> bits, x & ((1 << bits) - 1), 1 << (bits - 1)
    return down + ((rest > half) | ((rest == half) & (down & 1 == 1)))


def _analyse(x):
    """Columns, then rows: d = a - b, s = b + floor(d / 2), into groups ll, lh, hl, hh."""
    low, high = _pairs(x, 2)
    (ll, hl), (lh, hh) = _pairs(low, 1), _pairs(high, 1)
    return np.concatenate([ll, lh, hl, hh], axis=-1)


def _pairs(x, axis):
    x = np.moveaxis(x, axis, 0)
    if len(x) % 2:
        x = np.concatenate([x, x[-1:]])
    a, b = x[::2], x[1::2]
    return np.moveaxis(b + (a - b >> 1), 0, axis), np.moveaxis(a - b, 0, axis)


def _synthesise(z, height, width):
    ll, lh, hl, hh = np.split(z, 4, axis=-1)
    low, high = _merge(ll, hl, 1, height), _merge(lh, hh, 1, height)
    return _merge(low, high, 2, width)


def _merge(s, d, axis, size):
    b = s - (d >> 1)
    pair = np.stack([np.moveaxis(d + b, axis, 0), np.moveaxis(b, axis, 0)], axis=1)
    return np.moveaxis(pair.reshape(-1, *pair.shape[2:])[:size], 0, axis)


def _mask(height, width, channels):
    """0 where a high band has no partner."""
    mask = np.ones((1, (height + 1) // 2, (width + 1) // 2, 4, channels), np.int32)
    if width % 2:
        mask[:, :, -1, [1, 3]] = 0
    if height % 2:
        mask[:, -1, :, [2, 3]] = 0
    return mask.reshape(*mask.shape[:3], 4 * channels)
