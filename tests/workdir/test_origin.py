"""Another run's classifiers are not replaced; test_resume.py has the checks of checkpoints."""

import pytest

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.workdir.classifiers import load_classifiers
from raeg_jax.workdir.origin import DataOrigin, check_same_run, origin_of
from tests.workdir.untrained import save_classifier

SPLITS = DataOrigin("0123456789abcdef", ("red", "green", "blue"), "colours")


@pytest.fixture
def config():
    config = base.get_config()
    config.classifiers.update(targets=("resnet_small",), held_out=())
    return config


@pytest.fixture
def workdir(tmp_path, config):
    save_classifier("resnet_small", SPLITS, config, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "config.seed was 0, is 5"),
        ({"classifiers.steps": 39}, "config.classifiers.steps was .*, is 39"),
        ({"augment.flip": False, "data.image_size": 48}, "flip was True, .*image_size was .*, is"),
    ],
)
@pytest.mark.parametrize("name", ["resnet_small", "vgg_small"])
def test_classifiers_of_another_run_are_not_replaced(config, workdir, change, message, name):
    config.classifiers.targets = (name,)
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=f"the workdir holds another run: .*{message}.*another --w"):
        check_same_run(config, SPLITS, workdir)


def test_a_run_may_have_other_classifiers_and_generators(config, workdir):
    config.classifiers.targets = ("vgg_small",)
    config.generator.stages = ("gradient",)
    config.generator.gradient.target_psnr = 38.0
    config.loss.kappa, config.train.steps, config.eval.max_images = 1.0, 3, 5
    check_same_run(config, SPLITS, workdir)


@pytest.mark.parametrize("check", [check_same_run, load_classifiers])
def test_other_images_are_named_in_training_and_evaluation(config, workdir, check):
    other = SPLITS._replace(fingerprint="f" * 16)
    message = r"the colours images are not those .*0123456789abcdef then, ffffffffffffffff now"
    with pytest.raises(UserError, match=message):
        check(config, other, workdir)


def test_the_origin_of_version_0_1_0_stays(config):
    assert "crop_share" not in origin_of("resnet_small", SPLITS, config)["augment"]
    config.augment.crop_share = 0.6
    assert origin_of("resnet_small", SPLITS, config)["augment"]["crop_share"] == 0.6
