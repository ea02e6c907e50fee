"""Lets tests import the modules that scripts of `benchmarks/` share, as Python does for scripts."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
