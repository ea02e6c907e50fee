"""Fixtures shared by all tests."""

import os
import pathlib
import tempfile

# Before JAX starts: multi-device code is tested on eight virtual CPU devices.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is most of the suite's time; results are the same, only slower to compute.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# And a program that was compiled once is read by all workers and by the commands that tests start.
# New for each session, so that nothing depends on what an earlier one left.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="raeg-tests-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import pytest


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder with real images of the three benchmarks; tests that need it skip without it."""
    folder = pathlib.Path(__file__).parents[1] / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared images at ../shared/data")
    return folder.resolve()
