"""Reversible adversarial example generation (RAEG) for image data sets, in JAX and Flax.

generator = raeg_jax.default_generator()        # or load_generator("photos.raeg"),
                                                # or generator_against(["net.safetensors"])
key = raeg_jax.generate_key()                   # or read_key("owner.key")
(protected,) = raeg_jax.protect([image], generator, key)
raeg_jax.save(protected, "protected.png")
(recovered,) = raeg_jax.recover(["protected.png"], generator, key)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raeg_jax.api import protect, recover, save
    from raeg_jax.payload.key import generate_key, read_key
    from raeg_jax.protection.against import generator_against
    from raeg_jax.protection.loaded_generator import default_generator, load_generator

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "default_generator",
    "generate_key",
    "generator_against",
    "load_generator",
    "protect",
    "read_key",
    "recover",
    "save",
]

# Imported when they are used, so that the command's help doesn't wait for JAX.
_LAZY = {
    "default_generator": "raeg_jax.protection.loaded_generator.default_generator",
    "generate_key": "raeg_jax.payload.key.generate_key",
    "generator_against": "raeg_jax.protection.against.generator_against",
    "load_generator": "raeg_jax.protection.loaded_generator.load_generator",
    "protect": "raeg_jax.api.protect",
    "read_key": "raeg_jax.payload.key.read_key",
    "recover": "raeg_jax.api.recover",
    "save": "raeg_jax.api.save",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _LAZY[name].rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
