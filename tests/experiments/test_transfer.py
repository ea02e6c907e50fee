"""What was made against some classifiers is shown to all."""

import dataclasses

import pytest

from raeg_jax.experiments import transfer
from tests.experiments.experiment_toys import FloatRun, alone, published


@pytest.mark.parametrize(
    ("stages", "sets"),
    [
        (("learned",), ["near"]),
        (("shortcut",), ["near"]),
        (("gradient",), ["near", "off", "near+off"]),
        (("shortcut", "gradient"), ["near", "off", "near+off"]),
    ],
)
def test_generators_that_attack_any_classifier_are_made_against_each(tmp_path, stages, sets):
    context = alone(tmp_path)
    context.run.config.generator.stages = stages
    assert [unit.name for unit in transfer.units(context)] == [f"transfer/{s}" for s in sets]


@pytest.mark.parametrize(
    ("targets", "held_out", "sets"),
    [
        ((), ("a.safetensors",), ["near", "a.safetensors"]),
        (
            ("a.safetensors",),
            ("b.safetensors",),
            ["a.safetensors", "b.safetensors", "a.safetensors+b.safetensors"],
        ),
    ],
)
def test_classifiers_of_different_classes_are_not_attacked_together(
    tmp_path, monkeypatch, targets, held_out, sets
):
    context = alone(tmp_path)
    context.run.config.generator.stages = ("gradient",)
    run = published(context.run, tmp_path, monkeypatch, targets, held_out)
    units = transfer.units(dataclasses.replace(context, run=run))
    assert [unit.name for unit in units] == [f"transfer/{name}" for name in sets]


def test_all_classifiers_classify_the_files(tmp_path):
    context = alone(tmp_path, FloatRun)
    result = transfer.measure(context, ("near",))
    scores = result["classifiers"]
    assert result["attacked"] == ["near"]
    assert list(scores) == ["near", "off"]
    # Files are brighter by 20: some are taken for the next class.
    assert 0 < scores["near"]["attack_success"]["protected"] < 1
    (row,) = transfer.table([result], dataclasses.replace(context)).rows
    assert row[2:4] == tuple(f"{scores[name]['accuracy']['protected']:.3f}" for name in scores)
