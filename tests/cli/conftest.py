"""The command with a codec that needs no network, and images for it."""

import dataclasses
import pathlib

import numpy as np
import pytest
from PIL import Image

from raeg_jax import cli
from raeg_jax.payload.key import Key, write_key
from tests.cli import fake_codec

KEY = Key(bytes(range(32)))


@dataclasses.dataclass
class Result:
    """What a command left."""

    status: int
    out: str
    err: str


class Tool:
    """Runs the command in this process."""

    def __init__(self, folder, protectors, capsys):
        self.folder, self.protectors, self._capsys = folder, protectors, capsys
        self.key, self.generator = folder / "owner.key", folder / "generator"
        write_key(self.key, KEY)
        self.generator.write_bytes(b"generator 1")

    def __call__(self, command, *arguments, status=0, generator="own"):
        """Runs a command, with key and generator where it needs them; None leaves that out.

        Status None: any.
        """
        arguments = [command, *map(str, arguments)]
        if command in ("protect", "recover", "verify"):
            for name in ("key", "generator") if generator else ("key",):
                if f"--{name}" not in arguments:
                    arguments += [f"--{name}", str(getattr(self, name))]
        ended = cli.main(arguments)
        captured = self._capsys.readouterr()
        assert status in (None, ended), captured.err
        return Result(ended, captured.out, captured.err)


@pytest.fixture
def raeg(tmp_path, monkeypatch, capsys):
    return Tool(tmp_path, fake_codec.install(monkeypatch.setattr), capsys)


def pixels(seed=0, height=24, width=24):
    """A smooth image with a little noise: uint8 [height, width, 3], with room for a payload."""
    noise = np.random.default_rng(seed).integers(0, 3, (height, width, 3))
    ramp = np.add.outer(np.arange(height), 2 * np.arange(width)) % 200
    return (ramp[..., None] + noise + 20 + seed % 7).astype(np.uint8)


def save(path: pathlib.Path, image, **options):
    """Writes an image file with the folders above it; lossless where the format can be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".webp":
        options = {"lossless": True, "exact": True, **options}
    Image.fromarray(image).save(path, **options)
    return path


def files(folder: pathlib.Path):
    """Names of all files below a folder, hidden ones too."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.fixture
def photos(tmp_path):
    """Five images of two shapes in two folders and none, one of them with too little room."""
    folder = tmp_path / "photos"
    save(folder / "anchor" / "one.png", pixels(1))
    save(folder / "anchor" / "deep" / "two.jpg", pixels(2))
    save(folder / "ibis" / "three.bmp", pixels(3, 30, 20))
    save(folder / "ibis" / "small.png", pixels(4, 12, 12))
    save(folder / "top.tiff", pixels(5))
    return folder
