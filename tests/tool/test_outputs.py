"""Two runs at a time, where the file system has no locks."""

import contextlib
import pathlib

import pytest

from raeg_jax import lock
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, read_image_file
from raeg_jax.tool.manifest import NAME, opened
from raeg_jax.tool.outcome import Status
from raeg_jax.tool.outputs import STAGING, folder_outputs, told
from raeg_jax.tool.tfds_output import ShardOutputs
from raeg_jax.tool.walk import Job
from tests.tool.conftest import files, pixels, save


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Outputs of two runs in one folder."""
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", None)

    @contextlib.contextmanager
    def run():
        with (
            opened(tmp_path / "out", {}) as manifest,
            folder_outputs(manifest, tmp_path / "photos", ".png", overwrite=False) as outputs,
        ):
            yield outputs

    with run() as one, run() as other:
        one.staging.mkdir(parents=True, exist_ok=True)
        yield one, other
    assert not (tmp_path / "out" / STAGING).exists()


def test_no_output_gets_the_name_of_another_runs(two, tmp_path):
    written = []
    for number in range(6):
        path = save(tmp_path / "photos" / f"{number}.bmp", pixels(number))
        outputs = two[number % 2]
        target = outputs.begin(Job(path, path.name, f"{number}.png"))
        written.append(outputs.write(target, ImageFile(pixels(number)), (), {}))
    for outputs, own in zip(two, (written[::2], written[1::2]), strict=True):
        assert {outcome.status for outcome in outputs.keep(own)} == {Status.DONE}
    assert files(tmp_path / "out") == [NAME, *(f"{number}.png" for number in range(6))]
    for number in range(6):
        found = read_image_file(tmp_path / "out" / f"{number}.png").pixels
        assert (found == pixels(number)).all()


def test_shards_are_not_mixed(two, tmp_path):
    class Example:
        def __init__(self, name):
            self.name, self.number = f"train/{name}", 0

        def with_image(self, image):
            return self.name.encode()

    shards = [ShardOutputs(outputs.staging, tmp_path / "out") for outputs in two]
    for name, shard in zip("ab", shards, strict=True):
        shard.write(shard.begin(Example(name)), ImageFile(pixels()), (), {})
    made = [shard.finish() for shard in shards]
    for name, shard, path in zip("ab", shards, made, strict=True):
        assert f"train/{name}".encode() in pathlib.Path(path).read_bytes()
        shard.close()


def test_too_many_folders_are_told():
    """Python makes folders within folders by recursion, of which it bears a thousand."""
    where = pathlib.Path("out/x.png")
    wanted = pytest.raises(UserError, match=r"x\.png is in too many folders: move the images up")
    with wanted, told(where, where):
        raise RecursionError
