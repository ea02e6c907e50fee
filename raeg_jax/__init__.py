"""Reversible adversarial example generation (RAEG) for image data sets, in JAX and Flax.

`raeg_jax.protect`, `raeg_jax.save` and `raeg_jax.recover` work on arrays, see `raeg_jax.arrays`.
"""

import importlib

__version__ = "0.1.0"

# Public names, and where they are: module and name there.
_PUBLIC = {
    "protect": ("arrays", "protect"),
    "save": ("arrays", "save"),
    "recover": ("arrays", "recover"),
    "default_generator": ("protection.loaded_generator", "default_generator"),
    "load_generator": ("protection.loaded_generator", "load_generator"),
    "generate_key": ("payload.key", "generate_key"),
    "read_key": ("payload.key", "read_key"),
}


def __getattr__(name: str):
    # Training and the tool's help should not wait for what they don't use.
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return ["__version__", *_PUBLIC]
