"""Three images that RAE and RIT protected."""

import functools

from raeg_jax.methods.protector import TransformProtector
from raeg_jax.methods.rae import RAE
from raeg_jax.methods.rit import RIT
from tests.methods.toys import Linear, picture
from tests.payload.payloads import KEY

HEIGHT, WIDTH = 40, 33
TRANSFORMS = {"rae": RAE((4, 8)), "rit": RIT()}
LABELS = [0, 1, 3]


@functools.cache
def net():
    return Linear(HEIGHT, WIDTH)


def pictures(kind="natural"):
    return [picture(kind, HEIGHT, WIDTH, seed) for seed in range(3)]


def protect(method, images=None, labels=LABELS, **settings):
    """Protects with a transform, or one of `TRANSFORMS` by name."""
    settings = {"psnr": 30, "steps": 3, "batch_size": 3} | settings
    protector = TransformProtector(TRANSFORMS.get(method, method), [net()], KEY, **settings)
    return protector.protect(pictures() if images is None else images, labels)


@functools.cache
def protected(method):
    return protect(method)
