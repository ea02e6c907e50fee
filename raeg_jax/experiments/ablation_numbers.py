"""What the runs of a study amount to: numbers of a variant, and what sets it apart from another."""

import pathlib
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from raeg_jax.evaluation.scores import ORIGINAL, mean_score
from raeg_jax.experiments.tables import Result
from raeg_jax.generator.build import target_psnrs
from raeg_jax.workdir.study import StudyRun, study_runs

TARGETS, HELD_OUT = "targets", "held out"
# Of a normal distribution: 95 % lie within so many standard errors.
_QUANTILE = 1.959963984540054


class Spread(NamedTuple):
    """A number of a variant.

    Attributes:
      mean: over seeds.
      least: of the seeds.
      most: of the seeds.
      seeds: the number by seed.
    """

    mean: float
    least: float
    most: float
    seeds: dict[int, float]


class Variant(NamedTuple):
    """A variant of a study, and what was measured of it.

    Attributes:
      name: of the variant.
      changes: the settings that it changes, (setting, value) each.
      runs: by seed; all that the study has.
      results: by seed, of the runs that could be measured.
      failures: by seed, why others couldn't.
      target_psnr: of the last stage, in decibels.
      numbers: by name; None where no seed has the number.
    """

    name: str
    changes: tuple[tuple[str, Any], ...]
    runs: dict[int, StudyRun]
    results: dict[int, Result]
    failures: dict[int, str]
    target_psnr: float
    numbers: dict[str, Spread | None]

    @property
    def unfinished(self) -> dict[int, int]:
        """Steps of the training by seed, of those that were measured before they had taken all."""
        steps = {seed: self.runs[seed].config.train.steps for seed in self.results}
        return {
            seed: steps[seed]
            for seed, result in self.results.items()
            if result["step"] is not None and result["step"] < steps[seed]
        }


class Difference(NamedTuple):
    """How much more of the images one variant's classifiers read correctly than another's.

    Attributes:
      mean: over images, classifiers and seeds.
      low: end of the 95 % interval of that mean over images, whatever the seeds.
      high: the other end.
      seeds: the difference by seed.
      clear: whether the interval excludes 0, and two or more seeds are all on the same side of it.
    """

    mean: float
    low: float
    high: float
    seeds: dict[int, float]
    clear: bool


def variants_of(
    config: ConfigDict,
    workdir: pathlib.Path,
    results: Sequence[Result],
    groups: Mapping[str, Collection[str]],
) -> list[Variant]:
    """All variants of a study, in its order.

    Args:
      config: of the study.
      workdir: its folder.
      results: of runs, as `ablation.report_study` measures them.
      groups: as `groups_of` has them.
    """
    runs: dict[str, dict[int, StudyRun]] = {}
    for run in study_runs(config, workdir):
        runs.setdefault(run.variant, {})[run.seed] = run
    variants = []
    for name, changes in config.ablation.variants:
        own = {result["seed"]: result for result in results if result["variant"] == name}
        failures = {seed: one["failure"] for seed, one in own.items() if "failure" in one}
        found = {seed: one for seed, one in own.items() if seed not in failures}
        # Seeds change no target.
        target = list(target_psnrs(next(iter(runs[name].values())).config).values())[-1]
        numbers = {seed: numbers_of(one, groups, target) for seed, one in found.items()}
        keys = dict.fromkeys(key for by_key in numbers.values() for key in by_key)
        spreads = {
            key: spread_of({s: by_key[key] for s, by_key in numbers.items()}) for key in keys
        }
        variants.append(Variant(name, changes, runs[name], found, failures, target, spreads))
    return variants


def groups_of(results: Iterable[Result]) -> dict[str, list[str]]:
    """Names of the classifiers that are averaged, by what the average is called.

    Args:
      results: of runs, as `ablation.report_study` measures them.

    Returns:
      The `TARGETS`, the `HELD_OUT` networks of the data set's classes, and each other reader by
      its own name.
    """
    groups: dict[str, list[str]] = {TARGETS: [], HELD_OUT: []}
    for result in results:
        for name, one in result.get("classifiers", {}).items():
            role = {"target": TARGETS, "held_out": HELD_OUT, "reader": name}[one["role"]]
            if role == HELD_OUT and one["reference"] == "original":
                role = name
            members = groups.setdefault(role, [])
            if name not in members:
                members.append(name)
    return {group: names for group, names in groups.items() if names}


