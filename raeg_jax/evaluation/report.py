"""The files of a result: JSON, Markdown, one CSV row an image, the grid, the timings.

All but the timings are the same, byte for byte, for the same run on the same machine.
"""

import csv
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raeg_jax.evaluation import table
from raeg_jax.evaluation.files import encode_png

RESULTS, TABLE, IMAGES, GRID, TIMINGS = (
    "results.json",
    "results.md",
    "images.csv",
    "grid.png",
    "timings.json",
)


def write(
    workdir: pathlib.Path,
    results: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    grid: np.ndarray,
    timings: Mapping[str, Any],
) -> None:
    """Writes every file of a result into the workdir; each is whole at any time.

    Args:
      workdir: made if it isn't there.
      results: what JSON can hold, no NaN and no infinity.
      images: one row an image, all with the same keys.
      grid: uint8 [H, W, 3].
      timings: what JSON can hold.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    _replace(workdir / IMAGES, _csv(images))
    _replace(workdir / GRID, encode_png(grid))
    _replace(workdir / TIMINGS, _json(timings))
    _replace(workdir / TABLE, table.markdown(results).encode())
    # Last: who sees new results finds the other files new too.
    _replace(workdir / RESULTS, _json(results))


def image_rows(
    split: str,
    per_image: Mapping[str, np.ndarray],
    labels: np.ndarray,
    names: Sequence[str],
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """What happened to each image of a split: quality, and the class that each classifier read."""
    reads = [key for key in per_image if key.startswith("read/")]
    return [
        {
            "split": split,
            "file": names[i],
            "class": class_names[labels[i]],
            "psnr_protected": f"{per_image['psnr/protected'][i]:.3f}",
            "ssim_protected": f"{per_image['ssim/protected'][i]:.5f}",
            "psnr_recovered": f"{per_image['psnr/recovered'][i]:.3f}",
            "outside_range": f"{per_image['outside'][i]:.6f}",
            "exact": int(per_image["exact/recovered"][i]),
            **{key.removeprefix("read/"): class_names[per_image[key][i]] for key in reads},
        }
        for i in range(len(labels))
    ]


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _replace(path: pathlib.Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
