"""Reversible adversarial example generation (RAEG) for image data sets, in JAX and Flax."""
