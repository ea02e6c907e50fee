"""Which runs a study has, and where they lie: every variant with every seed.

workdir/seed_0/classifiers    trained once a seed, the same for all variants
workdir/seed_0/<variant>      an ordinary run, whose `classifiers` are those above
workdir/ablation              results and report
"""

import difflib
import os
import pathlib
import re
import shutil
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.workdir import checkpoint
from raeg_jax.workdir.origin import FOLDER
from raeg_jax.workdir.processes import is_main_process, wait_for_all

# Variants are compared on the same images and against the same classifiers.
_SHARED = (
    *("name", "seed", "data", "augment", "classifiers", "eval", "suite", "comparison"),
    *("ablation", "parallel", "multi_host"),
)
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


class StudyRun(NamedTuple):
    """One training of a study.

    Attributes:
      variant: its name.
      seed: of this run and of its classifiers.
      config: the whole configuration, that of an ordinary run.
      folder: the run's workdir.
    """

    variant: str
    seed: int
    config: ConfigDict
    folder: pathlib.Path


def is_study(config: ConfigDict) -> bool:
    """Whether a configuration is that of a study, and not of one run."""
    return bool(config.ablation.variants)


def seed_folder(workdir: pathlib.Path, seed: int) -> pathlib.Path:
    """The folder of all runs with a seed, and of their classifiers."""
    return workdir / f"seed_{seed}"


def seeded(config: ConfigDict, seed: int) -> ConfigDict:
    """The configuration of a run that has the study's settings and no variant's."""
    changed = config.copy_and_resolve_references()
    changed.seed = seed
    changed.ablation.update(variants=(), seeds=())
    return changed


def study_runs(config: ConfigDict, workdir: pathlib.Path) -> list[StudyRun]:
    """All runs of a study, seed after seed.

    Args:
      config: with `ablation.variants`, (name, ((setting, value), ...)) each, and `ablation.seeds`.
      workdir: folder of the study.

    Raises:
      UserError: a name or a setting that is impossible in a study.
    """
    variants, seeds = config.ablation.variants, tuple(config.ablation.seeds)
    names = [_name_of(variant) for variant in variants]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"config.ablation.variants: {repeated[0]!r} stands twice")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"config.ablation.seeds={seeds} needs one seed or more, each once")
    if config.seed:
        raise UserError(
            f"config.seed={config.seed}: runs of a study have those of config.ablation.seeds; "
            f"write config.ablation.seeds=({config.seed},)"
        )
    return [
        StudyRun(name, seed, _changed(seeded(config, seed), name, changes), folder / name)
        for seed in seeds
        for folder in [seed_folder(workdir, seed)]
        for name, (_, changes) in zip(names, variants, strict=True)
    ]


def _is_named(pair: Any) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)


def _name_of(variant: Any) -> str:
    is_pair = _is_named(variant) and isinstance(variant[1], tuple)
    if not is_pair or not all(map(_is_named, variant[1])):
        raise UserError(
            f"config.ablation.variants has {variant!r}: each is (name, ((setting, value), ...)), "
            "as `configs.ablation.study` makes it"
        )
    taken = (FOLDER, checkpoint.FOLDER, run_config.FILE)
    if not _NAME.fullmatch(variant[0]) or variant[0] in taken:
        raise UserError(
            f"config.ablation.variants: {variant[0]!r} names a folder: write letters, digits and "
            f"any of . _ + -, but none of {', '.join(taken)}"
        )
    return variant[0]


def _changed(config: ConfigDict, variant: str, changes: tuple) -> ConfigDict:
    known = run_config.flatten(config.to_dict())
    for setting, value in changes:
        if setting.split(".")[0] in _SHARED:
            raise UserError(
                f"variant {variant!r} changes {setting}, which all variants of a study share: "
                "change config." + setting + ", or make another study"
            )
        if setting not in known:
            near = difflib.get_close_matches(setting, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"variant {variant!r}: there is no setting {setting!r}{hint}")
        try:
            config.update_from_flattened_dict({setting: value})
        except (TypeError, ValueError) as error:
            raise UserError(
                f"variant {variant!r}: {setting}={value!r} is of another type than "
                f"{known[setting]!r}"
            ) from error
    return config


def share_classifiers(run: StudyRun) -> None:
    """Makes the classifiers of a seed those of one of its runs: a link, or else a copy."""
    there = run.folder / FOLDER
    if is_main_process() and not there.exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        try:
            os.symlink(pathlib.Path("..") / FOLDER, there, target_is_directory=True)
        except OSError:
            # Windows, and file systems without links.
            partial = run.folder / f"{FOLDER}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(run.folder.parent / FOLDER, partial)
            partial.rename(there)
    wait_for_all("classifiers")
