"""Python programs that compute with other flags of XLA, in which the same bits are expected."""

import os
import subprocess
import sys


def run(program, flags, *arguments):
    """Runs a program that compiles for itself; its standard error is that of a failed assert."""
    environment = os.environ | {
        "XLA_FLAGS": flags,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
        # Compile again, rather than read what the tests have compiled.
        "JAX_ENABLE_COMPILATION_CACHE": "0",
    }
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
