"""How much of the package one command passes: files and functions, the measure of its granularity.

    python benchmarks/files_passed.py

Runs `raeg protect` of one image, `raeg recover` of the result, and `train.py` on the smoke
configuration, each in a process of its own that records every function of the package that is
called, in all threads. Prints a row of a table
for each command: files with at least one such function, and functions.
"""

import pathlib
import subprocess
import sys
import tempfile

import skimage.data
from PIL import Image

from raeg_jax.config import command_line

ROOT = pathlib.Path(__file__).parents[1]
# Runs the command in its arguments: a module of the package, or a script.
_RECORDER = """
import inspect, runpy, sys, threading
package, record, name, *arguments = sys.argv[1:]
called = set()

def profile(frame, event, _):
    code = frame.f_code
    # Bodies of modules and classes are not optimised code.
    if event == "call" and code.co_flags & inspect.CO_OPTIMIZED:
        if code.co_filename.startswith(package):
            called.add((code.co_filename, code.co_qualname))

sys.argv = [name, *arguments]
threading.setprofile(profile)
sys.setprofile(profile)
try:
    run = runpy.run_path if name.endswith(".py") else runpy.run_module
    run(name, run_name="__main__")
finally:
    sys.setprofile(None)
    threading.setprofile(None)
    # Comprehensions and lambdas are parts of other functions.
    functions = {pair for pair in list(called) if not pair[1].endswith(">")}
    with open(record, "w") as file:
        file.writelines(sorted(f"{path} {function}\\n" for path, function in functions))
"""


def main() -> None:
    """Runs the commands and prints a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        image = Image.fromarray(skimage.data.astronaut()).resize((96, 96))
        image.save(folder / "photo.png")
        key = ["--key", folder / "owner.key"]
        raeg = "raeg_jax"
        commands = {
            "keygen": [raeg, "keygen", folder / "owner.key"],
            "protect": [raeg, "protect", folder / "photo.png", folder / "out.png", *key],
            "recover": [raeg, "recover", folder / "out.png", folder / "back.png", *key],
            "train": [
                ROOT / "train.py",
                "--config=smoke",
                f"--config.data.cache_dir={folder / 'data'}",
                f"--workdir={folder / 'run'}",
            ],
        }
        print("| command | files | functions |\n|---|---:|---:|")
        for title, command in commands.items():
            functions = called_functions(command, folder / "record")
            files = {line.split()[0] for line in functions}
            print(f"| {title} | {len(files)} | {len(functions)} |", flush=True)


def called_functions(command: list, record: pathlib.Path) -> list[str]:
    """Runs a command; returns a line 'file function' for each function that it called."""
    recorder = [sys.executable, "-c", _RECORDER, f"{ROOT / 'raeg_jax'}/", record]
    subprocess.run(
        [*map(str, [*recorder, *command])], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    return record.read_text().splitlines()


if __name__ == "__main__":
    command_line.run_without_config(main)
