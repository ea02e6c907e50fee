"""The files of a result: JSON, Markdown, one CSV row an image, the grid, the timings.

All but the timings are the same, byte for byte, for the same run on the same machine. Those of the
latest checkpoint have the plain names, those of another checkpoint its name in theirs:
`results-best.json`, `grid-300.png`. So neither replaces the other. Nor does the result of another
generator (of other stages, targets, or settings of the stages that aren't trained): the files that
were there are renamed to `results-learned.json`, `results-gradient-1f2e3d.json` (with a digest of
those settings), and so on.
"""

import contextlib
import csv
import hashlib
import io
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from raeg_jax.config import run_config
from raeg_jax.data.decode import encode_png
from raeg_jax.errors import UserError
from raeg_jax.evaluation import table
from raeg_jax.files import check_free_space, json_bytes, read_file, write_whole

RESULTS, TABLE, IMAGES, GRID, TIMINGS = (
    "results.json",
    "results.md",
    "images.csv",
    "grid.png",
    "timings.json",
)


def check_writable(workdir: pathlib.Path, checkpoint: str) -> None:
    """Checks, before hours of measuring, that results can be written.

    Args:
      workdir: made if it isn't there.
      checkpoint: 'latest', 'best' or a step.

    Raises:
      UserError: a folder has the name of one of the files.
      OSError: the workdir can't be written, or is full.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    check_free_space(workdir)
    for name in (RESULTS, TABLE, IMAGES, GRID, TIMINGS):
        if (path := workdir / file_name(name, checkpoint)).is_dir():
            raise UserError(f"{path} is a folder where a file of the results belongs: remove it")


def write(
    workdir: pathlib.Path,
    results: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    grid: np.ndarray,
    timings: Mapping[str, Any],
) -> str | None:
    """Writes every file of a result into the workdir; each is whole at any time.

    Args:
      workdir: made if it isn't there.
      results: what JSON can hold, no NaN and no infinity. `checkpoint` decides on the names.
      images: one row an image, all with the same keys.
      grid: uint8 [H, W, 3].
      timings: what JSON can hold.

    Returns:
      The new name of the `results.json` of another generator that was there, if one was.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    contents = {
        IMAGES: _csv(images),
        GRID: encode_png(grid),
        TIMINGS: json_bytes(timings),
        TABLE: _utf8(table.markdown(results)),
        # Last: who sees new results finds the other files new too.
        RESULTS: json_bytes(results),
    }
    renamed = _rename_others(workdir, results, contents)
    for name, content in contents.items():
        write_whole(workdir / file_name(name, results["checkpoint"]), content)
    return renamed


def _rename_others(
    workdir: pathlib.Path, results: Mapping[str, Any], files: Iterable[str]
) -> str | None:
    """Renames the files of another generator's result; returns the new name of RESULTS."""
    present = file_name(RESULTS, results["checkpoint"])
    try:
        other = _generator_name(json.loads((workdir / present).read_bytes()))
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError):  # not what we wrote
        return None
    if other == _generator_name(results):
        return None
    for name in (file_name(name, results["checkpoint"]) for name in files):
        with contextlib.suppress(FileNotFoundError):
            (workdir / name).rename(workdir / file_name(name, other))
    return file_name(present, other)


def _generator_name(results: Mapping[str, Any]) -> str:
    """A result's generator: its stages, and a digest of the settings of those not trained."""
    stages = results["generator"]["stages"]
    if tuple(stages) == ("learned",):
        return "learned"
    generator = results["settings"]["generator"]
    untrained = {name: generator[name] for name in ("gradient", "shortcut", "token_planes")}
    untrained["targets"] = results["settings"]["classifiers"]["targets"]
    text = json.dumps(untrained, sort_keys=True)
    return "-".join([*stages, hashlib.sha256(text.encode()).hexdigest()[:6]])


def find(workdir: pathlib.Path, config: ConfigDict, checkpoint: str) -> dict[str, Any] | None:
    """Reads the results of a generator, if a workdir has them.

    Args:
      workdir: of a run.
      config: whose generator is meant.
      checkpoint: 'latest', 'best' or a step.

    Returns:
      What `write` wrote, with results of the test split; None where there is no such file.
    """
    settings = run_config.to_json(config)
    checkpoint = str(int(checkpoint)) if checkpoint.isdecimal() else checkpoint
    wanted = _generator_name({"generator": settings["generator"], "settings": settings})
    for path in sorted(workdir.glob("results*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            results = json.loads(read_file(path))
            same = results["checkpoint"] == checkpoint and _generator_name(results) == wanted
            if same and results["splits"]["test"]["classifiers"]:
                return results
    return None


def file_name(name: str, checkpoint: str) -> str:
    """The name of a file of the result of 'latest', 'best' or a step, such as '300'."""
    stem, suffix = name.split(".")
    return name if checkpoint == "latest" else f"{stem}-{checkpoint}.{suffix}"


def image_rows(
    split: str,
    per_image: Mapping[str, np.ndarray],
    labels: np.ndarray,
    names: Sequence[str],
    class_names: Sequence[str],
    read_as: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """A row for each image of a split: quality, and the class that each classifier chose.

    Args:
      split: its name.
      per_image: arrays [N] by name, see `split.summarise`.
      labels: int [N], the true classes.
      names: of the N files.
      class_names: one a label.
      read_as: names of the classes that each classifier tells apart.
    """
    columns = {key: key.split("/")[1] for key in per_image if key.startswith("read/")}
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
            **_payload_columns(per_image, i),
            **{
                key.removeprefix("read/"): read_as[name][per_image[key][i]]
                for key, name in columns.items()
            },
        }
        for i in range(len(labels))
    ]


def _payload_columns(per_image: Mapping[str, np.ndarray], i: int) -> dict[str, Any]:
    if "payload/bytes" not in per_image:
        return {}
    return {
        "payload_in_pixels": int(per_image["payload/in_pixels"][i]),
        "payload_bytes": int(per_image["payload/bytes"][i]),
        "exact_from_pixels_alone": int(per_image["exact/pixels_alone"][i]),
        "psnr_from_pixels_alone": f"{per_image['psnr/pixels_alone'][i]:.3f}",
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return _utf8(buffer.getvalue())


def _utf8(text: str) -> bytes:
    """Names of folders in the command may hold bytes that are no text: they are escaped."""
    return text.encode("utf-8", "backslashreplace")
