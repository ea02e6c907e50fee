"""The generators that come with the package, and their model cards."""
