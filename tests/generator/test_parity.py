"""Couplings, mixings and down-samplings against FrEIA, with our constants folded into weights."""

import functools

import jax
import numpy as np
import pytest

from raeg_jax.generator.conditioner import PlainConditioner
from raeg_jax.generator.coupling import CLAMPINGS, Coupling
from raeg_jax.generator.mixing import MIXINGS, Rotation
from raeg_jax.generator.unet import DOWNSAMPLINGS, Block

pytestmark = pytest.mark.parity

CHANNELS, HALF, WIDTH, CLAMP = 6, 3, 8, 0.8
DIMS = [(CHANNELS, 6, 4)]
# What our couplings divide pixels by, and multiply shifts and log scales by.
PIXELS_IN, SHIFT, LOG_SCALE = 64.0, 8.0, 1 / 16


@pytest.fixture
def freia():
    """The modules of FrEIA."""
    pytest.importorskip("FrEIA", reason="the extra `parity` isn't installed", exc_type=ImportError)
    import FrEIA.modules

    return FrEIA.modules


def pixels(channels=CHANNELS, seed=0):
    return np.random.RandomState(seed).uniform(0, 255, (2, 6, 4, channels)).astype(np.float32)


def random_variables(layer, x, scale=0.2):
    shapes = jax.eval_shape(lambda x: layer.init(jax.random.key(0), x, method="forward"), x)
    random = np.random.RandomState(1)
    return jax.tree.map(lambda p: (scale * random.randn(*p.shape)).astype(np.float32), shapes)


def conditioner():
    return functools.partial(PlainConditioner, width=WIDTH, depth=1)


