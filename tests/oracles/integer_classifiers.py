"""Classifiers in block floating point in plain NumPy, forward and back.

Written from the docstrings, not from the code. All sums are sums of integers; floating
point only reads the weights, holds single rounded numbers between layers, and adds two of them
where branches meet.
"""

import numpy as np

MEAN = np.round(np.float32([123.675, 116.28, 103.53]) * 16) / 16
STD = np.float64([58.395, 57.12, 57.375])
# Bits of matrix products, of products within a channel, and of what enters no products.
PUBLISHED = 8, 10, 12


def whole(x, bits=7, least=-60):
    """Whole numbers int32 and the exponent of each image, [B, 1, ...]."""
    peak = np.abs(x).max(tuple(range(1, x.ndim)), keepdims=True)
    exponent = np.where(peak > 0, np.frexp(peak)[1] - bits, -60)
    exponent = np.clip(exponent, least, 30)
    limit = 2**bits - 1
    return np.clip(np.rint(np.ldexp(x, -exponent)), -limit, limit).astype(np.int32), exponent


def _snap(x, bits=7):
    numbers, exponent = whole(x, bits)
    return np.ldexp(np.float32(numbers), exponent)


class Layer:
    """A rounded kernel and bias: of a convolution, or a multiplication where it has one axis.

    A convolution of three axes is depthwise. No sum of a network with `published` may be split.
    """

    def __init__(self, kernel, bias, pixels=False, published=False):
        self.pixels, self.bits = pixels, 7
        limit = 127
        if published:
            self.bits = PUBLISHED[kernel.ndim < 4]
            limit = 2**self.bits - 1
        elif kernel.ndim > 1:
            rows, columns, channels, features = kernel.shape
            fan = max(rows * columns * channels * (20 if pixels else 1), rows * columns * features)
            limit = min(127, (2**24 - 2**20 - 1) // (127 * fan)) - 1 | 1
        peaks = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(0)
        units = np.ceil(np.log2(np.maximum(peaks / limit, 2.0**-60)))
        units = np.maximum(units, units.max() - 3)
        if pixels:
            units = np.maximum(units, np.ceil(np.log2(np.maximum(np.abs(bias) / 2**16, 2.0**-60))))
        if kernel.ndim == 3:
            whole_kernel = np.abs(np.clip(np.rint(kernel / 2.0**units), -limit, limit))
            units = units + (whole_kernel.sum((0, 1)) * limit >= 2**24 - 2**20)
        self.units = units.astype(int)
        self.kernel = np.clip(np.rint(kernel / 2.0**units), -limit, limit).astype(np.int32)
        self.bias = np.float32(bias / 2.0**units)
        peak = max(np.abs(self.bias).max() / 2**20, 2.0**-60)
        self.least = int(np.ceil(np.log2(peak)))

    def _read(self, x):
        if self.pixels:
            return np.int32(x * 16), np.full((len(x), 1, 1, 1), -4)
        return whole(x, self.bits, self.least)

    def _made(self, sums, exponent):
        offsets = np.rint(np.ldexp(self.bias, -exponent)).astype(np.int32)
        return np.ldexp(np.float32(sums + offsets), exponent + self.units)

    def scale(self, x):
        numbers, exponent = self._read(x)

        def pull(g):
            back, exponent = whole(np.ldexp(g, self.units), self.bits)
            return np.ldexp(np.float32(back * self.kernel), exponent)

        return self._made(numbers * self.kernel, exponent), pull

    def conv(self, x, stride=1, padding=None):
        numbers, exponent = self._read(x)
        (H, W), sides = x.shape[1:3], self.kernel.shape[:2]
        padding = padding or [(side // 2, side // 2) for side in sides]
        padded = np.pad(numbers, ((0, 0), *padding, (0, 0)))
        tall, wide = (padded.shape[i + 1] - side + 1 for i, side in enumerate(sides))
        seen = [
            (slice(None), slice(i, i + tall, stride), slice(j, j + wide, stride))
            for i in range(sides[0])
            for j in range(sides[1])
        ]
        kernels = self.kernel.reshape(-1, *self.kernel.shape[2:])
        multiply = np.multiply if kernels.ndim == 2 else np.matmul
        sums = sum(multiply(padded[own], k) for own, k in zip(seen, kernels, strict=True))
        assert np.abs(sums).max() < 2**24

        def pull(g):
            back, exponent = whole(np.ldexp(g, self.units), self.bits)
            sums = np.zeros_like(padded)
            for own, kernel in zip(seen, kernels, strict=True):
                sums[own] += multiply(back, kernel.T)
            assert np.abs(sums).max() < 2**24
            (top, _), (left, _) = padding
            return np.ldexp(np.float32(sums[:, top:, left:][:, :H, :W]), exponent)

        return self._made(sums, exponent), pull

    def dense(self, x):
        y, pull = self.conv(x[:, None, None])
        return y[:, 0, 0], lambda g: pull(g[:, None, None])[:, 0, 0]


def network(name, variables):
    """A small classifier: images float32 [B, H, W, 3] -> logits and the pullback."""
    build = {"resnet_small": _resnet, "vgg_small": _vgg, "densenet_small": _densenet}[name]
    whole = build(variables["params"], variables.get("batch_stats", {}))
    return lambda images: _sequence(_pad, _standardise, whole)(images)


def _sequence(*layers):
    def run(x):
        pulls = []
        for layer in layers:
            x, pull = layer(x)
            pulls.append(pull)

        def back(g):
            for pull in reversed(pulls):
                g = pull(g)
            return g

        return x, back

    return run


def _pad(x):
    """To 32 pixels at least, by reflection."""
    rows, columns = (
        np.pad(np.arange(n), (0, max(0, 32 - n)), mode="symmetric") for n in x.shape[1:3]
    )

    def pull(g):
        sums = np.zeros(x.shape, np.float32)
        np.add.at(sums, (slice(None), *np.ix_(rows, columns)), g)
        return sums

    return x[:, rows][:, :, columns], pull


def lite(module, variables):
    """An EfficientNet-Lite with published weights, as `network`."""
    own, (_, channels, between) = _Weights(variables["params"], variables["batch_stats"]), PUBLISHED

    def conv(own, name, stride=1, pixels=False):
        norm = own.norm(f"{name}_norm", 1e-3)
        kernel = np.float64(own.params[name]["kernel"]) * norm[0]
        kernel = kernel[:, :, 0] if name == "depthwise" else kernel
        if pixels:
            kernel = kernel / np.float64(module.preprocessing.std)[:, None]
        layer = Layer(kernel, norm[1], pixels, published=True)
        return lambda x: layer.conv(x, stride, _same(x.shape[1:3], len(kernel), stride))

    def block(own, expansion, stride):
        layers = [conv(own, "expand"), _relu6] if expansion > 1 else []
        layers += [conv(own, "depthwise", stride), _relu6, conv(own, "project")]
        inside = _sequence(*layers)

        def run(x):
            x = _snap(x, between)
            y, pull = inside(x)
            if x.shape != y.shape:
                return y, lambda g: _snap(pull(g), between)
            return x + y, lambda g: _snap(g + pull(g), between)

        return run

    layers = [conv(own, "stem", 2, pixels=True), _relu6]
    for _, blocks, _, expansion, stride in module.stages:
        for index in range(blocks):
            inside = own.inside(f"InvertedBottleneck_{len(layers) - 2}")
            layers.append(block(inside, expansion, 1 if index else stride))
    kernel, bias = (np.float64(own.params["Dense_0"][key]) for key in ("kernel", "bias"))
    layers += [conv(own, "head"), _relu6, lambda x: _mean(x, channels)]
    layers.append(Layer(kernel[None, None], bias, published=True).dense)
    mean = np.float32(module.preprocessing.mean)

    def standardise(x):
        return x - mean, lambda g: _snap(g, 12)

    return _sequence(lambda x: _enlarge(x, module.preprocessing.crop), standardise, *layers)


def _same(shape, side, stride):
    """TensorFlow's padding: the odd row of zeros at the end."""
    totals = [max((-(-n // stride) - 1) * stride + side - n, 0) for n in shape]
    return [(total // 2, total - total // 2) for total in totals]


def _enlarge(x, side):
    n = round(side / min(x.shape[1:3]))
    B, H, W, C = x.shape
    return x.repeat(n, 1).repeat(n, 2), lambda g: g.reshape(B, H, n, W, n, C).sum((2, 4))


def _relu6(x):
    return np.clip(x, 0, 6), lambda g: np.where((x > 0) & (x < 6), g, np.float32(0))


def _standardise(x):
    return x - MEAN, lambda g: _snap(g, 12)


def _relu(x):
    return np.maximum(x, 0), lambda g: np.where(x > 0, g, np.float32(0))


def _halve(x):
    """Maximum of two rows, then of two columns; among equals the first."""
    B, H, W, C = x.shape
    windows = x[:, : H // 2 * 2, : W // 2 * 2].reshape(B, H // 2, 2, W // 2, 2, C)
    upper = windows[:, :, 0] >= windows[:, :, 1]
    rows = np.where(upper, windows[:, :, 0], windows[:, :, 1])
    left = rows[:, :, :, 0] >= rows[:, :, :, 1]
    chosen = np.stack([left, ~left], axis=3)
    chosen = np.stack([chosen & upper, chosen & ~upper], axis=2)

    def pull(g):
        back = np.zeros_like(x)
        back[:, : H // 2 * 2, : W // 2 * 2] = np.where(
            chosen, g[:, :, None, :, None], np.float32(0)
        ).reshape(B, H // 2 * 2, W // 2 * 2, C)
        return back

    return np.where(left, rows[:, :, :, 0], rows[:, :, :, 1]), pull


def _halve_by_mean(x):
    B, H, W, C = x.shape
    windows = _snap(x)[:, : H // 2 * 2, : W // 2 * 2].reshape(B, H // 2, 2, W // 2, 2, C)

    def pull(g):
        back = np.zeros_like(x)
        back[:, : H // 2 * 2, : W // 2 * 2] = (g / 4).repeat(2, axis=1).repeat(2, axis=2)
        return _snap(back)

    return windows.sum((2, 4)) / 4, pull


def _mean(x, bits=7):
    share = np.float32(1 / (x.shape[1] * x.shape[2]))

    def pull(g):
        return _snap(np.broadcast_to((g * share)[:, None, None], x.shape), bits)

    return _snap(x, bits).sum((1, 2)) * share, pull


class _Weights:
    """The parameters of one module, by the names that Flax gives."""

    def __init__(self, params, stats):
        self.params, self.stats = params, stats

    def inside(self, name):
        return _Weights(self.params[name], self.stats.get(name, {}))

    def norm(self, name, epsilon=1e-5):
        params, stats = (
            {key: np.float64(value) for key, value in part[name].items()}
            for part in (self.params, self.stats)
        )
        factor = params["scale"] / np.sqrt(stats["var"] + epsilon)
        return factor, params["bias"] - stats["mean"] * factor

    def scale(self, norm):
        return Layer(*self.norm(norm)).scale

    def conv(self, name, norm=None, stride=1, pixels=False):
        kernel = np.float64(self.params[name]["kernel"])
        bias = np.float64(self.params[name].get("bias", np.zeros(kernel.shape[-1])))
        if pixels:
            kernel = kernel / STD[:, None]
        if norm:
            factor, offset = self.norm(norm)
            kernel, bias = kernel * factor, bias * factor + offset
        layer = Layer(kernel, bias, pixels)
        return lambda x: layer.conv(x, stride)

    def dense(self, name):
        kernel, bias = (np.float64(self.params[name][key]) for key in ("kernel", "bias"))
        return Layer(kernel[None, None], bias).dense


def _resnet(params, stats):
    own = _Weights(params, stats)
    layers = [own.conv("Conv_0", "BatchNorm_0", 2, pixels=True), _relu, _halve]
    for index in range(5):
        layers.append(_residual(own.inside(f"BasicBlock_{index}"), 2 if index in (2, 4) else 1))
    return _sequence(*layers, _mean, own.dense("Dense_0"))


def _residual(own, stride):
    main = _sequence(
        own.conv("Conv_0", "BatchNorm_0", stride), _relu, own.conv("Conv_1", "BatchNorm_1")
    )
    short = lambda x: (x, lambda g: g)  # noqa: E731
    if stride > 1:
        short = own.conv("shortcut", "shortcut_norm", stride)

    def both(x):
        x = _snap(x)
        (y, pull_main), (z, pull_short) = main(x), short(x)
        return y + z, lambda g: _snap(pull_main(g) + pull_short(g))

    return _sequence(both, _relu)


def _vgg(params, stats):
    own = _Weights(params, stats)
    layers = []
    for index, halved in enumerate((True, False, True, True)):
        first = index == 0
        layers += [own.conv(f"Conv_{index}", f"BatchNorm_{index}", 1 + first, first), _relu]
        layers += [_halve] * halved
    return _sequence(*layers, _mean, own.dense("Dense_0"))


def _densenet(params, stats):
    own = _Weights(params, stats)
    layers = [own.conv("Conv_0", "BatchNorm_0", 2, pixels=True), _relu, _halve]
    for block in range(3):
        if block:
            layers += [own.scale(f"BatchNorm_{block}"), _relu, own.conv(f"Conv_{block}")]
            layers.append(_halve_by_mean)
        layers += [_appended(own.inside(f"DenseLayer_{4 * block + i}")) for i in range(4)]
    return _sequence(*layers, own.scale("BatchNorm_3"), _relu, _mean, own.dense("Dense_0"))


def _appended(own):
    new = _sequence(
        own.scale("BatchNorm_0"), _relu, own.conv("Conv_0", "BatchNorm_1"), _relu,
        own.conv("Conv_1"),
    )  # fmt: skip

    def both(x):
        x = _snap(x)
        y, pull = new(x)
        channels = x.shape[-1]
        return np.concatenate([x, y], axis=-1), lambda g: _snap(
            g[..., :channels] + pull(g[..., channels:])
        )

    return both
