"""Measuring protection and recovery on files read back."""
