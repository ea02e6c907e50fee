"""The generator: a chain of invertible stages that protects images and recovers them."""
