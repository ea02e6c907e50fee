"""Classifiers to attack and the discriminator."""
