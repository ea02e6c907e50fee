"""The differentiable attack layer and the gradient attacks used as controls."""