def subnet(channels_in, channels_out):
    """A `PlainConditioner` of one layer in PyTorch."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels_in, WIDTH, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(WIDTH, channels_out, 3, padding=1),
    )


def fill(net, params, factors):
    """Gives a subnet our weights: its input is divided, its outputs are multiplied by factors."""
    import torch

    layers = params["PlainConditioner_0"]
    last = np.repeat(np.float32(factors), HALF)
    for layer, name, factor in ((net[0], "Conv_0", 1 / PIXELS_IN), (net[2], "Conv_1", last)):
        kernel = np.transpose(layers[name]["kernel"], (3, 2, 0, 1))  # HWIO -> OIHW
        if name == "Conv_0":
            kernel, bias = kernel * factor, layers[name]["bias"]
        else:
            kernel, bias = kernel * factor[:, None, None, None], layers[name]["bias"] * factor
        layer.weight.data, layer.bias.data = torch.tensor(kernel), torch.tensor(bias)


def compare(ours, theirs, x, atol=1e-3):
    """Compares forward and inverse of two pairs of functions."""
    y = np.asarray(ours[0](x))
    assert y.shape != x.shape or np.abs(y - x).max() > 1
    np.testing.assert_allclose(theirs[0](x), y, atol=atol)
    np.testing.assert_allclose(theirs[1](y), ours[1](y), atol=atol)
    np.testing.assert_allclose(ours[1](y), x, atol=atol)


def functions(layer, variables):
    """`forward` and `inverse` of a module of ours."""
    return [
        jax.jit(functools.partial(layer.apply, variables, method=method))
        for method in ("forward", "inverse")
    ]


def functions_of(module):
    """Forward and inverse of a module of FrEIA."""
    import torch

    def run(x, rev):
        nchw = torch.tensor(np.transpose(x, (0, 3, 1, 2)))
        with torch.no_grad():
            (y,), _ = module([nchw], rev=rev)
        return np.transpose(y.numpy(), (0, 2, 3, 1))

    return functools.partial(run, rev=False), functools.partial(run, rev=True)


def activation(clamping):
    """A clamping for FrEIA: its name, or a function where FrEIA has .636 in place of 2 / pi."""
    import torch

    return (lambda u: 2 / np.pi * torch.atan(u)) if clamping == "atan" else clamping.upper()


def make(variant, clamping="tanh", clamp=CLAMP):
    layer = Coupling(variant, conditioner(), clamp, clamping=clamping)
    variables = random_variables(layer, pixels())
    return functions(layer, variables), variables["params"]["first"], variables["params"]["second"]


def test_additive_is_nice(freia):
    ours, first, second = make("additive")
    theirs = freia.NICECouplingBlock(DIMS, subnet_constructor=subnet)
    fill(theirs.F, first["shift"], (SHIFT,))
    fill(theirs.G, second["shift"], (SHIFT,))
    compare(ours, functions_of(theirs), pixels())


@pytest.mark.parametrize("clamping", CLAMPINGS)
def test_affine_is_rnvp(clamping, freia):
    ours, first, second = make("affine", clamping)
    theirs = freia.RNVPCouplingBlock(
        DIMS, subnet_constructor=subnet, clamp=CLAMP, clamp_activation=activation(clamping)
    )
    for params, scale, shift in (
        (first, theirs.subnet_s2, theirs.subnet_t2),
        (second, theirs.subnet_s1, theirs.subnet_t1),
    ):
        fill(scale, params["scale"], (LOG_SCALE / CLAMP,))
        fill(shift, params["shift"], (SHIFT,))
    compare(ours, functions_of(theirs), pixels())


@pytest.mark.parametrize("clamping", CLAMPINGS)
def test_glow_is_glow(clamping, freia):
    ours, first, second = make("glow", clamping)
    theirs = freia.GLOWCouplingBlock(
        DIMS, subnet_constructor=subnet, clamp=CLAMP, clamp_activation=activation(clamping)
    )
    for params, net in ((first, theirs.subnet2), (second, theirs.subnet1)):
        fill(net, params["scale_and_shift"], (LOG_SCALE / CLAMP, SHIFT))
    compare(ours, functions_of(theirs), pixels())


def test_gin_pixel_is_gin(freia):
    # Ours halves log scales, so that their bound holds after their mean is taken away, too.
    ours, first, second = make("gin_pixel", clamp=2 * CLAMP)
    theirs = freia.GINCouplingBlock(
        DIMS, subnet_constructor=subnet, clamp=CLAMP, clamp_activation="TANH"
    )
    for params, net in ((first, theirs.subnet2), (second, theirs.subnet1)):
        fill(net, params["scale_and_shift"], (LOG_SCALE / (2 * CLAMP), SHIFT))
    compare(ours, functions_of(theirs), pixels())


@pytest.mark.parametrize("mixing", ["none", "rotation"])
def test_all_in_one_with_rotation_is_the_all_in_one_block(mixing, freia, monkeypatch):
    import torch

    theirs = freia.AllInOneBlock(
        DIMS,
        subnet_constructor=subnet,
        affine_clamping=CLAMP,
        global_affine_type="EXP",
        permute_soft=True,
        reverse_permutation=True,
    )
    # Our first half is changed by the second one, theirs the other way round.
    swap = np.roll(np.eye(CHANNELS, dtype=np.float32), HALF, axis=0)
    if mixing == "none":
        matrix = torch.tensor(swap)[..., None, None]
        theirs.w_perm.data, theirs.w_perm_inv.data = matrix, matrix
    rotation = swap @ theirs.w_perm_inv.numpy()[..., 0, 0]
    monkeypatch.setattr(Rotation, "matrix", lambda _: rotation)

    layer = Block(MIXINGS[mixing](CHANNELS, 0), Coupling("all_in_one", conditioner(), CLAMP))
    shapes = jax.eval_shape(
        lambda x: layer.init(jax.random.key(0), x, None, None, method="forward"), pixels()
    )
    random = np.random.RandomState(1)
    variables = jax.tree.map(lambda p: np.float32(0.2 * random.randn(*p.shape)), shapes)
    first, second = (variables["params"]["coupling"][name] for name in ("first", "second"))
    # Their coefficients are divided by ten.
    fill(theirs.subnet, first["scale_and_shift"], (10 * LOG_SCALE / CLAMP, 10 * SHIFT))
    s, t = (
        np.concatenate([second["affine"][name], first["affine"][name]])
        for name in ("log_scale", "shift")
    )
    scale = CLAMP * np.tanh(s * LOG_SCALE / CLAMP)
    theirs.global_scale.data = torch.tensor(scale.reshape(1, -1, 1, 1))
    theirs.global_offset.data = torch.tensor(SHIFT * t.reshape(1, -1, 1, 1))
    ours = [
        functools.partial(layer.apply, variables, mask=None, planes=None, method=method)
        for method in ("forward", "inverse")
    ]
    compare(ours, functions_of(theirs), pixels())


def test_conv1x1_is_a_fixed_convolution_with_its_matrix(freia):
    import torch

    layer = MIXINGS["conv1x1"](CHANNELS, index=1)
    variables = random_variables(layer, pixels())
    ours = functions(layer, variables)
    matrix = np.asarray(ours[0](np.eye(CHANNELS, dtype=np.float32)))  # its transpose, by rows
    theirs = freia.Fixed1x1Conv(DIMS, M=torch.tensor(matrix))
    compare(ours, functions_of(theirs), pixels())


def downsampling(name):
    transform = DOWNSAMPLINGS[name][False]
    return transform.forward, functools.partial(transform.inverse, height=6, width=4)


def test_haar_is_haar(freia):
    theirs = freia.HaarDownsampling([(3, 6, 4)], order_by_wavelet=True)
    compare(downsampling("haar"), functions_of(theirs), pixels(3))


def test_unshuffle_is_irevnet_but_for_the_order_of_channels(freia):
    forward, inverse = functions_of(freia.IRevNetDownsampling([(3, 6, 4)]))
    # Theirs has the four pixels of each colour together, ours the three colours of each pixel.
    order = np.arange(12).reshape(3, 4).T.ravel()
    theirs = (lambda x: forward(x)[..., order], lambda y: inverse(y[..., np.argsort(order)]))
    compare(downsampling("unshuffle"), theirs, pixels(3))
