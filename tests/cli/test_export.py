import copy
import json

import pytest

from configs import smoke
from raeg_jax.cli import export
from raeg_jax.config import run_config
from raeg_jax.errors import UserError


@pytest.fixture
def workdir(tmp_path):
    run_config.save(smoke.get_config(), tmp_path / run_config.FILE)
    return tmp_path


@pytest.mark.parametrize("stages", [None, ("learned", "gradient")])
def test_the_settings_are_those_that_the_run_saved(workdir, monkeypatch, stages):
    given = {}

    def generator_from_workdir(config, *arguments):
        given.update(config=config, arguments=arguments)
        return "bundle"

    monkeypatch.setattr(export, "generator_from_workdir", generator_from_workdir)
    monkeypatch.setattr(export, "save_generator", lambda *pair: given.update(saved=pair))
    made = export.export(workdir, "generator", "best", ("vgg_small",), stages)
    expected = smoke.get_config()
    if stages:
        expected.generator.stages = stages
    assert given["config"].to_dict() == expected.to_dict()
    assert given["arguments"] == (workdir, "best", ("vgg_small",))
    assert given["saved"] == ("generator", "bundle")
    assert made == "bundle"


def test_impossible_settings_are_errors(workdir):
    with pytest.raises(UserError, match=r"stages=\('wavelet',\) is impossible: .* each one of"):
        export.export(workdir, "generator", stages=("wavelet",))


def test_a_folder_without_a_run_is_reported(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*config\.json: name the workdir of a run"):
        export.export(tmp_path, "generator")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config\.json isn't the settings of a run"):
        export.export(tmp_path, "generator")


def results(protected, success, psnr=38.0, outside=0.002, **more):
    config = smoke.get_config()
    settings = run_config.to_json(config)
    reads = {
        "role": "target",
        "accuracy": {"original": 0.9, "protected": protected},
        "attack_success": {"protected": success},
    }
    test = {
        "images": 20,
        "quality": {"protected": {"psnr": psnr}},
        "outside_range": outside,
        "classifiers": {
            "resnet_small": reads,
            "vgg_small": copy.deepcopy(reads) | {"role": "held_out"},
        },
    }
    generator = {"stages": ["learned"]}
    return {
        "checkpoint": "latest",
        "step": 300,
        "generator": generator,
        "settings": settings,
        "splits": {"test": test},
    } | more


@pytest.mark.parametrize(
    ("content", "warned"),
    [
        (results(0.3, 0.67), []),
        (results(0.88, 0.02), ["this generator misleads no classifier (at most 2.0% of what it"]),
        (results(0.1, 0.9, psnr=6.0, outside=1.0), ["the learned generator has diverged: prot"]),
    ],
)
def test_what_the_run_measured_is_reported(workdir, content, warned):
    # What isn't of this generator, or no results at all, is not looked at.
    for name, other in (
        ("results-best.json", results(0.0, 1.0, checkpoint="best")),
        ("results-gradient-1f2e3d.json", results(0.0, 1.0, generator={"stages": ["gradient"]})),
        ("results-none.json", []),
    ):
        (workdir / name).write_text(json.dumps(other))
    config = smoke.get_config()
    lines, warnings = export.effect(workdir, config, "latest")
    assert "is unknown" in lines[0]
    assert (len(lines), warnings) == (1, [])
    (workdir / "results.json").write_text(json.dumps(content))
    lines, warnings = export.effect(workdir, config, "latest")
    accuracy = content["splits"]["test"]["classifiers"]["resnet_small"]["accuracy"]["protected"]
    psnr = content["splits"]["test"]["quality"]["protected"]["psnr"]
    assert lines == [
        f"results of step 300 on 20 test images: protected ones are {psnr} dB",
        f"resnet_small (target) reads 90% right before protection, {accuracy:.0%} after",
        f"vgg_small (held out) reads 90% right before protection, {accuracy:.0%} after",
    ]
    assert [line[: len(start)] for line, start in zip(warnings, warned, strict=True)] == warned
