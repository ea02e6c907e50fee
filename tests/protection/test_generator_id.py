"""Generators that recover each other's images have one id, and others don't."""

import dataclasses

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from configs import base
from raeg_jax.config.run_config import to_json
from raeg_jax.protection.generator_id import SETTINGS, generator_id
from tests.networks import tiny_published
from tests.protection.generators import BOTH

GENERATOR = {
    "stages": BOTH,
    "coupling": "integer",
    "conditioner": "unet",
    "mixing": "permutation",
    "downsampling": "haar",
    "blocks": (1, 2),
    "widths": (24, 32),
    "depth": 2,
    "clamp": 1.0,
    "token_planes": 2,
    "gradient": {
        "arithmetic": "fixed",
        "target_psnr": 34.0,
        "rounds": 16,
        "attack_steps": 6,
        "step": 1.05,
        "least_step": 0.5,
        "bound": 64,
        "margin": 8,
        "mask": "diagonal",
        "loss": "untargeted",
        "kappa": 1.0,
        "views": ("identity",),
        "smoothing": 0.0,
    },
}
ARRAYS = {
    "params/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "params/bias": np.float32([0.1]),
    "patterns": np.arange(12, dtype=np.int8).reshape(1, 1, 2, 2, 3),
    "classifiers/resnet_small/params/kernel": np.arange(4, dtype=np.float32),
    "classifiers/resnet_small/batch_stats/var": np.float32([1]),
    "classifiers/vgg_small/params/kernel": np.arange(5, dtype=np.float32),
}


def id_of(stages=BOTH, changes=(), arrays=ARRAYS, published=None):
    config = base.get_config()
    config.classifiers.targets = ("resnet_small",)
    config.generator.stages = stages
    config.update_from_flattened_dict(dict(changes))
    return generator_id(config, arrays, published or {})


def test_ids_stay_as_they_were():
    """Protected images know their generator by it."""
    config = ConfigDict(
        {
            "generator": GENERATOR,
            "loss": {"target_psnr": 34.5},
            "classifiers": {"targets": ("resnet_small",)},
        }
    )
    assert generator_id(config, ARRAYS).hex() == "08c058f3c6cbe180"


def test_every_setting_of_the_generator_is_known():
    now = flatten_dict(to_json(base.get_config())["generator"], sep=".")
    assert {"generator." + name for name in now} == SETTINGS


@pytest.mark.parametrize(
    ("stages", "changes"),
    [
        (BOTH, {"generator.stages": ("learned",)}),
        (BOTH, {"generator.stages": ("gradient",)}),
        (BOTH, {"loss.target_psnr": 36.0}),
        (BOTH, {"generator.clamp": 2.0}),
        (BOTH, {"generator.gradient.margin": 9}),
        (BOTH, {"classifiers.targets": ("resnet_small", "vgg_small")}),
        (("learned",), {"generator.mixing": "none"}),
        (("learned",), {"generator.blocks": (1, 1, 2)}),
        (("learned",), {"generator.class_planes": 2}),
        (("gradient",), {"generator.gradient.target_psnr": 33.0}),
        (("gradient",), {"generator.gradient.rounds": 3}),
        (("gradient",), {"generator.gradient.arithmetic": "float"}),
        (("gradient",), {"generator.gradient.views": ("jpeg:50",)}),
        (("gradient",), {"generator.gradient.mask": "random"}),
        (("gradient",), {"generator.gradient.others": 2}),
        (("gradient",), {"classifiers.targets": ("vgg_small",)}),
        (("shortcut",), {"generator.shortcut.target_psnr": 34.0}),
        (("shortcut",), {"generator.shortcut.seed": 1}),
        (("shortcut",), {"generator.shortcut.cycles": (2, 4)}),
        (("shortcut",), {"generator.shortcut.pattern": "cells"}),
        (("shortcut",), {"generator.gradient.margin": 9}),
        (("shortcut", "gradient"), {"generator.gradient.kappa": 2.0}),
    ],
)
def test_settings_that_recovery_depends_on_change_the_id(stages, changes):
    assert len(id_of(stages)) == 8
    assert id_of(stages, changes) != id_of(stages)


def test_settings_of_a_pattern_count_where_it_is_the_pattern():
    cells = {"generator.shortcut.pattern": "cells"}
    first = id_of(("shortcut",), cells)
    assert id_of(("shortcut",), cells | {"generator.shortcut.cell": 4}) != first
    assert id_of(("shortcut",), cells | {"generator.shortcut.cells": 2}) != first
    assert id_of(("shortcut",), cells | {"generator.shortcut.period": 8}) == first


