"""Reversible adversarial example generation (RAEG) for image data sets, in JAX and Flax.

`raeg_jax.protect` and `raeg_jax.recover` work on arrays, see `raeg_jax.arrays`.
"""


def __getattr__(name: str):
    # Training and the tool's help should not wait for what they don't use.
    if name in ("protect", "recover"):
        from raeg_jax import arrays

        return getattr(arrays, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
