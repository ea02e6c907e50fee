import importlib
import os
import pathlib
import subprocess
import sys

import pytest

from configs import ablation, base, scale
from raeg_jax.config.validate import validate
from raeg_jax.errors import UserError
from raeg_jax.generator.build import check_targets, target_psnrs
from raeg_jax.networks.preprocessing import Preprocessing
from raeg_jax.networks.weights import PublishedNetwork, save_weights
from raeg_jax.workdir.study import study_runs
from tests.config.test_schema import CONFIGS, FOLDER
from tests.networks import tiny_published


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_of_ours_is_possible(name):
    validate(importlib.import_module(f"configs.{name}").get_config())


@pytest.mark.parametrize("name", ["caltech101", "celeba", "mini_imagenet", "folder"])
@pytest.mark.parametrize("variant", ["cpu", *scale.STAGES])
def test_every_variant_of_the_benchmarks_is_possible(name, variant, tmp_path, monkeypatch):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    if variant in ("published", "poison_published"):
        tiny_published.register(monkeypatch)
        config.classifiers.weights = str(tmp_path)
        for file in (*config.classifiers.targets, *config.classifiers.held_out):
            save_weights(tmp_path / file, tiny_published.network(), {})
    validate(config)
    check_targets(config)


@pytest.mark.parametrize("study", ablation.studies(base.get_config()))
@pytest.mark.parametrize("options", ["", ",smoke", ",caltech101", ",mini_imagenet,paper"])
def test_every_run_of_our_studies_is_possible(study, options):
    config = ablation.get_config(study + options)
    validate(config)
    runs = study_runs(config, pathlib.Path("study"))
    assert len(runs) == len(config.ablation.variants) * len(config.ablation.seeds) > 1
    first, *others = (run.config.to_dict() for run in runs if run.seed == 0)
    # All are something else than what they are compared with.
    assert first not in others
    for run in runs[: len(others) + 1]:
        validate(run.config)
        check_targets(run.config)


@pytest.mark.parametrize("options", ["", ",smoke", ",celeba,paper"])
def test_stages_are_compared_at_one_psnr(options):
    runs = study_runs(ablation.get_config("stages" + options), pathlib.Path("study"))
    assert len({list(target_psnrs(run.config).values())[-1] for run in runs}) == 1


@pytest.mark.parametrize(
    "variant",
    ["couplings", "coupling,imagenet", "depth,celeba,caltech101", "depth,smoke,paper", ""],
)
def test_studies_that_there_are_not(variant):
    with pytest.raises(ValueError, match=r"write a study, one of coupling, .* \(smoke, paper\)"):
        ablation.get_config(variant)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"generator.blocks": (1, 1)},
            r"blocks \(1, 1\) and .*widths .* one entry a level",
        ),
        (
            {"generator.stages": ("gradient",), "classifiers.targets": ("vgg16",)},
            "'vgg16' can't compute in fixed point",
        ),
        ({"generator.mixing": "conv1x1", "generator.coupling": "integer"}, "'conv1x1' makes"),
        ({"classifiers.held_out": ("vgg_small",)}, "'vgg_small' stands twice"),
        ({"classifiers.targets": ("vgg_small", "vgg_small")}, "'vgg_small' stands twice"),
        ({"optimizer.weight_decay": 0.1}, r"weight_decay=0\.1 does nothing with .*'adam'"),
        ({"augment.crop_padding": 64}, "crop_padding=64 must be below config.data.image_size=64"),
        ({"attack_layer.probability.identity": 0.0}, "probability: all are 0"),
        ({"attack_layer.jpeg_quality": (95, 50)}, "smallest first"),
        ({"loss.weight.gan": 0.1, "discriminator.layers": 5}, "at least 96 pixels.* is 64: use"),
    ],
)
def test_impossible_combinations_are_named(changes, message):
    config = base.get_config()
    config.data.image_size = 64
    config.classifiers.targets = ("resnet_small", "vgg_small")
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        validate(config)


