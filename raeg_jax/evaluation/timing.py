"""How fast images are protected and recovered, or anything else is done with a batch."""

import math
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from raeg_jax.evaluation import compiled, tokens
from raeg_jax.generator.chain import Chain


class Stopwatch:
    """Seconds that something takes, but for what JAX compiles for it.

    Use it as a context manager, as often as there are parts, one after the other.

    Attributes:
      seconds: so far.
    """

    def __init__(self):
        self.seconds, self._thread = 0.0, None

    def __enter__(self):
        if self._thread is not None:
            raise RuntimeError("the stopwatch is running already")
        self._thread = threading.get_ident()
        jax.monitoring.register_event_duration_secs_listener(self._compiled)
        self.seconds -= time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds += time.perf_counter()
        jax.monitoring.unregister_event_duration_listener(self._compiled)
        self._thread = None

    def _compiled(self, event: str, seconds: float, **_) -> None:
        # What other threads compile takes none of this one's time.
        if event.startswith("/jax/core/compile/") and threading.get_ident() == self._thread:
            self.seconds -= seconds


def throughput(
    generator: Chain,
    images: np.ndarray,
    labels: np.ndarray,
    repeats: int = 5,
    seconds: float = 3.0,
) -> dict[str, Any]:
    """Times the compiled generator both ways, without reading or writing files.

    Args:
      generator: its stages.
      images: uint8 [B, H, W, 3], one batch, copied to the device each time.
      labels: int32 [B].
      repeats: at most so many timed calls each way, of which the median counts.
      seconds: stop repeating after so long.

    Returns:
      `protect_images_per_s`, `recover_images_per_s`, and what they were measured on.
    """
    token = tokens.draw(generator, np.arange(len(images)), *images.shape[1:3])
    protected, _, code = compiled.protect(generator, images, labels, token)
    protected = np.asarray(protected)
    ways = {
        "protect": lambda: compiled.protect(generator, images, labels, token),
        "recover": lambda: compiled.recover(generator, protected, code, token),
    }
    return speeds(ways, images, repeats, seconds)


def speeds(
    calls: Mapping[str, Callable[[], Any]],
    images: np.ndarray,
    repeats: int = 5,
    seconds: float = 3.0,
) -> dict[str, Any]:
    """Times calls that each do something with the same batch.

    Args:
      calls: by name; each returns arrays.
      images: [B, H, W, 3], the batch.
      repeats: as `median_time`.
      seconds: as `median_time`.

    Returns:
      `<name>_images_per_s` of each call, and what they were measured on.
    """
    found = {
        name: len(images) / median_time(call, repeats, seconds) for name, call in calls.items()
    }
    return described(found, images)


def described(found: Mapping[str, float], images: np.ndarray) -> dict[str, Any]:
    """Speeds, and what they were measured on.

    Args:
      found: images a second, by name.
      images: [B, H, W, 3], a batch.

    Returns:
      `<name>_images_per_s` of each; the size of a batch and of its images, and the device.
    """
    device = jax.devices()[0]
    return {f"{name}_images_per_s": speed for name, speed in found.items()} | {
        "batch_size": len(images),
        "image_size": list(images.shape[1:3]),
        "device": f"{device.platform} ({device.device_kind})",
    }


def median_time(call: Callable[[], Any], repeats: int, seconds: float = math.inf) -> float:
    """How long a call takes until its arrays are there, after one call that compiles.

    Args:
      call: returns arrays.
      repeats: at most so many timed calls.
      seconds: stop repeating after so long.

    Returns:
      The median, in seconds.
    """
    jax.block_until_ready(call())  # compiles
    times: list[float] = []
    while len(times) < max(repeats, 1) and (not times or sum(times) < seconds):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)
