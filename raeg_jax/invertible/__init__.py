"""Invertible layers and the generator made of them."""
