"""All that can be compared, by name."""

from raeg_jax.baselines.rae import RAE
from raeg_jax.baselines.rit import RIT
from raeg_jax.comparison.baseline import Baseline
from raeg_jax.comparison.contender import Contender
from raeg_jax.comparison.generator import Generator
from raeg_jax.comparison.irreversible import PGD, Noise
from raeg_jax.experiments.subject import Subject

# What reports call them.
METHODS = {"raeg": "RAEG", "rae": "RAE", "rit": "RIT", "pgd": "PGD", "noise": "noise"}
# They can be undone.
REVERSIBLE = ("raeg", "rae", "rit")
# Tokens or noise make one time differ from the next.
OF_CHANCE = ("raeg", "noise")


def contender(
    method: str,
    subject: Subject,
    psnr: float,
    seed: int,
    batch_size: int,
    aim: float | None = None,
) -> Contender:
    """Makes a contender.

    Args:
      method: of `METHODS`.
      subject: with generator and target classifiers.
      psnr: of the files, in decibels.
      seed: of keys, nonces and noise.
      batch_size: images at a time.
      aim: of `Generator`, where it was found before.

    Raises:
      UserError: a setting that can't be meant.
    """
    settings = subject.config.comparison
    targets = [subject.frozen[name] for name in subject.targets]
    if method == "raeg":
        return Generator(subject, psnr, seed, batch_size, aim)
    if method == "noise":
        return Noise(psnr, seed)
    if method == "pgd":
        return PGD(targets, psnr, settings.steps, batch_size)
    kind = {"rae": RAE, "rit": RIT}[method]
    own = settings[method].to_dict()
    return Baseline(
        kind(**own | {"sides": tuple(own["sides"])}), targets, psnr, seed,
        attack=settings.attack, steps=settings.steps, batch_size=batch_size,
    )  # fmt: skip