def test_nothing_to_train_for():
    config = base.get_config()
    for name in config.loss.weight:
        config.loss.weight[name] = 0.0
    with pytest.raises(UserError, match=r"all of config\.loss\.weight are 0"):
        validate(config)


def test_no_device_is_started():
    """JAX can join the processes of several hosts only before."""
    script = (
        "import jax; from configs import caltech101\n"
        "from raeg_jax.config.validate import validate\n"
        "validate(caltech101.get_config('both'))\n"
        "jax.config.update('jax_num_cpu_devices', 3)  # refused once a device has started\n"
        "print(jax.device_count())"
    )
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent), "XLA_FLAGS": ""}
    command = [sys.executable, "-c", script]
    assert subprocess.check_output(command, env=environment, text=True) == "3\n"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A config whose folder of weights has headers of files: no array is read."""
    tiny_published.register(monkeypatch)
    networks = {
        "one": tiny_published.network(),
        "two": tiny_published.network(),
        "few": tiny_published.network(num_classes=20),
        "vgg": PublishedNetwork("vgg16", 1000, Preprocessing(mean=(0.0,) * 3), "vgg16.pth (0123)"),
    }
    for name, network in networks.items():
        save_weights(tmp_path / f"{name}.safetensors", network, {})
    (tmp_path / "text.safetensors").write_text("weights")
    config = base.get_config()
    config.generator.stages = ("gradient",)
    config.classifiers.weights = str(tmp_path)
    return config


def choose(config, targets, held_out=()):
    for role, names in (("targets", targets), ("held_out", held_out)):
        files = (name if "_" in name else f"{name}.safetensors" for name in names)
        config.classifiers[role] = tuple(files)


def test_published_targets_may_have_held_out_classifiers_of_both_kinds(weights):
    choose(weights, ("one", "two"), ("few", "vgg_small", "vgg"))
    validate(weights)
    choose(weights, ("vgg_small",), ("one",))
    validate(weights)


@pytest.mark.parametrize(
    ("targets", "held_out", "message"),
    [
        (("one", "vgg_small"), (), r"targets=\('one.safetensors', 'vgg_small'\) mixes .*one kind"),
        (("one", "few"), (), "different classes, one.safetensors 1000 and few.safetensors 20: use"),
        (("one",), ("one",), "'one.safetensors' stands twice"),
        (("vgg",), (), "classifier 'vgg.safetensors' can't compute in fixed point"),
        (("none",), (), r"there is no .*/none\.safetensors, .*raeg weights import"),
        (("one",), ("none",), r"there is no .*/none\.safetensors, .*raeg weights import"),
        (("text",), (), r"text\.safetensors is no file of weights of ours"),
    ],
)
def test_published_classifiers_that_can_not_be_used_are_named(weights, targets, held_out, message):
    choose(weights, targets, held_out)
    with pytest.raises(UserError, match=message):
        validate(weights)


def test_published_targets_poison_with_heads_only(weights):
    weights.loss.weight.poison = 1.0
    choose(weights, ("one",), ())
    with pytest.raises(UserError, match=r"poison=1\.0 .*targets=\('one\.safetensors',\) .*heads"):
        validate(weights)
    weights.classifiers.heads = 64
    validate(weights)


def test_targets_with_heads_may_be_of_both_kinds(weights):
    weights.classifiers.heads = 64
    choose(weights, ("one", "few", "vgg_small"), ("two",))
    validate(weights)


@pytest.mark.parametrize(
    ("targets", "views", "message"),
    [
        (("vgg_small",), ("identity",), r"heads=64 is for published .*\('vgg_small',\).*name none"),
        (("one",), ("crop", "whole"), r"\('crop', 'whole'\) are of photographs, .*heads=0 "),
        (("vgg",), ("identity",), "classifier 'vgg.safetensors' can't compute in fixed point"),
    ],
)
def test_what_does_not_go_with_heads_is_named(weights, targets, views, message):
    weights.classifiers.heads = 64
    weights.generator.gradient.views = views
    choose(weights, targets)
    with pytest.raises(UserError, match=message):
        validate(weights)
