import dataclasses
import functools
import operator
import os

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from raeg_jax.config import run_config
from raeg_jax.config.run_config import to_json
from raeg_jax.errors import UserError
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks import imagenet
from raeg_jax.networks.int8 import round_kernels
from raeg_jax.networks.preprocessing import Preprocessing
from raeg_jax.protection import generator_file
from raeg_jax.protection.loaded_generator import (
    LoadedGenerator,
    load_generator,
    save_generator,
)
from tests.networks import tiny_published
from tests.protection.generators import (
    BOTH,
    CLASSIFIERS,
    NAMES,
    PARAMS,
    WITH_CLASSES,
    make,
    published,
    settings,
    weights,
)


@functools.cache
def learned():
    return make(("learned",), ())


def forge(path, changes=(), arrays=()):
    """A file whose checksum is right, as a stranger could make it."""
    generator = learned()
    description = {"config": to_json(generator.config), "class_names": list(NAMES)}
    for name, value in dict(changes).items():
        *groups, last = name.split(".")
        functools.reduce(operator.getitem, groups, description)[last] = value
    generator_file.write(path, description, generator.stored_arrays | dict(arrays))


@pytest.mark.parametrize(
    ("stages", "changes"),
    [(("learned",), {}), (("learned",), WITH_CLASSES), (("gradient",), {}), (BOTH, {})],
)
def test_all_comes_back(stages, changes, tmp_path):
    generator = make(stages, ("vgg_small", "resnet_small"), **changes)
    save_generator(tmp_path / "generator", generator)
    loaded = load_generator(tmp_path / "generator")
    assert loaded.config.to_dict() == generator.config.to_dict()
    assert loaded.class_names == NAMES
    assert loaded.id == generator.id
    assert len(loaded.id) == 8
    assert (loaded.params is None) == (stages == ("gradient",))
    assert loaded.arrays.keys() == generator.arrays.keys()
    for name, array in generator.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
        assert loaded.arrays[name].dtype == np.float32
    assert {name: pair[0] for name, pair in loaded.classifiers.items()} == {
        name: pair[0] for name, pair in CLASSIFIERS.items()
    }
    # The same program on the same numbers.
    assert jax.tree.structure(loaded.chain) == jax.tree.structure(generator.chain)
    jax.tree.map(np.testing.assert_array_equal, loaded.chain, generator.chain)


def test_files_without_settings_that_came_later_are_the_same_generator(tmp_path):
    generator = make(("gradient",), **{"generator.gradient.arithmetic": "fixed"})
    config = to_json(generator.config)
    for name in run_config.LATER:
        *groups, last = name.split(".")
        del functools.reduce(operator.getitem, groups, config)[last]
    description = {"config": config, "class_names": list(NAMES)}
    generator_file.write(tmp_path / "old", description, generator.stored_arrays)
    loaded = load_generator(tmp_path / "old")
    assert loaded.id == generator.id
    assert loaded.config.generator.to_dict() == generator.config.generator.to_dict()
    assert jax.tree.structure(loaded.chain) == jax.tree.structure(generator.chain)


