import importlib.resources
import pathlib

import pytest
from ml_collections import ConfigDict

from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.networks import int8
from raeg_jax.networks.weights import PublishedNetwork
from raeg_jax.protection import generator_file, loaded_generator, shipped
from raeg_jax.protection.loaded_generator import default_generator, generator_id, load_generator
from raeg_jax.protection.shipped import SHIPPED, name_of, path_of, resolve


@pytest.mark.parametrize("name", SHIPPED)
def test_ids_are_those_of_the_files_and_each_has_a_card(name):
    # Of what the file holds: with its networks a generator takes seconds.
    description, stored = generator_file.read(path_of(name))
    published = {
        each: PublishedNetwork.from_json(values)
        for each, values in description.get("published", {}).items()
    }
    learned = {each: array for each, array in stored.items() if each.startswith("params/")}
    others = {each: array for each, array in stored.items() if each not in learned}
    arrays = generator_file.from_int8(learned) | int8.unpack(others)
    config = ConfigDict(run_config.with_tuples(description["config"]))
    assert generator_id(config, arrays, published) == SHIPPED[name]
    assert name_of(SHIPPED[name]) == name
    assert SHIPPED[name].hex() in path_of(name).with_suffix(".md").read_text()


def test_the_default_is_one_of_them_and_no_other_file_is_in_the_package():
    assert shipped.DEFAULT in SHIPPED
    assert {path.stem for path in path_of("small").parent.glob("*.raeg")} == set(SHIPPED)
    assert name_of(bytes(8)) is None


def test_names_stand_for_the_files_of_the_package_unless_there_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("small") == path_of("small")
    assert resolve("./small") == pathlib.Path("small")
    assert resolve("other") == pathlib.Path("other")
    pathlib.Path("small").mkdir()
    assert resolve("small") == path_of("small")
    pathlib.Path("small").rmdir()
    pathlib.Path("small").touch()
    assert resolve("small") == pathlib.Path("small")
    with pytest.raises(UserError, match=r"^small is no generator file"):
        load_generator("small")
    with pytest.raises(UserError, match=f"no generator file smal: .* comes with {shipped.names()}"):
        load_generator("smal")


def test_the_default_generator_is_the_one_in_the_package(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(loaded_generator, "load_generator", asked.append)
    path = tmp_path / f"{shipped.DEFAULT}.raeg"
    with pytest.raises(UserError, match=f"with raeg-jax is missing, {path}: install raeg-jax ag"):
        default_generator()
    path.touch()
    default_generator()
    assert asked == [path]
