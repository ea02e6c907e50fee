"""The command with a codec that needs no network."""

from tests.cli.conftest import photos, raeg

__all__ = ["photos", "raeg"]
