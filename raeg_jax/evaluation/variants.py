"""The variants of gradient couplings that are compared with each other, by name."""

from typing import Any

from ml_collections import ConfigDict

# A multiple of every number of views below.
_STEPS = 8
_PLAIN = {
    # Views and smoothing need it.
    "arithmetic": "float",
    "loss": "untargeted",
    "views": ("identity",),
    "smoothing": 0.0,
    "attack_steps": _STEPS,
}
_SMOOTHING = {"smoothing": 0.7}
_VIEWS = {"views": ("identity", "gaussian_blur:1.0", "jpeg:50", "rescale:0.5")}

# What differs from `_PLAIN` in `config.generator.gradient`.
_CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothing 0.7": _SMOOTHING,
    "views": _VIEWS,
    "views + smoothing": _VIEWS | _SMOOTHING,
    "targeted": {"loss": "targeted"},
}


def variants(config: ConfigDict) -> dict[str, ConfigDict]:
    """Makes the configuration of each variant.

    Args:
      config: the whole configuration; the settings in which variants differ are not looked at.

    Returns:
      Whole configurations of one gradient stage. Where there are several targets, 'only <name>'
      attacks that one alone and counts the others as held out; 'all but <name>' all classifiers
      without that one, and 'all' the held-out classifiers too.
    """
    made = {name: _change(config, change) for name, change in _CHANGES.items()}
    targets = tuple(config.classifiers.targets)
    if len(targets) > 1:
        made |= {f"only {name}": _with(made["plain"], (name,)) for name in targets}
    if held_out := tuple(config.classifiers.held_out):
        names = (*targets, *held_out)
        for left_out in targets:
            others = tuple(name for name in names if name != left_out)
            made[f"all but {left_out}"] = _with(made["plain"], others)
        made["all"] = _with(made["plain"], names)
    return made


def _change(config: ConfigDict, change: dict[str, Any]) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    changed.generator.stages = ("gradient",)
    changed.generator.gradient.update(_PLAIN | change)
    return changed


def _with(config: ConfigDict, attacked: tuple[str, ...]) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    settings = changed.classifiers
    names = (*settings.targets, *settings.held_out)
    settings.targets = attacked
    settings.held_out = tuple(name for name in names if name not in attacked)
    return changed