def numbers_of(
    result: Result, groups: Mapping[str, Collection[str]], target_psnr: float
) -> dict[str, float | None]:
    """The numbers of a run that tables have; None where there is no such number.

    Args:
      result: of a run that could be measured.
      groups: as `groups_of` has them.
      target_psnr: of the run's last stage, in decibels.
    """
    classifiers, psnr = result["classifiers"], result["psnr"]
    scores = {
        f"{score}/{group}": mean_score(classifiers, score, "protected", names)
        for score in ("accuracy", "attack_success")
        for group, names in groups.items()
    }
    direct = ("psnr", "ssim", "exact_pixels", "exact_images", "recovered_psnr", "outside_range")
    cost = ("parameters", "seconds_per_step", "memory_mib")
    return {
        **scores,
        **{name: result[name] for name in (*direct, *cost)},
        "above_target": None if psnr is None else psnr - target_psnr,
        "accuracy/wrong_token": mean_score(
            classifiers, "accuracy", "wrong_token", groups.get(TARGETS, ())
        ),
        **{f"images_per_s/{way}": rate for way, rate in result["images_per_s"].items()},
    }


def spread_of(numbers: Mapping[int, float | None]) -> Spread | None:
    """Summarises a number over seeds; None where no seed has it."""
    seeds = {seed: value for seed, value in numbers.items() if value is not None}
    if not seeds:
        return None
    values = seeds.values()
    return Spread(statistics.fmean(values), min(values), max(values), seeds)


def originals_of(
    variants: Iterable[Variant], groups: Mapping[str, Collection[str]]
) -> dict[str, Spread | None]:
    """Accuracy on images that nobody protected, by group: that of the classifiers of each seed."""
    by_seed = {seed: result for one in variants for seed, result in one.results.items()}
    return {
        group: spread_of(
            {
                seed: mean_score(result["classifiers"], "accuracy", ORIGINAL, names)
                for seed, result in sorted(by_seed.items())
            }
        )
        for group, names in groups.items()
    }


def difference(
    ones: Mapping[int, Result], others: Mapping[int, Result], names: Collection[str]
) -> Difference | None:
    """Compares which images are classified correctly, image by image.

    Args:
      ones: results of a variant by seed.
      others: of the variant that it is compared with; seeds that only one of the two has don't
        count.
      names: of the classifiers to average over.

    Returns:
      The first minus the second; None without a seed that both have.
    """
    shared = [seed for seed in ones if seed in others]
    if not shared:
        return None
    # [seeds, images]: -1 to 1, the mean over classifiers.
    changes = np.array([_correct(ones[s], names) - _correct(others[s], names) for s in shared])
    by_image = changes.mean(axis=0)
    mean, count = float(by_image.mean()), len(by_image)
    # One image says nothing of others.
    error = float(by_image.std(ddof=1)) / count**0.5 if count > 1 else 1.0
    low, high = mean - _QUANTILE * error, mean + _QUANTILE * error
    seeds = {seed: float(each.mean()) for seed, each in zip(shared, changes, strict=True)}
    same_side = min(seeds.values()) > 0 or max(seeds.values()) < 0
    clear = len(seeds) > 1 and same_side and (low > 0 or high < 0)
    return Difference(mean, low, high, seeds, clear)


def psnr_difference(one: Variant, other: Variant) -> Spread | None:
    """The PSNR of the first minus that of the second; None without a seed that both have."""
    ones, others = (each.numbers.get("psnr") for each in (one, other))
    if ones is None or others is None:
        return None
    return spread_of(
        {
            seed: psnr - others.seeds[seed]
            for seed, psnr in ones.seeds.items()
            if seed in others.seeds
        }
    )


def _correct(result: Result, names: Collection[str]) -> np.ndarray:
    """For each image the share of the classifiers that read it correctly, [N]."""
    bits = [np.frombuffer(result["correct"][name].encode(), np.uint8) for name in names]
    return (np.array(bits) == ord("1")).mean(axis=0)
