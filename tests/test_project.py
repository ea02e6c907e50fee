"""What a user gets: the wheel, its version and licence, and pages without broken links."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import yaml

import raeg_jax

ROOT = pathlib.Path(__file__).parents[1]
BUILD = "from setuptools.build_meta import *; build_wheel('out'); build_sdist('out')"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist, of a copy of the sources: setuptools writes beside them."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("raeg_jax", "configs", "tests", "benchmarks", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    result = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=folder, text=True, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr
    (wheel,), (sdist,) = (folder / "out").glob("*.whl"), (folder / "out").glob("*.tar.gz")
    return wheel, sdist


def sources():
    """What a wheel must have: the package as it is here, and the configurations inside."""
    package = (path for path in (ROOT / "raeg_jax").rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix() for path in package}
    names |= {f"raeg_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    return {name for name in names if "__pycache__" not in name}


def test_the_wheel_has_the_package_and_its_configs_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = wheel.read(metadata).decode()
        folder = metadata.removesuffix("METADATA")
        legal = {name: wheel.read(f"{folder}licenses/{name}") for name in ("LICENSE", "NOTICE")}
        scripts = wheel.read(f"{folder}entry_points.txt").decode()
    assert {name for name in names if not name.startswith(folder)} == sources()
    assert "raeg_jax/py.typed" in names
    assert legal == {name: (ROOT / name).read_bytes() for name in legal}
    assert "raeg = raeg_jax.cli:main" in scripts
    assert f"\nVersion: {raeg_jax.__version__}\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text


def test_a_wheel_can_be_built_from_the_sdist(built):
    with tarfile.open(built[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    needed = {"LICENSE", "NOTICE", "README.md", "CHANGELOG.md", "CITATION.cff"}
    needed |= {"pyproject.toml", "setup.py"}
    configs = {f"configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    inside = {name for name in sources() if not name.startswith("raeg_jax/configs/")}
    assert needed | configs | inside <= names
    others = {name.partition("/")[0] for name in names}
    assert not others & {"tests", "benchmarks", "examples", "docs", "out", "build"}


def test_an_installed_wheel_finds_its_configs(built, tmp_path):
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    result = subprocess.run(
        [sys.executable, "-m", "raeg_jax", "train", "--config=celeba:cpu", "--config.x=1"],
        cwd=tmp_path / "empty",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        text=True,
        capture_output=True,
        check=False,
    )
    path = tmp_path / "site" / "raeg_jax" / "configs" / "celeba.py"
    assert result.stderr == f"error: --config.x: there is no such setting in {path}\n"


def test_versions_agree(capsys):
    from raeg_jax import cli

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"raeg {raeg_jax.__version__}\n"
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == raeg_jax.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == raeg_jax.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda page: page.name
)
def test_links_to_files_are_not_broken(page):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link
