"""Conversion of trained classifiers to exact arithmetic: batch norm folded, weights rounded.

Tracing the module once finds its layers, and which batch norm follows which convolution. Weights
are folded in NumPy's float64, which is the same on all machines.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from raeg_jax.errors import UserError
from raeg_jax.exact.block_float import OWN, PIXEL_PEAK, PUBLISHED, make_layer
from raeg_jax.exact.fixed_classifier import FixedClassifier, stride
from raeg_jax.networks.layers import (
    MIN_SIDE,
    MeanPool,
    Standardise,
    preprocessing_of,
    variable_shapes,
)


def fold_classifier(name: str, module: nn.Module, variables: Mapping[str, Any]) -> FixedClassifier:
    """Converts a trained classifier to exact arithmetic.

    Args:
      name: of the classifier, for messages.
      module: consists of convolutions, batch norm, dense layers and modules of `networks.layers`.
      variables: its `params` and `batch_stats`.

    Raises:
      UserError: it has layers that can't be converted, or weights that can't be used.
    """
    weights = flatten_dict(variables, sep="/")
    modules, before = _foldable_layers(name, module, variables)
    # Kernel and bias of each affine layer by path.
    affine: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    first = ""
    for path, layer in modules.items():
        source = before.get(path)
        match layer:
            case nn.Conv() | nn.Dense():
                kernel, bias = _kernel_and_bias(weights, path)
                if getattr(layer, "feature_group_count", 1) > 1:
                    kernel = kernel[:, :, 0]
                if isinstance(before_it := modules.get(source), Standardise):
                    first, kernel = path, kernel / np.array(before_it.std)[:, None]
                affine[path] = kernel, bias
            case nn.BatchNorm():
                factor, offset = _batch_norm(weights, path, layer.epsilon)
                if isinstance(modules.get(source), nn.Conv):
                    kernel, bias = affine[source]
                    affine[source] = kernel * factor, bias * factor + offset
                else:
                    affine[path] = factor, offset
    layers, widths = {}, _widths(module)
    for path, (kernel, bias) in affine.items():
        try:
            layers[path] = make_layer(kernel, bias, pixels=path == first, widths=widths)
        except UserError as error:
            raise UserError(f"the weights of {name}/{path} can't be used: {error}") from error
    return FixedClassifier(module, layers, first, widths)


def check_foldable(name: str, module: nn.Module) -> None:
    """Checks before training that `fold_classifier` can convert a classifier.

    Args:
      name: of the classifier, for the message.
      module: see `fold_classifier`.

    Raises:
      UserError: it has layers that can't be converted.
    """
    _foldable_layers(name, module, variable_shapes(module, train=False))


def _foldable_layers(name, module, variables):
    """`_trace_layers` of a classifier that can be converted; UserError for another one."""
    modules, before = _trace_layers(module, variables)
    if obstacle := _obstacle(module, modules, before, flatten_dict(variables, sep="/")):
        raise UserError(
            f"the classifier {name!r} can't compute in fixed point ({obstacle}): choose other "
            "config.classifiers.targets, or config.generator.gradient.arithmetic='float'"
        )
    return modules, before


def _trace_layers(module, variables):
    """Leaf modules by path in the order of their calls, and the path of the module before each."""
    modules: dict[str, nn.Module] = {}
    before: dict[str, str] = {}
    producers: dict[int, str] = {}
    alive = []

    def record(call, args, kwargs, context):
        output, layer = call(*args, **kwargs), context.module
        path = "/".join(layer.path)
        # A block's call ends after those of the layers in it.
        is_block = any(other.startswith(path + "/") for other in modules) or not path
        if context.method_name == "__call__" and not is_block:
            modules[path] = layer
            if id(args[0]) in producers:
                before[path] = producers[id(args[0])]
            producers[id(output)] = path
            # Keeps the objects alive: ids of dead ones are used again.
            alive.append((args, output))
        return output

    images = jax.ShapeDtypeStruct((1, MIN_SIDE, MIN_SIDE, 3), jnp.float32)
    with nn.intercept_methods(record):
        jax.eval_shape(functools.partial(module.apply, train=False), variables, images)
    return modules, before


def _widths(module):
    """Networks with weights of their own keep the bits that their generators were made with."""
    return OWN if preprocessing_of(module) is None else PUBLISHED


def _obstacle(module, modules, before, weights):
    """Why a classifier can't be converted, in words, or None."""
    for path, layer in modules.items():
        if isinstance(layer, nn.Conv) and not _is_plain(layer, weights[f"params/{path}/kernel"]):
            return f"{path} is no plain convolution"
        if isinstance(layer, MeanPool) and layer.size > 1 and _widths(module) == OWN:
            return f"{path} averages over a {layer.size} x {layer.size} grid"
    owners = {key.split("/", 1)[1].rpartition("/")[0] for key in weights}
    known = (nn.Conv, nn.Dense, nn.BatchNorm)
    for path in sorted(owners):
        if not isinstance(modules.get(path), known):
            return f"{path or 'it'} has weights of another kind"
    first = [layer for layer in modules.values() if isinstance(layer, Standardise)]
    if not first:
        return "it doesn't standardise images"
    mean = np.array(first[0].mean)
    if (np.maximum(mean, 255 - mean) > PIXEL_PEAK).any():
        return f"pixels reach more than {PIXEL_PEAK} from its mean {first[0].mean}"
    users = [layer for path, layer in modules.items() if modules.get(before.get(path)) is first[0]]
    if not (users and isinstance(users[0], nn.Conv) and users[0].feature_group_count == 1):
        return "it doesn't begin with a convolution of all channels"
    return None


def _is_plain(layer, kernel):
    """Whether a convolution is undilated, of one stride, and of all channels or each by itself."""
    groups = layer.feature_group_count
    return (
        (groups == 1 or (groups == layer.features and kernel.shape[2] == 1))
        and np.all(np.ravel([layer.kernel_dilation or 1, layer.input_dilation or 1]) == 1)
        and np.all(np.ravel(layer.strides or 1) == stride(layer))
    )


def _kernel_and_bias(weights, path):
    kernel = np.asarray(weights[f"params/{path}/kernel"], np.float64)
    bias = weights.get(f"params/{path}/bias", np.zeros(kernel.shape[-1]))
    # A dense layer is a convolution of one position.
    return kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape), np.asarray(bias, np.float64)


def _batch_norm(weights, path, epsilon):
    params, statistics = f"params/{path}", f"batch_stats/{path}"
    names = f"{params}/scale", f"{params}/bias", f"{statistics}/mean", f"{statistics}/var"
    scale, offset, mean, variance = (np.asarray(weights[name], np.float64) for name in names)
    # `make_layer` refuses what is not finite.
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = scale / np.sqrt(variance + epsilon)
        return factor, offset - mean * factor
