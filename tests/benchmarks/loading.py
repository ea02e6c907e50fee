"""Scripts of `benchmarks/`, loaded for tests."""

import importlib.util
import pathlib

from absl import flags

FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"


def load_benchmark(name):
    """For fixtures: a script, whose flags are there as long as it is needed.

    Several scripts have flags of the same names, which can't be defined twice.
    """
    before = set(flags.FLAGS)
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    flags.FLAGS.mark_as_parsed()
    yield module
    for flag in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, flag)
