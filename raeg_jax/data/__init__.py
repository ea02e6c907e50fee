"""Builders of the data sets and the input pipeline."""
