import pytest

from configs import smoke
from raeg_jax import config as config_lib
from raeg_jax.errors import UserError
from raeg_jax.tool import exporting


@pytest.fixture
def workdir(tmp_path):
    config_lib.save(smoke.get_config(), tmp_path / config_lib.FILE)
    return tmp_path


@pytest.mark.parametrize("stages", [None, ("learned", "gradient")])
def test_the_settings_are_those_that_the_run_saved(workdir, monkeypatch, stages):
    given = {}

    def bundle_from_workdir(config, *arguments):
        given.update(config=config, arguments=arguments)
        return "bundle"

    monkeypatch.setattr(exporting, "bundle_from_workdir", bundle_from_workdir)
    monkeypatch.setattr(exporting, "save_bundle", lambda *pair: given.update(saved=pair))
    made = exporting.export(workdir, "generator", "best", ("vgg_small",), stages)
    expected = smoke.get_config()
    if stages:
        expected.generator.stages = stages
    assert given["config"].to_dict() == expected.to_dict()
    assert given["arguments"] == (workdir, "best", ("vgg_small",))
    assert given["saved"] == ("generator", "bundle")
    assert made == "bundle"


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*config\.json: name the workdir of a run"):
        exporting.export(tmp_path, "generator")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config\.json isn't the settings of a run"):
        exporting.export(tmp_path, "generator")
