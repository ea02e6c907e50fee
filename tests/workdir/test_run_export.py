"""A run becomes the content of a generator file, without its data."""

import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from configs import smoke
from raeg_jax import data
from raeg_jax.config.run_config import to_json
from raeg_jax.errors import UserError
from raeg_jax.networks import imagenet
from raeg_jax.protection.generator_file import from_int8, to_int8
from raeg_jax.protection.loaded_generator import load_generator, save_generator
from raeg_jax.workdir.classifiers import remember_published
from raeg_jax.workdir.origin import DataOrigin
from raeg_jax.workdir.patterns import origin_of_patterns, save_patterns
from raeg_jax.workdir.run import generator_from_workdir
from tests.networks import tiny_published
from tests.workdir.untrained import save_checkpoints, save_classifier

NAMES = ("anchor", "lotus", "ibis")
ORIGIN = DataOrigin("0123456789abcdef", NAMES)


def settings(stages, **changes):
    config = smoke.get_config()
    config.generator.stages = stages
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of no training: its workdir, the averaged parameters by step, the classifiers'."""
    workdir, config = tmp_path_factory.mktemp("run"), settings(("learned",))
    variables = {
        name: save_classifier(name, ORIGIN, config, workdir)
        for name in ("resnet_small", "vgg_small")
    }
    params = save_checkpoints(config, workdir, {1: (1.0, 0.1), 2: (1.0, 0.9)})
    return workdir, params, variables


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.setattr(data, "load", lambda settings: pytest.fail("data loaded"))


def on_grids(params):
    """As a generator file has them, in int8."""
    arrays = {k: np.asarray(v) for k, v in flatten_dict(params, sep="/").items()}
    return unflatten_dict(from_int8(to_int8(arrays)), sep="/")


def assert_equal(tree, expected):
    jax.tree.map(np.testing.assert_array_equal, tree, expected)


@pytest.mark.parametrize(("checkpoint", "step"), [("latest", 2), ("best", 1), ("2", 2)])
def test_a_learned_generator_needs_its_checkpoint_alone(run, checkpoint, step):
    workdir, params, _ = run
    bundle = generator_from_workdir(settings(("learned",)), workdir, checkpoint)
    assert_equal(bundle.params, on_grids(params[step]))
    assert bundle.class_names == NAMES
    assert bundle.classifiers == {}


def test_a_learned_generator_with_class_planes_needs_its_targets_too(run, tmp_path):
    workdir, _, variables = run
    config = settings(("learned",), **{"generator.class_planes": 2})
    shutil.copytree(workdir / "classifiers", tmp_path / "classifiers")
    params = save_checkpoints(config, tmp_path, {1: (1.0, 0.1)})
    bundle = generator_from_workdir(config, tmp_path)
    assert_equal(bundle.params, on_grids(params[1]))
    assert list(bundle.classifiers) == ["resnet_small"]
    assert_equal(bundle.classifiers["resnet_small"][1], variables["resnet_small"])


@pytest.mark.parametrize("stage", ["shortcut", "gradient"])
def test_other_generators_need_their_targets_alone(run, stage):
    workdir, _, variables = run
    bundle = generator_from_workdir(settings((stage,)), workdir)
    assert bundle.params is None
    assert list(bundle.classifiers) == ["resnet_small"]
    assert_equal(bundle.classifiers["resnet_small"][1], variables["resnet_small"])


def test_a_bundle_of_both_stages_goes_to_a_file_and_back(run, tmp_path):
    workdir, params, variables = run
    config = settings(("learned", "gradient"), **{"loss.target_psnr": 36.0})
    bundle = generator_from_workdir(config, workdir, "best", ("vgg_small", "resnet_small"))
    # The settings that made the checkpoint, with the gradient settings that are asked for.
    made = settings(("learned", "gradient"))
    assert to_json(bundle.config) == to_json(made)
    save_generator(tmp_path / "generator", bundle)
    loaded = load_generator(tmp_path / "generator")
    assert loaded.id == bundle.id
    assert_equal(loaded.params, on_grids(params[1]))
    assert loaded.classifiers.keys() == variables.keys()
    for name, expected in variables.items():
        assert_equal(loaded.classifiers[name][1], expected)
    # Stages that lie on different sets of devices can't be used together.
    places = {
        leaf.sharding for leaf in jax.tree.leaves(bundle.chain) if isinstance(leaf, jax.Array)
    }
    assert len(places) == 1


