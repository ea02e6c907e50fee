"""The log of a run's numbers: a JSON-lines file, and TensorBoard files beside it."""

import json
import math
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from raeg_jax.files import write_whole
from raeg_jax.workdir.processes import is_main_process

FILE = "metrics.jsonl"
TENSORBOARD = "tensorboard"


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Reads a metrics file without a last line that a kill cut off."""
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
    """Writes scalars and image grids; does nothing except on the main process.

    Scalars go to `workdir/metrics.jsonl`, a row for each call: {"step": ..., name: value, ...}.
    Scalars and images go to TensorBoard files in `workdir/tensorboard`.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int = 0):
        """Opens the files.

        Args:
          workdir: folder of the run; made if missing.
          resume_step: the step after which the run resumes. Rows of later steps, written before
            the run was killed, are dropped: those steps are about to be taken again.
        """
        self._rows: TextIO | None = None
        self._last: dict[str, Any] = {}
        if not is_main_process():
            return
        workdir = pathlib.Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / FILE
        old_rows = [row for row in read_rows(path) if row["step"] <= resume_step > 0]
        write_whole(path, "".join(json.dumps(row) + "\n" for row in old_rows).encode())
        self._last = {name: value for row in old_rows for name, value in row.items()}
        self._rows = path.open("a")
        folder = workdir / TENSORBOARD
        folder.mkdir(exist_ok=True)
        # Not `SummaryWriter`, whose queue a kill loses.
        self._events = EventsWriter(str(folder / "events"))
        if resume_step:
            # TensorBoard drops earlier events of this step and later ones.
            start = SessionLog(status=SessionLog.START)
            self._write(
                Event(step=resume_step + 1, file_version="brain.Event:2"),
                Event(step=resume_step + 1, session_log=start),
            )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a row; it is on disk when this returns."""
        if self._rows is None:
            return
        row = {"step": int(step)} | {name: _number(value) for name, value in values.items()}
        self._rows.write(json.dumps(row) + "\n")
        self._rows.flush()
        summaries = [summary.scalar(name, float(value)) for name, value in values.items()]
        self._write(*(Event(step=int(step), summary=content) for content in summaries))

    def changed(self, step: int, values: Mapping[str, float]) -> None:
        """Appends a row of settings unless the log has the same values already."""
        if any(self._last.get(name) != _number(value) for name, value in values.items()):
            self.scalars(step, values)

    def images(self, step: int, name: str, grid: np.ndarray) -> None:
        """Shows a picture, uint8 [H, W, 3], in TensorBoard; it is on disk when this returns."""
        if self._rows is not None:
            self._write(Event(step=int(step), summary=summary.image(name, grid, dataformats="HWC")))

    def _write(self, *events: Event) -> None:
        for event in events:
            event.wall_time = time.time()
            self._events.write_event(event)
        self._events.flush()

    def close(self) -> None:
        """Closes the files; called twice it does nothing."""
        if self._rows is not None:
            self._rows.close()
            self._events.close()
            self._rows = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
