"""Fitting classifiers and generator: state, step, parallelism, checkpoints, logs, loop."""
