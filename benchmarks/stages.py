"""Where the time goes: reading, networks, hiding, PNG and SHA-256 of protecting and recovering.

    python benchmarks/stages.py --source=FOLDER --images=32 --generator=small

Protects the first images of FOLDER, writes PNG files, reads and recovers them, one step after the
other, where `raeg` reads, writes and hides in other images while the network works. Prints
milliseconds an image, wall time and CPU time (of all threads), of each stage without the stages
inside it; the first pass compiles and doesn't count.
"""

import collections
import concurrent.futures
import contextlib
import pathlib
import tempfile
import time
from unittest import mock

from absl import flags

from raeg_jax.config import command_line

_SOURCE = flags.DEFINE_string("source", "", "Folder of images.")
_IMAGES = flags.DEFINE_integer("images", 32, "How many, the first by name.", lower_bound=1)
_GENERATOR = flags.DEFINE_string("generator", "small", "A shipped generator, or a file.")
_BATCH = flags.DEFINE_integer("batch_size", 16, "Images that the network takes at a time.")


class Stopwatches:
    """Wall and CPU seconds by name; what a stage calls of other stages doesn't count as its own."""

    def __init__(self):
        self.seconds: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
        self._open: list[list[float]] = []

    @contextlib.contextmanager
    def running(self, name: str):
        """Times a block."""
        inside, wall, cpu = [0.0, 0.0], time.perf_counter(), time.process_time()
        self._open.append(inside)
        try:
            yield
        finally:
            took = time.perf_counter() - wall, time.process_time() - cpu
            self._open.pop()
            for i in range(2):
                self.seconds[name][i] += took[i] - inside[i]
                if self._open:
                    self._open[-1][i] += took[i]

    def timed(self, name: str, function):
        """A function whose calls are timed."""

        def call(*args, **kwargs):
            with self.running(name):
                return function(*args, **kwargs)

        return call


def main() -> None:
    """Protects and recovers twice, and prints the second time."""
    from raeg_jax import hiding, load_generator
    from raeg_jax.files import read_file
    from raeg_jax.image_file import read, write
    from raeg_jax.payload.errors import PayloadError
    from raeg_jax.payload.key import generate_key
    from raeg_jax.protection import passes, protect, recover

    paths = [path for path in sorted(pathlib.Path(_SOURCE.value).rglob("*")) if path.is_file()]
    paths = paths[: _IMAGES.value]
    generator, key = load_generator(_GENERATOR.value), generate_key()
    protector = protect.Protector(generator, key, batch_size=_BATCH.value)
    recoverer = recover.Recoverer(generator, key, batch_size=_BATCH.value)
    stages = {
        "network, forward": [(passes, "forward")],
        "network, back": [(passes, "inverse")],
        "hiding and AES": [
            *((hiding, "embed"), (protect, "seal")),
            *((recover, "extract_payload"), (recover, "open_sealed")),
        ],
        "SHA-256 of pixels": [(protect, "digest"), (recover, "check_pixels")],
        "PNG, encoding": [(write, "_write_png")],
        "PNG, reading it again": [(write, "_check")],
    }
    for counts in (False, True):
        watches = Stopwatches()
        with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
            one_at_a_time = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
            for module in (protect, recover):
                stack.enter_context(mock.patch.object(module, "HIDING", one_at_a_time))
            for name, functions in stages.items():
                for module, function in functions:
                    timed = watches.timed(name, getattr(module, function))
                    stack.enter_context(mock.patch.object(module, function, timed))
            for way in ("protect", "recover"):
                watches.seconds.clear()
                with watches.running("all else"):
                    with watches.running("reading"):
                        names = (
                            sorted(pathlib.Path(folder).iterdir()) if way == "recover" else paths
                        )
                        images = [
                            read.decode_image_file(read_file(path), str(path)) for path in names
                        ]
                    pixels = [image.pixels for image in images]
                    if way == "protect":
                        for i, made in enumerate(protector.protect(pixels)):
                            chunk = None if made.in_pixels else made.blob
                            write.write_image_file(
                                pathlib.Path(folder) / f"{i:05}.png",
                                read.ImageFile(made.pixels),
                                payload_chunk=chunk,
                            )
                    else:
                        blobs = [image.payload_chunk for image in images]
                        for one in recoverer.recover(pixels, blobs):
                            if isinstance(one, PayloadError):
                                raise one
                            write.png_bytes(read.ImageFile(one.pixels))
                rows = {k: [1e3 * x / len(names) for x in v] for k, v in watches.seconds.items()}
                if counts:
                    report(way, rows)


def report(way: str, rows: dict[str, list[float]]) -> None:
    """Prints a table: a stage a line, milliseconds an image."""
    total = [sum(column) for column in zip(*rows.values(), strict=True)]
    print(f"| {way} | wall, ms an image | CPU, ms an image | share of CPU |\n|---|---|---|---|")
    for name, (wall, cpu) in {**rows, "together": total}.items():
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {cpu / total[1]:.0%} |", flush=True)


if __name__ == "__main__":
    command_line.run_without_config(main)
