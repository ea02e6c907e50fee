"""A Ray cluster: that of an address, or one of this machine alone that ends with the command."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from raeg_jax.errors import UserError

if TYPE_CHECKING:
    import types

# Images travel by files, not through Ray's store of objects; its least is 75 MiB.
_OBJECT_STORE_BYTES = 100 * 2**20
# A worker computes with several threads.
_CORES_A_WORKER = 2


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster to which this process is connected.

    Attributes:
      ray: the library.
      workers: number of actors.
      resources: that each of them takes.
      on_interrupt: called where Ray was interrupted; raises what Ray made a Ctrl-C of.
    """

    ray: types.ModuleType
    workers: int
    resources: dict[str, Any]
    on_interrupt: Callable[[], None]

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Lets Ray wait while the block runs; SIGTERM stays what it is."""
        try:
            yield
        except KeyboardInterrupt:
            self.on_interrupt()
            raise


@contextlib.contextmanager
def connect(address: str | None, workers: int | None) -> Iterator[Cluster]:
    """Connects to a cluster while the block runs.

    Args:
      address: of a cluster, `HOST:PORT`, or `auto` for that of this machine; None for a new one,
        which listens on loopback only, has no dashboard and sends no statistics.
      workers: number of actors; None for one for each GPU of the cluster, or for every two cores
        where it has none.

    Raises:
      UserError: Ray isn't installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        # Despite its name this counts on Linux, too: all listen on 127.0.0.1.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # The workers are all that this machine is asked for; Ray would be nice to other programs.
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"--engine=ray needs Ray ({error}): pip install 'raeg-jax[ray]', or leave it out"
        ) from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {
            "address": "local",
            "include_dashboard": False,
            "num_cpus": max(os.cpu_count() or 1, workers or 1),
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    else:
        options["address"] = address
    signals = _Signals()
    try:
        ray.init(**options)
    except Exception as error:
        # Ray raises errors of many kinds where nothing answers.
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"there is no Ray cluster at {address} ({first}): start one with `ray start --head`"
            if address
            else f"Ray can't be started on this machine ({first}): leave --engine=ray out"
        ) from error
    # Ray's would end this process at once.
    signals.install()
    # The driver computes nothing, so GPUs are the workers', which have their environment by now.
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        yield _cluster(ray, workers, signals)
    finally:
        signals.restore()
        ray.shutdown()


class _Signals:
    """SIGTERM as it was handled before, and whether it came: for Ray any signal is Ctrl-C."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)
        self._came = False

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self._handle)

    def restore(self) -> None:
        signal.signal(signal.SIGTERM, self._handler)

    def again(self) -> None:
        """Handles SIGTERM, if it came."""
        if self._came:
            self._handle(signal.SIGTERM, None)

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        self._came = True
        if callable(self._handler):
            self._handler(number, frame)
        elif self._handler == signal.SIG_DFL:
            raise SystemExit(128 + number)


def _cluster(ray: Any, workers: int | None, signals: _Signals) -> Cluster:
    resources = ray.cluster_resources()
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    count = workers or gpus or max(1, cores // _CORES_A_WORKER)
    return Cluster(ray, count, {"num_gpus": 1} if gpus else {"num_cpus": 1}, signals.again)
