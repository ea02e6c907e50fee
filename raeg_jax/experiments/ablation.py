"""A study: variants of the generator that were trained alike, measured and put side by side.

It is about pixels: no payload is hidden, which would change the PSNR, so that couplings that don't
recover exactly can be compared, too. `training.study` trains the runs.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.config import run_config
from raeg_jax.data.memory import open_split
from raeg_jax.errors import UserError
from raeg_jax.evaluation.protectors import PixelProtector
from raeg_jax.evaluation.readers import Reader
from raeg_jax.evaluation.split import correct_of, divergence_of, evaluate_split
from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.experiments import ablation_report
from raeg_jax.experiments.runner import measure
from raeg_jax.experiments.store import Store, Unit
from raeg_jax.training import logs
from raeg_jax.workdir.checkpoint import FOLDER
from raeg_jax.workdir.classifiers import Classifiers, load_classifiers
from raeg_jax.workdir.origin import info_of
from raeg_jax.workdir.patterns import load_patterns, patterns_folder
from raeg_jax.workdir.run import restore
from raeg_jax.workdir.study import StudyRun, seed_folder, seeded, study_runs

# Groups of settings that say what a run learned, and how it is measured.
_GROUPS = (
    *("generator", "classifiers", "augment", "attack_layer", "loss", "discriminator"),
    *("patterns", "optimizer", "train", "eval", "seed"),
)
_CURVES = ("psnr", "attack_success", "loss/adversary", "loss/total")
_MOST_POINTS = 100


def report_study(
    config: ConfigDict, workdir: pathlib.Path, readers: Mapping[str, Reader] | None = None
) -> pathlib.Path:
    """Measures what a study has trained so far, and writes its report.

    Results lie in `workdir/ablation`, a file for each run; those that are there and come from the
    same checkpoint, data and settings are not measured again.

    Args:
      config: of the study.
      workdir: its folder, absolute.
      readers: others that read the images too, by name.

    Returns:
      The report, a page that needs no other file.

    Raises:
      UserError: nothing is trained yet, or a run's folder is that of another one.
    """
    runs = study_runs(config, workdir)
    if not any(run.folder.is_dir() for run in runs):
        raise UserError(
            f"--workdir={workdir}: nothing of the study is trained there; train.py with the same "
            "--config and --workdir trains it"
        )
    splits = data.load(config.data)
    described = {name: reader.describe() for name, reader in (readers or {}).items()}
    origin = {
        "config": config.name,
        "data": {"name": splits.name, "fingerprint": splits.fingerprint},
        "image_size": config.data.image_size,
        "versions": run_config.versions(),
        **({"readers": described} if described else {}),
    }
    context = _Study(config, workdir, splits, readers or {})
    store = Store(workdir / "ablation", origin)
    units = [
        Unit(
            f"seed_{run.seed}/{run.variant}",
            1.0,
            functools.partial(context.measure, run),
            _depends(run),
        )
        for run in runs
        if run.folder.is_dir()
    ]
    measure(units, store)
    results = [entry["result"] for unit in units if (entry := store.find(unit))]
    return ablation_report.write(config, workdir / "ablation", results, origin)


def _depends(run: StudyRun) -> dict[str, Any]:
    settings = run_config.to_json(run.config)
    settings["classifiers"].pop("weights")
    settings["train"] = {name: settings["train"][name] for name in ("batch_size", "steps")}
    # When each was written: what was trained anew, with changed code for instance, is another one.
    steps = {path.name: path.stat().st_mtime_ns for path in (run.folder / FOLDER).glob("[0-9]*")}
    patterns = info_of(patterns_folder(run.folder)).get("digest")
    learned = {"learned patterns": patterns} if patterns else {}
    return {group: settings[group] for group in _GROUPS} | {"steps": steps} | learned


@dataclasses.dataclass(frozen=True, eq=False)
class _Study:
    """What the runs of a study have in common: config, folder, data set, further readers."""

    config: ConfigDict
    workdir: pathlib.Path
    splits: data.Splits
    readers: Mapping[str, Reader]

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def classifiers(self, seed: int) -> Classifiers:
        """Those of a seed."""
        config = seeded(self.config, seed)
        return load_classifiers(config, self.splits, seed_folder(self.workdir, seed))

    def measure(self, run: StudyRun) -> dict[str, Any]:
        """Measures a run on unseen images.

        Returns:
          `variant`, `seed`; where the run can't be measured `failure`, a sentence, and nothing
          else. `step` of the checkpoint; `images`; `psnr` and `ssim` of protected images;
          `recovered_psnr` (decibels; None where all images come back equal), `exact_pixels` and
          `exact_images`, shares; `outside_range`, the share of samples; `classifiers`, as
          `summarise` has them; `correct`, for each classifier which protected images it
          classifies correctly, '1' or '0' each; `parameters`; `seconds_per_step` and `memory_mib`
          of training, None without; `images_per_s` to `protect` and to `recover`; `curves` of
          training, lists by name.
        """
        result: dict[str, Any] = {"variant": run.variant, "seed": run.seed}
        params, step = None, None
        if "learned" in run.config.generator.stages:
            try:
                trained_with, params, step = restore(run.config, run.folder)
            except UserError as error:
                return result | {"failure": str(error)}
            fixed, adjustable = run_config.classify_changes(
                run_config.to_json(trained_with), run.config
            )
            if changes := fixed | adjustable:
                what = run_config.describe(changes)
                return result | {"failure": f"trained with other settings: {what}"}
        classifiers = self.classifiers(run.seed)
        try:
            patterns = load_patterns(run.config, self.splits, run.folder)
        except UserError as error:
            return result | {"failure": str(error)}
        trained = TrainedRun(run.config, self.splits, params, classifiers, self.readers, patterns)
        readers = {n: one for n, one in trained.read_by.items() if isinstance(one, Reader)}
        images, labels, _ = open_split(
            self.splits.test, run.config.data, run.config.eval.max_images
        )
        targets = trained.targets
        summary = evaluate_split(
            PixelProtector(trained.chain, [trained.frozen[name] for name in targets]),
            trained.frozen,
            images,
            labels,
            min(run.config.eval.batch_size, len(labels)),
            targets=targets,
            held_out=tuple(run.config.classifiers.held_out),
            readers=readers,
            pgd_steps=run.config.eval.pgd_steps,
            seed=run.seed,
            description=f"measuring {run.variant}, seed {run.seed}",
        )
        if why := divergence_of(summary, run.config):
            return result | {"failure": why}
        right = correct_of(summary["per_image"], labels, list(trained.read_by), tuple(readers))
        protected, recovered = (summary["quality"][n] for n in ("protected", "recovered"))
        jax.clear_caches()
        return result | {
            "step": step,
            "images": summary["images"],
            "psnr": protected["psnr"],
            "ssim": protected["ssim"],
            "recovered_psnr": recovered["psnr"],
            "exact_pixels": recovered["exact_pixels"],
            "exact_images": recovered["exact_images"],
            "outside_range": summary["outside_range"],
            "classifiers": summary["classifiers"],
            "correct": {
                name: "".join("01"[int(one)] for one in right["protected", name])
                for name in trained.read_by
            },
            "parameters": sum(np.size(leaf) for leaf in jax.tree.leaves(params)),
            "images_per_s": summary["speeds"],
            **_training(run),
        }


def _training(run: StudyRun) -> dict[str, Any]:
    """What the log of a run says of its training."""
    rows = logs.read_rows(run.folder / logs.FILE)

    def last(name: str) -> float | None:
        return next((row[name] for row in reversed(rows) if row.get(name)), None)

    rate = last("images_per_second")
    points = [row for row in rows if "loss/total" in row]
    points = points[:: -(-len(points) // _MOST_POINTS) or 1]
    return {
        "seconds_per_step": run.config.train.batch_size / rate if rate else None,
        "memory_mib": last("memory_mib"),
        "curves": {name: [row.get(name) for row in points] for name in ("step", *_CURVES)},
    }
