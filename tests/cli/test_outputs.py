"""Two runs at a time, where the file system has no locks."""

import contextlib
import pathlib

import pytest

from raeg_jax import lock
from raeg_jax.cli.manifest import NAME, open_manifest
from raeg_jax.cli.outputs import STAGING, Output, folder_outputs, translate_output_errors
from raeg_jax.cli.record_outputs import RecordOutputs
from raeg_jax.cli.report import Status
from raeg_jax.cli.scan import SourceImage
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, read_image_file
from tests.cli.conftest import files, pixels, save


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Outputs of two runs in one folder."""
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", None)

    @contextlib.contextmanager
    def run():
        with (
            open_manifest(tmp_path / "out", {}) as manifest,
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
        image = SourceImage(path, path.name, f"{number}.png")
        output = Output(ImageFile(pixels(number)), (), {})
        written.append(outputs.write(image, outputs.begin(image), output))
    for outputs, of_run in zip(two, (written[::2], written[1::2]), strict=True):
        assert {result.status for result in outputs.commit(of_run)} == {Status.DONE}
    assert files(tmp_path / "out") == [NAME, *(f"{number}.png" for number in range(6))]
    for number in range(6):
        found = read_image_file(tmp_path / "out" / f"{number}.png").pixels
        assert (found == pixels(number)).all()


def test_shards_are_not_mixed(two, tmp_path):
    class Example:
        def __init__(self, name):
            self.name, self.output, self.number = f"train/{name}", "0.png", 0

        def with_image(self, image):
            return self.name.encode()

    def write(path, examples):
        path.write_bytes(b"".join(example for _, example in examples))

    shards = [RecordOutputs(outputs.staging, tmp_path / "out") for outputs in two]
    for name, shard in zip("ab", shards, strict=True):
        example = Example(name)
        shard.write(example, shard.begin(example), Output(ImageFile(pixels()), (), {}))
    made = [shard.finish(write) for shard in shards]
    for name, shard, path in zip("ab", shards, made, strict=True):
        assert f"train/{name}".encode() == path.read_bytes()
        shard.close()


def test_too_many_folders_are_reported():
    """Python makes folders within folders by recursion, of which it bears a thousand."""
    where = pathlib.Path("out/x.png")
    wanted = pytest.raises(UserError, match=r"x\.png is in too many folders: move the images up")
    with wanted, translate_output_errors(where):
        raise RecursionError
