"""Finished classifiers are loaded for the data and settings that they were trained on."""

import json

import jax
import numpy as np
import pytest

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.workdir import classifiers, origin
from raeg_jax.workdir.origin import DataOrigin
from tests.networks import tiny_published
from tests.workdir.untrained import save_classifier

SPLITS = DataOrigin("0123456789abcdef", ("red", "green", "blue"), "colours")
NAME, OTHER = "resnet_small", "vgg_small"


@pytest.fixture
def config():
    config = base.get_config()
    config.classifiers.update(targets=(NAME,), held_out=(OTHER,))
    return config


@pytest.fixture
def workdir(tmp_path, config):
    """It has one of the two classifiers."""
    save_classifier(NAME, SPLITS, config, tmp_path)
    return tmp_path


def load(config, workdir, splits=SPLITS):
    return classifiers.load_classifier(NAME, splits, config, workdir)


def test_saved_variables_come_back(config, tmp_path):
    saved = save_classifier(NAME, SPLITS, config, tmp_path)
    config.classifiers.held_out = ()
    loaded = classifiers.load_classifiers(config, SPLITS, tmp_path)
    assert list(loaded) == [NAME]
    jax.tree.map(np.testing.assert_array_equal, loaded[NAME][1], saved)
    assert loaded[NAME][0].num_classes == 3
    assert classifiers.trained_on(NAME, tmp_path) == SPLITS._replace(name=DataOrigin("", ()).name)


@pytest.mark.parametrize(
    "change",
    [
        {"classifiers.steps": 39},
        {"classifiers.learning_rate": 0.04},
        {"augment.flip": False},
        {"augment.mixup": 0.2},
        {"seed": 5},
    ],
)
def test_other_settings_are_not_taken_for_the_same(config, workdir, change):
    config.update_from_flattened_dict(change)
    assert load(config, workdir) is None


def test_other_data_are_not_taken_for_the_same(config, workdir):
    assert load(config, workdir, SPLITS._replace(fingerprint="f" * 16)) is None


def test_roles_and_the_generator_do_not_matter(config, workdir):
    config.classifiers.update(targets=(OTHER,), held_out=(NAME,))
    config.loss.kappa, config.train.steps = 1.0, 3
    assert load(config, workdir) is not None


def test_interrupted_saving_is_not_trusted(config, workdir):
    (origin.classifier_folder(workdir, NAME) / origin.INFO).unlink()
    assert load(config, workdir) is None


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"origin": 3}', b'{"origin": {"data": 1}}']
)
def test_a_damaged_info_file_means_no_classifier(config, workdir, content):
    (origin.classifier_folder(workdir, NAME) / origin.INFO).write_bytes(content)
    origin.check_same_run(config, SPLITS, workdir)
    assert load(config, workdir) is None
    with pytest.raises(UserError, match=f"has no classifier '{NAME}'"):
        classifiers.load_classifiers(config, SPLITS, workdir)


def test_damaged_weights_are_named(config, workdir):
    for path in (origin.classifier_folder(workdir, NAME) / "variables").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    message = rf"the classifier .*{NAME} can't be read .*: train\.py .* trains it again"
    with pytest.raises(UserError, match=message):
        classifiers.load_classifiers(config, SPLITS, workdir)


def test_a_missing_classifier_is_named_with_the_way_out(config, workdir):
    with pytest.raises(UserError, match=rf"has no classifier '{OTHER}' .*run train\.py first"):
        classifiers.load_classifiers(config, SPLITS, workdir)


PUBLISHED = "net.safetensors"


@pytest.fixture
def published(config, workdir, monkeypatch):
    """A published classifier is held out, in a folder beside the workdir's classifiers."""
    tiny_published.register(monkeypatch)
    config.classifiers.update(held_out=(PUBLISHED,), weights=str(workdir))
    return tiny_published.write(workdir / PUBLISHED)


def test_a_published_classifier_is_loaded_from_its_file_and_remembered(config, workdir, published):
    for _ in range(2):
        loaded = classifiers.load_classifiers(config, SPLITS, workdir)
        assert list(loaded) == [NAME, PUBLISHED]
        assert loaded[PUBLISHED][0] == published.module
        classifiers.remember_published(config, SPLITS, workdir)
    folder = origin.classifier_folder(workdir, PUBLISHED)
    # Nothing is copied, and no path of the machine is in it.
    assert [path.name for path in folder.iterdir()] == [origin.INFO]
    info = (folder / origin.INFO).read_text()
    assert str(workdir) not in info
    assert json.loads(info)["origin"]["published"]["source"] == published.source
    assert classifiers.trained_on(PUBLISHED, workdir).class_names == SPLITS.class_names
    assert classifiers.clean_accuracies((NAME, PUBLISHED), workdir) == {NAME: {}}


def test_other_weights_under_a_published_name_are_an_error(config, workdir, published):
    classifiers.remember_published(config, SPLITS, workdir)
    (workdir / PUBLISHED).unlink()
    tiny_published.write(workdir / PUBLISHED, seed=1)
    # They don't matter where they aren't used.
    origin.check_same_run(config, SPLITS, workdir)
    with pytest.raises(UserError, match=r"net\.safetensors isn't the file that .*use another --wo"):
        classifiers.load_classifiers(config, SPLITS, workdir)


def test_a_published_classifier_belongs_to_a_run_on_its_data(config, workdir, published):
    classifiers.remember_published(config, SPLITS, workdir)
    config.classifiers.update(targets=(PUBLISHED,), held_out=())
    with pytest.raises(UserError, match="colours images are not those"):
        classifiers.load_classifiers(config, SPLITS._replace(fingerprint="f" * 16), workdir)
    config.classifiers.steps = 39  # of the training of others
    origin.check_same_run(config, SPLITS, workdir, PUBLISHED)
    assert list(classifiers.load_classifiers(config, SPLITS, workdir)) == [PUBLISHED]


def test_info_says_what_it_comes_from(config, workdir):
    info = json.loads((origin.classifier_folder(workdir, NAME) / origin.INFO).read_text())
    assert info["origin"]["data"] == SPLITS.fingerprint
    assert info["origin"]["classes"] == list(SPLITS.class_names)
    assert info["origin"]["image_size"] == config.data.image_size
    assert "targets" not in info["origin"]["classifiers"]