def test_the_same_generator_gives_the_same_bytes_in_whatever_order(tmp_path):
    generator = make(classifiers=("resnet_small", "vgg_small"))
    save_generator(tmp_path / "one", generator)

    def reverse(tree):
        if not isinstance(tree, dict):
            return tree
        return {name: reverse(tree[name]) for name in reversed(tree)}

    other = dataclasses.replace(
        generator, params=reverse(generator.params), classifiers=reverse(generator.classifiers)
    )
    save_generator(tmp_path / "two", other)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    save_generator(tmp_path / "three", load_generator(tmp_path / "two"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "three").read_bytes()


def test_paths_of_the_machine_stay_out_and_the_config_is_its_own(tmp_path):
    config = settings(("learned",))
    config.classifiers.weights = "/home/owner"
    generator = LoadedGenerator(config, NAMES, PARAMS, {})
    assert config.data.source == "/home/owner"
    config.generator.clamp = 3.0
    assert generator.config.generator.clamp == 1.0
    save_generator(tmp_path / "generator", generator)
    assert b"owner" not in (tmp_path / "generator").read_bytes()


def test_only_stages_in_fixed_point_are_portable():
    learned = make(("learned",))
    assert learned.portable
    assert make(BOTH, **{"generator.gradient.arithmetic": "fixed"}).portable
    assert not make(BOTH).portable
    config = learned.config.copy_and_resolve_references()
    config.generator.coupling = "integer_float"
    assert not dataclasses.replace(learned, config=config).portable


def test_weights_with_which_recovery_would_not_be_exact_are_refused(tmp_path):
    infinite = jax.tree.map(lambda x: x + np.inf, PARAMS)
    with pytest.raises(UserError, match="not finite"):
        dataclasses.replace(make(("learned",)), params=infinite)
    generator = make(("gradient",), **{"generator.gradient.arithmetic": "fixed"})
    module, variables = generator.classifiers["resnet_small"]
    infinite = {"resnet_small": (module, jax.tree.map(lambda x: x + np.inf, variables))}
    save_generator(tmp_path / "generator", dataclasses.replace(generator, classifiers=infinite))
    with pytest.raises(UserError, match=r"generator can't be used: the weights of resnet_small/"):
        load_generator(tmp_path / "generator")


def test_a_generator_lacks_nothing_that_its_stages_need():
    with pytest.raises(ValueError, match="target classifier 'resnet_small' is missing"):
        make(BOTH, ("vgg_small",))
    with pytest.raises(ValueError, match="target classifier 'resnet_small' is missing"):
        make(("shortcut",), ())
    with pytest.raises(ValueError, match="target classifier 'resnet_small' is missing"):
        make(("learned",), (), **WITH_CLASSES)
    with pytest.raises(ValueError, match="params is NoneType"):
        LoadedGenerator(settings(("learned",)), NAMES, None, {})
    with pytest.raises(ValueError, match="params is dict for stages"):
        LoadedGenerator(settings(("gradient",)), NAMES, PARAMS, CLASSIFIERS)


def test_what_would_not_come_back_is_not_written(tmp_path):
    generator = make(classifiers=("resnet_small",))
    four = dataclasses.replace(generator, class_names=(*NAMES, "fourth"))
    with pytest.raises(ValueError, match="'resnet_small' isn't the one of that name"):
        save_generator(tmp_path / "generator", four)
    module, variables = CLASSIFIERS["resnet_small"]
    half = {"resnet_small": (module, jax.tree.map(lambda x: x.astype(np.float16), variables))}
    with pytest.raises(ValueError, match=r"classifiers/.* is float16, none of float32"):
        save_generator(tmp_path / "generator", dataclasses.replace(generator, classifiers=half))
    assert not os.listdir(tmp_path)


def test_weights_in_fixed_point_are_on_their_grids_and_take_a_byte_each(tmp_path):
    generator = learned()
    size = sum(array.size for array in generator.arrays.values())
    assert any(np.any(generator.arrays[f"params/{name}"] != array) for name, array in flat(PARAMS))
    assert dataclasses.replace(generator, params=PARAMS).id == generator.id
    save_generator(tmp_path / "generator", generator)
    header = int.from_bytes((tmp_path / "generator").read_bytes()[:8], "little")
    assert (tmp_path / "generator").stat().st_size - 8 - header < 1.2 * size
    half = jax.tree.map(lambda x: x.astype(np.float16), PARAMS)
    with pytest.raises(ValueError, match=r"params/.* is float16, not float32"):
        dataclasses.replace(generator, params=half)


def test_weights_in_floats_stay_as_they_are(tmp_path):
    config = settings(("learned",), **{"generator.coupling": "integer_float"})
    params = weights(unet_from_config(config.generator))["params"]
    save_generator(tmp_path / "generator", LoadedGenerator(config, NAMES, params, {}))
    loaded = load_generator(tmp_path / "generator")
    for name, array in flat(params):
        np.testing.assert_array_equal(loaded.arrays[f"params/{name}"], array)


def flat(tree):
    return flatten_dict(tree, sep="/").items()


FIRST = "params/" + sorted({name.rpartition("/")[0] for name, _ in flat(PARAMS)})[0]


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("exponents", lambda x: x * 0 - 1, "exponents aren't all 0 to 12"),
        ("exponents", lambda x: x * 0 + 13, "exponents aren't all 0 to 12"),
        ("exponents", lambda x: x[1:], "has other channels than exponents"),
        ("exponents", lambda x: x.astype(np.int32), "isn't a layer of whole numbers with exp"),
        ("kernel", lambda x: np.float32(x), "isn't a layer of whole numbers with exponents"),
        ("kernel", lambda x: np.full_like(x, -128), "kernel isn't all -127 to 127"),
        ("bias", lambda x: np.full_like(x, 2**30), "bias isn't rounded as its layer needs it"),
    ],
)
def test_whole_numbers_that_can_not_be_are_named(part, change, message, tmp_path):
    name = f"{FIRST}/{part}"
    forge(tmp_path / "generator", {}, {name: change(learned().stored_arrays[name])})
    with pytest.raises(UserError, match=rf"{tmp_path}/generator can't be used: {FIRST}.*{message}"):
        load_generator(tmp_path / "generator")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"config.generator.spin": 1}, r"config\.generator\.spin is of a later version: update"),
        ({"config.generator.depth": 0}, r"depth=0 is impossible"),
        ({"config.generator.stages": list(BOTH)}, "target classifier 'resnet_small' is missing"),
        ({"config.generator.coupling": "twist"}, r"coupling='twist' is impossible"),
        ({"config.generator.gradient": {}}, r"gradient\.[a-z_]+ is missing"),
        ({"config.generator.stages": ["warp"]}, r"stages=\('warp',\) is impossible"),
        ({"config.generator.blocks": [10**9, 1]}, "fewer arrays than blocks"),
        ({"config.generator.depth": 10**9}, "fewer arrays than blocks or layers"),
        ({"config.generator.widths": [8, 16]}, r"params/.* is \[.*\] in it and \[.*\] in"),
        ({"config.generator.blocks": [1, 2]}, r"params/.* is missing in it and \["),
        (
            {"config.generator.stages": ["gradient"]},
            r"params/.* in it and missing in this",
        ),
        ({"config": []}, "settings are impossible"),
        ({"config": None}, "settings are impossible"),
        ({"config.data": 5}, "settings are impossible"),
        ({"config.generator.depth": 10**400}, "settings are impossible"),
        ({"config.generator.stages": 5}, "settings are impossible"),
        ({"config.generator.gradient.views": None}, "gradient.views is empty"),
        ({"class_names": 5}, "settings are impossible"),
        ({"class_names": [1, 2]}, "settings are impossible"),
    ],
)
def test_settings_that_can_not_be_used_are_named(settings, message, tmp_path):
    forge(tmp_path / "generator", settings)
    with pytest.raises(UserError, match=rf"{tmp_path}/generator can't be used.*{message}"):
        load_generator(tmp_path / "generator")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("params/more", "params isn't a layer of whole numbers"),
        (f"{FIRST}/more", rf"{FIRST} isn't a layer of whole numbers"),
        ("classifiers/oracle/params/bias", "unknown classifier 'oracle'"),
        ("classifiers/resnet_small", r"classifiers/resnet_small is \[2\] in it and missing"),
        ("params", r"params is \[2\] in it"),
    ],
)
def test_arrays_of_other_networks_are_named(name, message, tmp_path):
    forge(tmp_path / "generator", {}, {name: np.zeros(2, np.float32)})
    with pytest.raises(UserError, match=message):
        load_generator(tmp_path / "generator")