@pytest.mark.parametrize(
    ("stages", "changes", "options", "message"),
    [
        (("learned",), {"generator.depth": 2}, {}, "depth was 1, is 2"),
        (("learned",), {}, {"checkpoint": "7"}, "no checkpoint '7'"),
        (("gradient",), {}, {"checkpoint": "best"}, "are not trained and have no checkpoints"),
        (("gradient",), {"classifiers.steps": 9}, {}, "has no classifier 'resnet_small'"),
        (("gradient",), {"classifiers.targets": ("resnet18",)}, {}, "has no classifier 'resnet18'"),
        (("learned",), {}, {"others": ("vgg16",)}, "has no classifier 'vgg16'"),
    ],
)
def test_what_the_workdir_lacks_is_named(run, stages, changes, options, message):
    with pytest.raises(UserError, match=message):
        generator_from_workdir(settings(stages, **changes), run[0], **options)


def test_classifiers_of_different_data_do_not_go_together(tmp_path):
    config = settings(("gradient",))
    config.classifiers.update(targets=("resnet_small", "vgg_small"), held_out=())
    save_classifier("resnet_small", ORIGIN, config, tmp_path)
    other = ORIGIN._replace(fingerprint="fedcba9876543210")
    save_classifier("vgg_small", other, config, tmp_path)
    with pytest.raises(UserError, match="has no classifier 'vgg_small' for these data"):
        generator_from_workdir(config, tmp_path)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match=f"no run to evaluate in {tmp_path}"):
        generator_from_workdir(settings(("learned",)), tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path}: no classifiers there"):
        generator_from_workdir(settings(("gradient",)), tmp_path)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A run against published weights, with a classifier of its own and published ones held out."""
    tiny_published.register(monkeypatch)
    for name, options in {"one": {}, "two": {"seed": 1}, "few": {"num_classes": 20}}.items():
        tiny_published.write(tmp_path / f"{name}.safetensors", **options)
    config = settings(("gradient",))
    held_out = ("two.safetensors", "few.safetensors", "vgg_small")
    config.classifiers.update(targets=("one.safetensors",), held_out=held_out)
    config.classifiers.weights = str(tmp_path)
    remember_published(config, ORIGIN, tmp_path)
    save_classifier("vgg_small", ORIGIN, config, tmp_path)
    return config


def test_a_generator_against_published_weights_has_their_classes(published, tmp_path):
    generator = generator_from_workdir(published, tmp_path, others=("two.safetensors",))
    assert list(generator.classifiers) == ["one.safetensors", "two.safetensors"]
    assert generator.published["two.safetensors"] == tiny_published.network(seed=1)
    assert generator.class_names == imagenet.class_names(1000)
    assert generator.config.classifiers.weights == ""


def test_a_learned_stage_against_published_weights_needs_none_of_them(published, tmp_path):
    published.generator.stages = ("learned",)
    save_checkpoints(published, tmp_path, {1: (1.0, 0.1)})
    (tmp_path / "one.safetensors").unlink()
    generator = generator_from_workdir(published, tmp_path)
    assert (generator.classifiers, generator.published) == ({}, {})
    assert generator.class_names == imagenet.class_names(1000)
    assert generator.labels_are_readings


@pytest.mark.parametrize("other", ["few.safetensors", "vgg_small"])
def test_classifiers_of_other_classes_than_the_targets_stay_out(published, tmp_path, other):
    message = f"--classifier={other}: its classes aren't those of .*one.*raeg verify --reader FILE"
    with pytest.raises(UserError, match=message):
        generator_from_workdir(published, tmp_path, others=(other,))
    published.classifiers.update(targets=("vgg_small",), held_out=("one.safetensors",))
    with pytest.raises(UserError, match=r"--classifier=one\.safetensors: its classes aren't"):
        generator_from_workdir(published, tmp_path, others=("one.safetensors",))


def test_other_weights_than_those_of_the_run_are_not_exported(published, tmp_path):
    (tmp_path / "two.safetensors").rename(tmp_path / "one.safetensors")
    with pytest.raises(UserError, match=r"one\.safetensors isn't the file that the workdir's run"):
        generator_from_workdir(published, tmp_path)


def test_learned_patterns_come_with_the_generator(run, tmp_path):
    workdir, _, _ = run
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    config = settings(("shortcut",))
    config.generator.shortcut.pattern = "learned"
    with pytest.raises(UserError, match="has no learned patterns"):
        generator_from_workdir(config, tmp_path)
    patterns = np.full((len(NAMES), 1, 8, 8, 3), 5, np.int8)
    save_patterns(tmp_path, patterns, origin_of_patterns(ORIGIN, config))
    np.testing.assert_array_equal(generator_from_workdir(config, tmp_path).patterns, patterns)
