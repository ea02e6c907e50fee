"""Fixtures shared by all tests."""

import importlib.metadata
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
# XLA's older code generator takes half the time. Later versions end at flags they don't know.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

# All workers and the commands that tests start share a cache of compiled programs. It is new for
# each session, so that nothing depends on an earlier one; a test that must compile for itself sets
# JAX_ENABLE_COMPILATION_CACHE=0.
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
