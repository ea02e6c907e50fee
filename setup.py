"""What pyproject.toml has no words for: `configs/` travels inside the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["raeg_jax*"]), "raeg_jax.configs"],
    package_dir={"raeg_jax.configs": "configs"},
)
