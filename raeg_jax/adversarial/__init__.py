"""Attacks on classifiers, and distortions of images."""
