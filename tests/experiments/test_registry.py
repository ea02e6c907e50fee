"""Experiments by name, and rules of their settings."""

import pytest

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.experiments.registry import EXPERIMENTS, check_settings, choose


def names(flag, compared=False):
    return [experiment.name for experiment in choose(flag, compared)]


FULL = ["quality", "accuracy", "defences", "distortion", "transfer", "token", "pirates"]


def test_experiments_are_chosen_by_name():
    assert names("full") == FULL
    assert names("pirates,accuracy,pirates") == ["pirates", "accuracy"]
    assert names("accuracy,full,pirates") == FULL
    assert names("full,poisons") == [*FULL, "poisons"]
    assert names("full", True) == ["quality", "defences", "distortion", "pirates"]
    with pytest.raises(UserError, match=r"--suite=accuracy,pirate: .*'pirate'; choose 'full' or"):
        choose("accuracy,pirate", False)
    with pytest.raises(UserError, match=r"--suite=token: with --method there is no .*'token'"):
        choose("token", True)


def test_the_base_settings_are_possible():
    check_settings(base.get_config(), choose("full", False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite.images": -1}, r"config\.suite\.images=-1 is impossible"),
        ({"suite.psnrs": ()}, r"suite\.psnrs=\(\) is impossible: .* one or more"),
        ({"suite.stages": ("gradient+learned",)}, r"is impossible: .*learned\+gradient"),
        ({"suite.pirates.steps": 0}, r"suite\.pirates\.steps=0 is impossible"),
        ({"suite.pirates.defences": ("fog",)}, r"defences=\('fog',\) is impossible: .*jpeg_50"),
        ({"suite.pirates.shares": (1.0,)}, r"shares=\(1\.0,\) is .* strictly between"),
        ({"suite.variants.rows": ("plane",)}, r"rows=\('plane',\) is impossible: .*smoothing 0\.7"),
        ({"suite.poisons.rows": ("fog",)}, r"rows=\('fog',\) is impossible: .*honest, gradient"),
        ({"comparison.psnr": 3.0}, r"config\.comparison\.psnr=3\.0 is impossible"),
        ({"comparison.attack": "fgsm"}, r"attack='fgsm' is impossible: .*pgd"),
        ({"comparison.rae.sides": (4, 0)}, r"rae\.sides=\(4, 0\) is impossible"),
        ({"comparison.rit.quantum": 0}, r"rit\.quantum=0 is impossible"),
        ({"comparison.distortions": ("fog",)}, r"distortions=\('fog',\) is impossible: .*jpeg_50"),
    ],
)
def test_impossible_settings_are_named(change, message):
    config = base.get_config()
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message):
        check_settings(config, [])


def test_settings_that_are_impossible_together_are_named_where_they_matter():
    config = base.get_config()
    config.suite.pirates.architectures = ("vgg_small",)
    check_settings(config, choose("accuracy", False))
    with pytest.raises(UserError, match="has 'vgg_small', which is a target"):
        check_settings(config, choose("accuracy,pirates", False))


def test_every_experiment_has_a_table_of_its_own():
    assert len({experiment.table for experiment in EXPERIMENTS.values()}) == len(EXPERIMENTS)
