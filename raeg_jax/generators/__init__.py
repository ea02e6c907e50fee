"""The generator that comes with the package, and its model card."""
