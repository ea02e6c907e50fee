"""Studies of the learned stage's design: every variant trained alike, and one report of all.

    python train.py --config=configs/ablation.py:coupling,smoke
    python train.py --config=configs/ablation.py:coupling,mini_imagenet --config.data.source=DIR
    python train.py --config=configs/ablation.py:levels,caltech101,paper --config.data.source=DIR

The first name is one of `studies`. Behind it, in any order: a data set of `DATA`, without which it
is the embedded photographs; and `smoke` (seconds a run), `paper` (accelerators), or neither (two
cores). Variants differ from the configuration of the data set in what their entry says, and the
first one is what the others are compared with. A study of your own is a file of ten lines:

    from configs import ablation, mini_imagenet

    def get_config():
        config = mini_imagenet.get_config("cpu")
        return ablation.study(config, "clamps", {
            "glow": {"generator.coupling": "glow"},
            "tight": {"generator.coupling": "glow", "generator.clamp": 0.25},
        })
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import base, caltech101, celeba, mini_imagenet, smoke

DATA = {"caltech101": caltech101, "celeba": celeba, "mini_imagenet": mini_imagenet}
_SCALES = ("smoke", "paper")


def _named(setting: str, *values: str) -> dict[str, dict[str, Any]]:
    return {value: {setting: value} for value in values}


def _levels(generator: ConfigDict, count: int) -> dict[str, Any]:
    widths = list(generator.widths)
    while len(widths) < count:
        widths.append(widths[-1] * 4 // 3)
    return {
        "generator.blocks": count * generator.blocks[:1],
        "generator.widths": tuple(widths[:count]),
    }


_FLOAT = {"generator.coupling": "integer_float"}
_GLOW = {"generator.coupling": "glow"}


def studies(config: ConfigDict) -> dict[str, dict[str, dict[str, Any]]]:
    """The variants of each study by name, with the settings that they change.

    Args:
      config: from which variants differ.
    """
    generator, ruin = config.generator, config.loss.weight.token
    psnr = config.loss.target_psnr
    last = {"generator.stages": ("gradient",), "generator.gradient.target_psnr": psnr}
    return {
        "coupling": {
            **_named(
                "generator.coupling",
                *("integer", "integer_float", "additive", "affine"),
                *("irn", "gin", "gin_pixel", "glow"),
            ),
            "glow_atan": _GLOW | {"generator.clamping": "atan"},
            "glow_sigmoid": _GLOW | {"generator.clamping": "sigmoid"},
            "all_in_one": {"generator.coupling": "all_in_one", "generator.mixing": "rotation"},
        },
        "conditioner": {
            **_named("generator.conditioner", "unet", "dense", "residual", "plain"),
            # Attention needs floating point, so this is what it is compared with.
            "unet_float": _FLOAT | {"generator.conditioner": "unet"},
            "attention": _FLOAT | {"generator.conditioner": "attention"},
        },
        "mixing": {
            **_named("generator.mixing", "permutation", "none"),
            **{
                f"glow_{name}": _GLOW | {"generator.mixing": name}
                for name in ("permutation", "none", "conv1x1", "rotation", "actnorm")
            },
        },
        "depth": {
            **{f"depth_{depth}": {"generator.depth": depth} for depth in (2, 1, 3)},
            "blocks_twice": {"generator.blocks": tuple(2 * n for n in generator.blocks)},
            "widths_twice": {"generator.widths": tuple(2 * n for n in generator.widths)},
        },
        "levels": {
            **{f"levels_{count}": _levels(generator, count) for count in (3, 1, 2, 4)},
            "unshuffle_3": _levels(generator, 3) | {"generator.downsampling": "unshuffle"},
        },
        "token": {
            **{f"planes_{count}": {"generator.token_planes": count} for count in (2, 0, 1, 4)},
            # The adversary's weight on what a wrong token recovers (docs/key.md).
            **{
                f"ruin_{weight:g}": {"loss.weight.token": weight}
                for weight in (0.0, 0.25, 2.0)
                if weight != ruin
            },
        },
        "stages": {
            "learned": {},
            "gradient": last,
            **{
                f"gradient_{count}": last | {"generator.gradient.attack_steps": count}
                for count in (1, 2)
                if count != generator.gradient.attack_steps
            },
            # Each stage takes half of the squared distance.
            "learned_gradient": last
            | {"generator.stages": ("learned", "gradient"), "loss.target_psnr": psnr + 3.0},
        },
    }


def get_config(variant: str = "coupling") -> ConfigDict:
    """Returns the configuration of a study, such as 'coupling,mini_imagenet,paper'.

    Raises:
      ValueError: an unknown study, data set or scale.
    """
    name, *options = variant.split(",")
    data = [option for option in options if option in DATA]
    scales = [option for option in options if option in _SCALES]
    known = studies(base.get_config())
    if name not in known or len(data) > 1 or len(scales) > 1 or len(data + scales) < len(options):
        raise ValueError(
            f"write a study, one of {', '.join(known)}; and behind it, with commas between, a "
            f"data set ({', '.join(DATA)}) or none, and a scale ({', '.join(_SCALES)}) or none"
        )
    paper = scales == ["paper"]
    config = DATA[data[0]].get_config("" if paper else "cpu") if data else base.get_config()
    if paper:
        # VGG averages over a grid that has no fixed point.
        config.generator.gradient.arithmetic = "float"
    else:
        _shorten(config)
    if scales == ["smoke"]:
        small = smoke.get_config()
        # The data set stays.
        small.data.update(config.data.to_dict() | {"image_size": small.data.image_size})
        small.generator.update(blocks=(1,), widths=(8,), conditioner="plain")
        config = small
    config.ablation.seeds = (0,) if scales == ["smoke"] else (0, 1)
    variants = studies(config)[name]
    return study(config, "_".join(("ablation", name, *data, *scales)), variants)


def study(config: ConfigDict, name: str, variants: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Makes a study of a configuration.

    Args:
      config: what all variants share; changed in place.
      name: of the study; the default workdir is runs/<name>.
      variants: by name the settings that each changes, {'generator.depth': 3} for instance; the
        others are compared with the first.

    Returns:
      The configuration.
    """
    config.name = name
    config.ablation.variants = tuple(
        (variant, tuple(changes.items())) for variant, changes in variants.items()
    )
    return config


def _shorten(config: ConfigDict) -> None:
    """Trainings of minutes on two cores, all at 34 dB."""
    config.loss.target_psnr = config.generator.gradient.target_psnr = 34.0
    # What it teaches takes more steps than these, and it doubles the cost of each.
    config.loss.weight.token = 0.0
    config.classifiers.steps = 1000
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 30
    config.optimizer.ema_decay = 0.97
    config.train.batch_size = 8
    config.train.steps = 600
    config.train.log_every = 10
    config.train.eval_every = config.train.checkpoint_every = 300
    config.train.image_grids = False
    config.eval.max_images = 300
    config.eval.pgd_steps = 0
