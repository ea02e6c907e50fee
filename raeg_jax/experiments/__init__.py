"""Experiments that could refute the protection, and their report."""