def test_weights_of_classifiers_are_floats(tmp_path):
    generator = make(("gradient",))
    description = {"config": to_json(generator.config), "class_names": list(NAMES)}
    name, array = next(iter(generator.arrays.items()))
    stored = generator.stored_arrays | {name: array.astype(np.int8)}
    generator_file.write(tmp_path / "generator", description, stored)
    with pytest.raises(UserError, match=f"{name} is int8, not float32"):
        load_generator(tmp_path / "generator")


@pytest.fixture
def tiny(monkeypatch):
    tiny_published.register(monkeypatch)


def with_published(stages=("gradient",), **changes):
    return published(stages, tiny_published.classifier(), tiny_published.classifier(1), **changes)


def test_published_classifiers_come_back_with_what_they_are(tiny, tmp_path):
    generator = with_published()
    assert generator.class_names == imagenet.class_names(1000)
    known = {"net_0.safetensors": tiny_published.network()}
    generator = dataclasses.replace(generator, published=known)
    save_generator(tmp_path / "generator", generator)
    loaded = load_generator(tmp_path / "generator")
    assert loaded.published["net_0.safetensors"] == tiny_published.network()
    # Nobody said where the other is from.
    unknown = dataclasses.replace(tiny_published.network(), source="")
    assert loaded.published["net_1.safetensors"] == unknown
    assert loaded.id == generator.id
    assert loaded.class_names == generator.class_names
    assert loaded.classifiers["net_1.safetensors"][0] == unknown.module
    assert jax.tree.structure(loaded.chain) == jax.tree.structure(generator.chain)
    assert loaded.labels_are_readings
    assert not make(("gradient",)).labels_are_readings
    save_generator(tmp_path / "again", loaded)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "generator").read_bytes()


def test_rounded_kernels_of_published_classifiers_take_a_byte_a_weight(tiny, tmp_path):
    generator = with_published()
    modules, variables = zip(*generator.classifiers.values(), strict=True)
    trees = [round_kernels(flatten_dict(tree, sep="/")) for tree in variables]
    pairs = zip(modules, (unflatten_dict(tree, sep="/") for tree in trees), strict=True)
    rounded = published(("gradient",), *pairs)
    for name, each in (("floats", generator), ("generator", rounded)):
        save_generator(tmp_path / name, each)
    sizes = [(tmp_path / name).stat().st_size for name in ("floats", "generator")]
    count = sum(x.size for name, x in rounded.arrays.items() if name.endswith("kernel"))
    assert 2.7 * count < sizes[0] - sizes[1] < 3 * count
    loaded = load_generator(tmp_path / "generator")
    assert loaded.id == rounded.id != generator.id
    assert loaded.arrays.keys() == rounded.arrays.keys()
    for name, array in rounded.arrays.items():
        assert loaded.arrays[name].tobytes() == array.tobytes()


