"""Protects images with a generator so that they come back bit for bit, and recovers them."""
