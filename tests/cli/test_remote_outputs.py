"""Sources and outputs elsewhere: fsspec's memory, and a server that speaks S3."""

import contextlib
import os

import fsspec
import numpy as np
import pytest

from raeg_jax import remote
from raeg_jax.cli.manifest import NAME
from raeg_jax.image_file.read import read_image_file
from tests.cli import documented, parquets, tars
from tests.cli.conftest import files, pixels, save
from tests.cli.datasets import prepare
from tests.cli.fake_codec import Protector

PROTECTED = ["anchor/deep/two.png", "anchor/one.png", "ibis/small.png", "ibis/three.png", "top.png"]


@pytest.fixture(scope="session")
def s3_url():
    """The URL of a server on loopback."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@contextlib.contextmanager
def folder_in(kind, tmp_path):
    system = fsspec.filesystem(kind, use_listings_cache=False)
    folder = f"{kind}://bucket-{tmp_path.name.replace('_', '-')}"[:60]
    system.mkdir(folder)
    yield system, folder
    system.rm(folder, recursive=True)


@pytest.fixture
def store(tmp_path):
    """A file system, and the URL of an empty folder in it."""
    with folder_in("memory", tmp_path) as found:
        yield found


@pytest.fixture(params=["memory", "s3"])
def any_store(request, monkeypatch, tmp_path):
    """As `store`, and one of a server."""
    if request.param == "s3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_url"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    with folder_in(request.param, tmp_path) as found:
        yield found


def there(store, folder=""):
    """Names of all files below a folder of a store."""
    system, url = store
    root = system._strip_protocol(f"{url}/{folder}".rstrip("/"))
    return sorted(name[len(root) + 1 :] for name in system.find(root))


def send(store, source, name):
    """Copies a folder of this machine to a store; returns its URL."""
    system, url = store
    for file in files(source):
        system.pipe_file(f"{url}/{name}/{file}", (source / file).read_bytes())
    return f"{url}/{name}"


def fetch(store, name, folder):
    """Copies a folder of a store to this machine."""
    system, url = store
    for file in there(store, name):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(system.cat_file(f"{url}/{name}/{file}"))
    return folder


def test_a_folder_of_images_goes_there_and_back(raeg, photos, tmp_path, any_store):
    source = send(any_store, photos, "photos")
    out = f"{any_store[1]}/out"
    result = raeg("protect", source, out)
    assert result.out.startswith("5 images protected")
    assert "classes by folders: all 2 have names of the generator's classes" in result.err
    assert there(any_store, "out") == [NAME, *PROTECTED]
    again = raeg("protect", source, out)
    assert again.out == "0 images protected; 5 were done before\n"
    # From this machine too, and onto it.
    assert raeg("protect", photos, out).out == again.out
    raeg("verify", out, "--originals", photos)
    raeg("verify", out, "--originals", source)
    result = raeg("recover", out, tmp_path / "back")
    assert result.out.startswith("5 images recovered")
    for name in files(photos):
        back = tmp_path / "back" / os.path.splitext(name)[0]
        one = read_image_file(photos / name)
        np.testing.assert_array_equal(read_image_file(back.with_suffix(".png")).pixels, one.pixels)


@pytest.mark.parametrize("kind", [tars, parquets])
def test_record_files_go_there_and_back(raeg, tmp_path, any_store, kind):
    here = kind.prepare(tmp_path / "source")
    source, out, back = (
        send(any_store, here, "source"),
        f"{any_store[1]}/out",
        f"{any_store[1]}/back",
    )
    raeg("protect", source, out)
    assert there(any_store, "out") == [NAME, *files(here)]
    raeg("verify", out, "--originals", source)
    raeg("recover", out, back)
    assert raeg("recover", out, back).out.startswith("0 images recovered; ")
    raeg("protect", here, tmp_path / "out")
    raeg("recover", tmp_path / "out", tmp_path / "back")
    fetched = fetch(any_store, "back", tmp_path / "fetched")
    for name in files(here):
        assert (fetched / name).read_bytes() == (tmp_path / "back" / name).read_bytes()


class Killed(BaseException):
    """The process is gone."""


class Killing:
    """Operations of a store, until the process is killed before one of them."""

    def __init__(self, monkeypatch, moment):
        self._left = moment
        for name in ("put", "put_bytes", "copy", "remove"):
            monkeypatch.setattr(remote, name, self._until_killed(getattr(remote, name)))

    def _until_killed(self, operation):
        def call(*arguments):
            self._left -= 1
            if self._left <= 0:
                raise Killed
            operation(*arguments)

        return call


def test_a_run_that_is_killed_anywhere_is_resumed(raeg, photos, monkeypatch, store):
    moments = 0
    for moment in range(1, 100):
        out = f"{store[1]}/{moment}"
        arguments = ["protect", photos, out, "--batch-size", "2"]
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            Killing(patch, moment)
            raeg(*arguments)
            moments = moment
        raeg(*arguments)
        assert there(store, str(moment)) == [NAME, *PROTECTED]
        if moments:
            break
    # As the manifest says.
    assert raeg(*arguments).out == "0 images protected; 5 were done before\n"
    raeg("verify", out, "--originals", photos)
    assert moments > 7


def test_what_is_written_down_but_not_named_is_not_made_again(raeg, photos, monkeypatch, any_store):
    out = f"{any_store[1]}/out"

    def killed(sources, paths):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(remote, "copy", killed)
        with pytest.raises(Killed):
            raeg("protect", photos, out)
    assert not any(name.endswith(".png") for name in there(any_store, "out"))
    count = len(there(any_store, "out/.raeg-unfinished"))
    assert count > 0
    result = raeg("protect", photos, out)
    assert result.out.startswith(f"{5 - count} image")
    assert count == 5 or result.out.endswith(f"; {count} were done before\n")
    assert len(there(any_store, "out")) == 6


def test_files_of_others_are_only_replaced_if_asked_for(raeg, photos, store):
    system, url = store
    system.pipe_file(f"{url}/out/top.png", b"precious")
    result = raeg("protect", photos, f"{url}/out", status=1)
    assert f"{url}/out/top.png exists and isn't of this run: name another" in result.err
    assert system.cat_file(f"{url}/out/top.png") == b"precious"
    result = raeg("protect", photos, f"{url}/out", "--overwrite")
    assert result.out.startswith("1 image protected")
    save(photos / "top.tiff", pixels(9))
    result = raeg("protect", photos, f"{url}/out", status=1)
    assert "top.tiff has changed since" in result.err
    system.pipe_file(f"{url}/out/anchor/one.png", b"changed")
    result = raeg("protect", photos, f"{url}/out", "--overwrite")
    assert result.out.startswith("2 images protected")
    result = raeg("protect", photos, f"{url}/out", "--strip", status=2)
    assert f"{url}/out holds images of a run with strip False" in result.err


def test_ctrl_c_and_resuming(raeg, photos, store, monkeypatch):
    out, protect = f"{store[1]}/out", Protector.protect

    def interrupted(self, *images):
        if len(self.batches) == 2:
            raise KeyboardInterrupt
        return protect(self, *images)

    with monkeypatch.context() as patch:
        patch.setattr(Protector, "protect", interrupted)
        result = raeg("protect", photos, out, "--batch-size", "1", status=130)
    done = int(result.err.partition(" of 5 images done")[0].rpartition(" ")[2])
    assert done == len([name for name in there(store, "out") if name.endswith(".png")])
    assert raeg("protect", photos, out).out.endswith(f"; {done} were done before\n" if done else "")


def test_shards_have_manifests_of_their_own(raeg, photos, tmp_path, store):
    out = f"{store[1]}/out"
    for shard in ("1/2", "2/2"):
        raeg("protect", photos, out, "--shard", shard)
    names = there(store, "out")
    assert names[:2] == [NAME.replace(".jsonl", f"-000{n}-of-0002.jsonl") for n in (1, 2)]
    assert len(names) == 7
    result = raeg("protect", photos, out, "--shard", "1/2", "--strip", status=2)
    assert "with strip False" in result.err
    raeg("recover", out, tmp_path / "back")
    assert {name for name in files(tmp_path / "back") if name != NAME} == set(names[2:])


@pytest.mark.parametrize(
    ("name", "source", "out"),
    [
        ("a package that is missing", "gs://bucket/photos", "out"),
        ("a URL of an unknown kind", "nowhere://bucket/photos", "out"),
        ("no source elsewhere", "memory://bucket/none", "out"),
        ("an output elsewhere in the source", "memory://bucket", "memory://bucket/out"),
        ("a source elsewhere in the output", "memory://bucket", "memory://"),
        ("a single image to elsewhere", "PHOTOS/top.tiff", "memory://bucket/out"),
        ("a data set of TFDS elsewhere", "DATASET", "memory://bucket/out"),
    ],
)
def test_bad_places_are_reported(raeg, photos, tmp_path, monkeypatch, name, source, out):
    monkeypatch.chdir(tmp_path)
    fsspec.filesystem("memory").pipe_file("memory://bucket/a.png", b"?")
    dataset = str(prepare(tmp_path / "data")) if source == "DATASET" else ""
    source = source.replace("PHOTOS", str(photos)).replace("DATASET", dataset)
    before = files(tmp_path)
    result = raeg("protect", source, out, status=2)
    documented.check(name, result.status, result.err.splitlines()[-1])
    assert files(tmp_path) == before
    fsspec.filesystem("memory").rm("memory://bucket", recursive=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("memory://a", "out", "--engine", "ray"), "memory://a is a URL, and --engine=ray reads"),
        (("PHOTOS", "memory://a", "--engine", "ray"), "memory://a is a URL, and --engine=ray"),
        (("PHOTOS", "out", "--generator", "memory://g"), "memory://g is a URL, and only files"),
    ],
)
def test_only_images_may_be_elsewhere(raeg, photos, arguments, message):
    arguments = [argument.replace("PHOTOS", str(photos)) for argument in arguments]
    assert message in raeg("protect", *arguments, status=2).err


def test_a_file_url_is_a_path(raeg, photos, tmp_path):
    raeg("protect", f"file://{photos}", f"file://{tmp_path}/out")
    assert len(files(tmp_path / "out")) == 6


def test_an_error_of_the_store_ends_the_run(raeg, photos, store, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("the line is dead\nand more")

    with monkeypatch.context() as patch:
        patch.setattr(store[0], "put", fail)
        result = raeg("protect", photos, f"{store[1]}/out", status=2)
    assert f"error: {store[1]}/out can't be written (the line is dead)" in result.err
    raeg("protect", photos, f"{store[1]}/out")


def test_an_unreadable_image_fails_alone(raeg, photos, store):
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    source = send(store, photos, "photos")
    result = raeg("protect", source, f"{store[1]}/out", status=1)
    assert f"failed: {source}/bad.jpg is damaged" in result.err
    assert result.out.startswith("5 images protected")