def test_learned_patterns_count_and_no_settings_of_others():
    learned = {"generator.shortcut.pattern": "learned"}
    first = id_of(("shortcut",), learned)
    names = ("cell", "cells", "period", "waves", "seed")
    others = {f"generator.shortcut.{name}": 3 for name in names}
    others |= {"generator.shortcut.cycles": (1, 1), "generator.shortcut.colours": ("grey",)}
    assert id_of(("shortcut",), learned | others) == first
    assert id_of(("shortcut",), learned | {"generator.shortcut.target_psnr": 30.0}) != first
    assert id_of(("shortcut",), learned | {"generator.token_planes": 0}) != first
    for changed in (ARRAYS["patterns"] + np.int8(1), ARRAYS["patterns"].reshape(1, 1, 2, 3, 2)):
        arrays = ARRAYS | {"patterns": changed}
        assert id_of(("shortcut",), learned, arrays) != first
        assert id_of(("shortcut",), (), arrays) == id_of(("shortcut",))
    # For ever.
    assert first.hex() == "46684f879d1b459d"


def test_what_published_targets_are_changes_the_id():
    net, other = tiny_published.network(), tiny_published.network(seed=1)

    def named(stages=BOTH, **networks):
        return id_of(stages, published=networks)

    first = named(resnet_small=net)
    assert first != id_of(BOTH)
    # Where weights come from doesn't count, nor what else is in the file.
    assert named(resnet_small=other) == first
    assert named(resnet_small=net, vgg_small=net) == first
    crop = dataclasses.replace(net.preprocessing, crop=33)
    for change in ({"architecture": "tiny_deep"}, {"preprocessing": crop}, {"num_classes": 20}):
        assert named(resnet_small=dataclasses.replace(net, **change)) != first
    assert named(("learned",), resnet_small=net) == id_of(("learned",))
    assert named(("shortcut",), resnet_small=net) == id_of(("shortcut",))


def test_the_order_of_targets_changes_the_id():
    """Sums of floats depend on it."""
    names = ("resnet_small", "vgg_small")
    orders = [{"classifiers.targets": names}, {"classifiers.targets": names[::-1]}]
    assert id_of(BOTH, orders[0]) != id_of(BOTH, orders[1])


ELSEWHERE = {
    "name": "other",
    "seed": 7,
    "data.dataset": "celeba_100",
    "data.image_size": 96,
    "data.source": "/elsewhere",
    "optimizer.learning_rate": 1.0,
    "train.steps": 9,
    "loss.kappa": 9.0,
    "classifiers.steps": 9,
    "classifiers.held_out": (),
    "eval.pgd_steps": 9,
}


@pytest.mark.parametrize(
    ("stages", "changes"),
    [
        (BOTH, {}),
        (
            ("learned",),
            {
                "loss.target_psnr": 9.0,
                "generator.gradient.rounds": 9,
                "classifiers.targets": ("vgg_small",),
            },
        ),
        (("gradient",), {"loss.target_psnr": 9.0, "generator.clamp": 9.0}),
        (("gradient",), {"generator.shortcut.seed": 9, "generator.class_planes": 2}),
        (("shortcut",), {"generator.shortcut.cell": 4, "generator.shortcut.cells": 2}),
        (
            ("shortcut",),
            {"generator.gradient.attack_steps": 9, "classifiers.targets": ("vgg_small",)},
        ),
    ],
)
def test_settings_that_recovery_does_not_depend_on_leave_the_id(stages, changes):
    assert id_of(stages, ELSEWHERE | changes) == id_of(stages)


@pytest.mark.parametrize(
    ("stages", "needed"),
    [
        (("learned",), {"params"}),
        (("gradient",), {"classifiers/resnet_small"}),
        (("shortcut",), set()),
        (BOTH, {"params", "classifiers/resnet_small"}),
    ],
)
def test_only_arrays_that_recovery_needs_change_the_id(stages, needed):
    changing = set()
    for name, array in ARRAYS.items():
        nudged = array + array.dtype.type(1)
        if id_of(stages, arrays=ARRAYS | {name: nudged}) != id_of(stages):
            changing.add(name)
    assert changing == {name for name in ARRAYS if name.startswith(tuple(needed))}
