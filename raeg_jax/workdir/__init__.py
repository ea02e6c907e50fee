"""The folder of a training run: its lock, its checkpoints, its classifiers, and opening them."""
