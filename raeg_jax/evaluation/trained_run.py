"""What a training run leaves, as experiments look at it; and generators aimed at another PSNR."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.data.memory import arrays
from raeg_jax.evaluation import programs
from raeg_jax.evaluation.readers import Reader, published_readers
from raeg_jax.generator.build import build_generator, has_patterns, stages_without_budget
from raeg_jax.generator.chain import Chain
from raeg_jax.networks.classifiers import FrozenClassifier, LogitsFn
from raeg_jax.networks.weights import is_published
from raeg_jax.workdir import published


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedRun:
    """Generator, data set and classifiers.

    Attributes:
      config: the whole configuration.
      splits: the data set.
      params: of the learned stage, None without one.
      classifiers: (module, variables) of targets and held-out ones by name.
      readers: others that read the images too, by name.
      patterns: int8 [K, V, G, G, 3], the learned ones of a shortcut stage; None without.
    """

    config: ConfigDict
    splits: data.Splits
    params: Any
    classifiers: Mapping[str, tuple[nn.Module, Any]]
    readers: Mapping[str, Reader] = dataclasses.field(default_factory=dict)
    patterns: np.ndarray | None = None

    @functools.cached_property
    def chain(self) -> Chain:
        """The generator."""
        return programs.on_one_device(
            build_generator(self.config, self.params, self.classifiers, self.patterns)
        )

    @functools.cached_property
    def frozen(self) -> dict[str, FrozenClassifier]:
        """All classifiers by name, targets first."""
        return {
            name: programs.on_one_device(FrozenClassifier(*pair))
            for name, pair in self.classifiers.items()
        }

    @functools.cached_property
    def published(self) -> dict[str, Reader]:
        """Those of the classifiers that read as they were published, as readers of whole images."""
        names = filter(is_published, self.classifiers)
        networks = {name: published.describe(self.config, name) for name in names}
        return published_readers(self.classifiers, networks)

    @functools.cached_property
    def read_by(self) -> dict[str, LogitsFn | Reader]:
        """All that read images, by name: the classifiers, targets first, then the readers."""
        found: dict[str, LogitsFn | Reader] = {**self.frozen, **self.published, **self.readers}
        return {
            name: one.for_data_set(self.splits.class_names) if isinstance(one, Reader) else one
            for name, one in found.items()
        }

    @functools.cached_property
    def class_names(self) -> dict[str, Sequence[str]]:
        """Those that each of `read_by` tells apart."""
        return {
            name: one.class_names if isinstance(one, Reader) else self.splits.class_names
            for name, one in self.read_by.items()
        }

    def describe(self) -> dict[str, dict[str, Any]]:
        """Of each of `read_by` where its weights come from and what images it takes, for JSON."""
        own = {
            "classes": len(self.splits.class_names),
            "preprocessing": {"image_size": self.config.data.image_size},
        }
        source_of = {
            name: f"{published.describe(self.config, name).source}, with a head of the run"
            if is_published(name)
            else "trained by the run"
            for name, one in self.read_by.items()
            if not isinstance(one, Reader)
        }
        role_of = {name: role for role, names in self.roles.items() for name in names}
        return {
            name: {"role": role_of[name]}
            | (one.describe() if isinstance(one, Reader) else {"source": source_of[name]} | own)
            for name, one in self.read_by.items()
        }

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the attacked classifiers."""
        return tuple(self.config.classifiers.targets)

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """Names by role: 'target', 'held_out' and 'reader'."""
        held_out = tuple(name for name in self.classifiers if name not in self.targets)
        return {"target": self.targets, "held_out": held_out, "reader": tuple(self.readers)}

    @functools.cache  # noqa: B019
    def images(self, split: str, most: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of a split.

        Args:
          split: 'train' or 'test'.
          most: at most so many images, spread evenly over classes; 0 for all.

        Returns:
          uint8 [N, H, W, 3] and int32 [N].
        """
        return arrays(getattr(self.splits, split), self.config.data, most)[:2]

    def batch_size(self, labels: np.ndarray) -> int:
        """Images at a time, of as many as there are labels."""
        return min(self.config.eval.batch_size, len(labels))

    def with_config(self, config: ConfigDict) -> "TrainedRun":
        """The same data and weights with another generator."""
        params = self.params if "learned" in config.generator.stages else None
        patterns = self.patterns if has_patterns(config.generator) else None
        return dataclasses.replace(self, config=config, params=params, patterns=patterns)


def aim_at(config: ConfigDict, psnr: float) -> None:
    """Changes the PSNR of the last stage, if it isn't learned.

    Args:
      config: the whole configuration, changed in place. A shortcut stage before a gradient stage
        stays as many decibels above it.
      psnr: in decibels.
    """
    settings = config.generator
    if settings.stages[-1] == "learned":
        return
    difference = settings.shortcut.target_psnr - settings.gradient.target_psnr
    settings[settings.stages[-1]].target_psnr = psnr
    if tuple(settings.stages[-2:]) == ("shortcut", "gradient"):
        settings.shortcut.target_psnr = psnr + difference


def can_aim_at(config: ConfigDict, psnr: float) -> bool:
    """Whether at that PSNR, in decibels, each stage leaves some distance to the next one."""
    config = config.copy_and_resolve_references()
    aim_at(config, psnr)
    return not stages_without_budget(config)