def test_a_published_classifier_without_name_of_a_file_or_architecture_is_not_written(
    tiny, tmp_path
):
    pair = tiny_published.classifier()
    odd = dataclasses.replace(tiny_published.network(), architecture="tiny_deep")
    generator = published(("gradient",), pair)
    wrong = dataclasses.replace(generator, published={"net_0.safetensors": odd})
    with pytest.raises(ValueError, match=r"'net_0\.safetensors' isn't the one of that name"):
        save_generator(tmp_path / "generator", wrong)
    with pytest.raises(ValueError, match="Odd is none of the published networks"):
        published(("gradient",), (Odd(), {}))


class Odd(nn.Module):
    num_classes: int = 5
    preprocessing: Preprocessing = tiny_published.PREPROCESSING


def forge_published(path, change):
    """A file of published classifiers with another description, whose checksum is right."""
    generator = with_published()
    description = {
        "config": to_json(generator.config),
        "class_names": list(generator.class_names),
        "published": {name: each.to_json() for name, each in generator.published.items()},
    }
    arrays = generator.stored_arrays
    change(description, description["published"], arrays)
    generator_file.write(path, description, arrays)


FILE = "net_0.safetensors"
DENSE = f"classifiers/{FILE}/params/Dense_0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, p, a: a.update({f"{DENSE}/exponents": np.int8([3])}), f"{DENSE} isn't a layer"),
        (lambda d, p, a: a.update({f"{DENSE}/kernel": np.int8([3])}), f"{DENSE} isn't a layer of"),
        (lambda d, p, a: a.update({f"{DENSE}/bias": np.zeros(1000, np.int8)}), "bias is int8, not"),
        (lambda d, p, a: d.pop("published"), "it describes as published none, where it must"),
        (lambda d, p, a: p.pop(FILE), r"describes as published net_1\.safetensors, where it must"),
        (lambda d, p, a: p.update({"more.safetensors": p[FILE]}), "it describes as published"),
        (lambda d, p, a: p.update(vgg_small=p[FILE]), "it describes as published"),
        (lambda d, p, a: a.update({"classifiers/vgg_small/x": np.zeros(2, np.float32)}), "and no"),
        (lambda d, p, a: d.update(class_names=["a", "b"]), r"net_0.* 1000 classes, and 2 have"),
        (lambda d, p, a: p[FILE].update(num_classes=10**9), r"net_0.* has 1000000000 classes"),
        (lambda d, p, a: p[FILE].update(architecture="lite"), "published network is called 'lite'"),
        (lambda d, p, a: p[FILE].update(architecture="tiny_deep"), r"is \[.*\] in it and \["),
        (lambda d, p, a: p[FILE].update(architecture=[]), "settings are impossible"),
        (lambda d, p, a: p[FILE].update(num_classes=1000.0), "settings are impossible"),
        (lambda d, p, a: p[FILE].update(num_classes="many"), "settings are impossible"),
        (lambda d, p, a: p[FILE].update(source=5), "settings are impossible"),
        (lambda d, p, a: p[FILE].update(more=5), "settings are impossible"),
        (lambda d, p, a: p[FILE].pop("source"), "settings are impossible"),
        (lambda d, p, a: p[FILE]["preprocessing"].update(crop=40), "crop=40, resize=36 is imposs"),
        (lambda d, p, a: p[FILE]["preprocessing"].update(crop=32.5), "settings are impossible"),
        (lambda d, p, a: p[FILE]["preprocessing"].update(std=[0.0] * 3), "must be three numbers"),
        (lambda d, p, a: p[FILE]["preprocessing"].update(mean=["a"] * 3), "settings are imposs"),
        (lambda d, p, a: p[FILE]["preprocessing"].update(mean=5), "settings are impossible"),
        (lambda d, p, a: p[FILE]["preprocessing"].update(interpolation=[]), "interpolation=.*unkn"),
        (lambda d, p, a: p[FILE].update(preprocessing=None), "settings are impossible"),
        (lambda d, p, a: d.update(published=[FILE]), "settings are impossible"),
        (lambda d, p, a: d.update(published=None), "settings are impossible"),
        (lambda d, p, a: d.update(published={FILE: 5}), "settings are impossible"),
        (lambda d, p, a: d["config"]["classifiers"].update(targets=[5]), "settings are impossible"),
    ],
)
def test_published_classifiers_that_can_not_be_are_named(change, message, tiny, tmp_path):
    forge_published(tmp_path / "generator", change)
    with pytest.raises(UserError, match=rf"{tmp_path}/generator can't be used.*{message}"):
        load_generator(tmp_path / "generator")
