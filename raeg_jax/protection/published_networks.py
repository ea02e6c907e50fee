"""What generators say of their published classifiers: in files, in ids, and made from modules."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flax import linen as nn

from raeg_jax.errors import UserError
from raeg_jax.networks.classifiers import build_classifier
from raeg_jax.networks.layers import preprocessing_of
from raeg_jax.networks.preprocessing import PUBLISHED
from raeg_jax.networks.weights import PublishedNetwork, is_published

Networks = Mapping[str, PublishedNetwork]


def networks_of(
    classifiers: Mapping[str, tuple[nn.Module, Any]], known: Networks
) -> dict[str, PublishedNetwork]:
    """What the published ones among classifiers are, by name.

    Args:
      classifiers: (module, variables) by name.
      known: by name, as files of weights say it; of others the source stays unknown.
    """
    return {
        name: known.get(name) or _describe(module)
        for name, (module, _) in classifiers.items()
        if preprocessing_of(module) is not None
    }


def _describe(module: Any) -> PublishedNetwork:
    for architecture in PUBLISHED:
        network = PublishedNetwork(architecture, module.num_classes, module.preprocessing, "")
        if network.module == module:
            return network
    raise ValueError(f"{type(module).__name__} is none of the published networks")


def module_of(name: str, networks: Networks, num_classes: int) -> nn.Module:
    """The network of a classifier's name: a published one, or one with classes of the run."""
    return networks[name].module if name in networks else build_classifier(name, num_classes)


def to_json(networks: Networks) -> dict[str, Any]:
    """As generator files hold it."""
    return {name: network.to_json() for name, network in networks.items()}


def without_sources(networks: Networks) -> dict[str, Any]:
    """What recovery depends on, as JSON holds it."""
    described = to_json(networks)
    for fields in described.values():
        del fields["source"]
    return described


def from_json(
    saved: Any, names: Sequence[str], num_classes: int, heads: int
) -> dict[str, PublishedNetwork]:
    """The reverse of `to_json`, for what may be anything.

    Args:
      saved: of a file.
      names: of all classifiers with arrays in it.
      num_classes: that have names in it.
      heads: `config.classifiers.heads` in it.

    Raises:
      UserError: it doesn't fit the rest of the file, or has impossible values.
      AttributeError, KeyError, TypeError, ValueError: other fields, or values of other types.
    """
    networks = {name: PublishedNetwork.from_json(values) for name, values in saved.items()}
    if json.dumps(to_json(networks), sort_keys=True) != json.dumps(saved, sort_keys=True):
        raise TypeError("published networks are described by values of other types")
    files = set(filter(is_published, names))
    if files != networks.keys() or not (heads or files in (set(), set(names))):
        raise UserError(
            f"of its classifiers ({', '.join(names) or 'none'}) it describes as published "
            f"{', '.join(networks) or 'none'}, where it must be all files of weights, and no "
            "others beside them: give a file that raeg made"
        )
    for name, network in networks.items():
        if type(network.num_classes) is not int or not isinstance(network.source, str):
            raise TypeError(f"{name} is described by values of other types")
        if (network.preprocessing.crop if network.preprocessing.of_run else 0) != heads:
            raise UserError(
                f"{name} doesn't see images as config.classifiers.heads={heads} in it says: give a "
                "file that raeg made"
            )
        if network.num_classes != num_classes:
            raise UserError(
                f"{name} has {network.num_classes} classes, and {num_classes} have names in it: "
                "give a file that raeg made"
            )
    return networks
