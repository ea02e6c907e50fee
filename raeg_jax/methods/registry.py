"""All methods by name; a new one is a subclass of `Method` and an entry here."""

from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.methods.irreversible import PGD, Noise
from raeg_jax.methods.method import Method
from raeg_jax.methods.raeg import RAEG
from raeg_jax.methods.transform_method import RAEMethod, RITMethod

METHODS: dict[str, type[Method]] = {
    "raeg": RAEG,
    "rae": RAEMethod,
    "rit": RITMethod,
    "pgd": PGD,
    "noise": Noise,
}
TITLES = {name: method.title for name, method in METHODS.items()}
REVERSIBLE = tuple(name for name, method in METHODS.items() if method.reversible)
RANDOMISED = tuple(name for name, method in METHODS.items() if method.randomised)


def make_method(
    name: str,
    run: TrainedRun,
    psnr: float,
    seed: int,
    batch_size: int,
    aim: float | None = None,
) -> Method:
    """Makes the method of a name in `METHODS`; other arguments and errors as of `Method`.

    The aim is by default the PSNR; `Method.prepare` may find a better one.
    """
    return METHODS[name](run, psnr, seed, batch_size, psnr if aim is None else aim)
