"""Where a run's numbers go: a JSON-lines file, and TensorBoard files beside it."""

import json
import math
import os
import pathlib
import time
from collections.abc import Mapping

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from raeg_jax.files import write_whole
from raeg_jax.training.parallel import is_main_process

FILE = "metrics.jsonl"
TENSORBOARD = "tensorboard"


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Reads a metrics file; a last line cut off by a kill is left out."""
    rows = []
    path = pathlib.Path(path)
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _number(value) -> float | str:
    """A float, or 'nan', 'inf', '-inf': JSON has no such numbers."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


class MetricLog:
    """Writes scalars and image grids; on all but the main process it does nothing.

    Scalars go to `workdir/metrics.jsonl`, one row a call: {"step": ..., name: value, ...}, and to
    TensorBoard, under `workdir/tensorboard`, with the images.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int = 0):
        """Opens the files.

        Args:
          workdir: folder of the run; made if missing.
          resume_step: the step that the run continues from. Rows of later steps, written before
            the run was killed, are dropped: their steps are about to be taken again.
        """
        self._writer = self._file = None
        if not is_main_process():
            return
        workdir = pathlib.Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / FILE
        kept = [row for row in read_rows(path) if row["step"] <= resume_step > 0]
        write_whole(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._last = {name: value for row in kept for name, value in row.items()}
        self._file = path.open("a")
        folder = workdir / TENSORBOARD
        folder.mkdir(exist_ok=True)
        # Not `SummaryWriter`, whose queue a kill loses.
        self._writer = EventsWriter(str(folder / "events"))
        if resume_step:
            self._write(Event(step=resume_step + 1, file_version="brain.Event:2"))
            start = SessionLog(status=SessionLog.START)  # drops events of this step and later ones
            self._write(Event(step=resume_step + 1, session_log=start))
        self._writer.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one row; it is on disk when this returns."""
        if self._file is None:
            return
        row = {"step": int(step)} | {name: _number(value) for name, value in values.items()}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._write(Event(step=int(step), summary=summary.scalar(name, float(value))))
        self._writer.flush()

    def changed(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a row of settings unless they are what the log says already."""
        if self._file is not None and any(
            self._last.get(name) != _number(value) for name, value in values.items()
        ):
            self.scalars(step, values)

    def images(self, step: int, name: str, grid: np.ndarray) -> None:
        """Shows one picture, uint8 [H, W, 3], in TensorBoard; it is on disk when this returns."""
        if self._writer is not None:
            self._write(Event(step=int(step), summary=summary.image(name, grid, dataformats="HWC")))
            self._writer.flush()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)

    def close(self) -> None:
        """Flushes and closes the files; called twice it does nothing."""
        if self._file is not None:
            self._file.close()
            self._writer.close()
            self._file = self._writer = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
