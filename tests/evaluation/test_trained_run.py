"""Generators at other PSNRs."""

import pytest

from configs import base
from raeg_jax.evaluation.trained_run import TrainedRun, aim_at, can_aim_at
from raeg_jax.generator import build


@pytest.mark.parametrize(
    ("stages", "psnr", "psnrs"),
    [
        (("shortcut", "gradient"), 38.0, {"shortcut": 39.0, "gradient": 38.0}),
        (("shortcut",), 30.0, {"shortcut": 30.0}),
        (("learned",), 30.0, {"learned": 34.5}),
    ],
)
def test_a_shortcut_stage_keeps_its_distance_and_a_learned_one_its_psnr(stages, psnr, psnrs):
    config = base.get_config()
    config.generator.stages = stages
    config.generator.shortcut.target_psnr, config.generator.gradient.target_psnr = 33.0, 32.0
    aim_at(config, psnr)
    assert build.target_psnrs(config) == psnrs


def test_a_generator_has_parameters_and_patterns_where_its_stages_need_them():
    config = base.get_config()
    run = TrainedRun(config, None, {"w": 1}, {}, patterns="patterns")
    other = config.copy_and_resolve_references()
    other.generator.stages = ("shortcut",)
    assert run.with_config(other).params is None
    assert run.with_config(config).params == {"w": 1}
    assert run.with_config(other).patterns is None
    other.generator.shortcut.pattern = "learned"
    assert run.with_config(other).patterns == "patterns"


def test_each_stage_must_leave_some_distance_to_the_next():
    config = base.get_config()
    config.generator.stages = build.STAGES
    config.generator.shortcut.target_psnr, config.generator.gradient.target_psnr = 33.0, 32.0
    config.loss.target_psnr = 37.0
    possible = [can_aim_at(config, psnr) for psnr in (30.0, 35.9, 36.0, 38.0)]
    assert possible == [True, True, False, False]
    assert config.generator.gradient.target_psnr == 32.0
