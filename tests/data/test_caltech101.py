"""Caltech-101: TFDS's split rule, the background class, the download."""

import functools
import hashlib
import http.server
import io
import os
import shutil
import stat
import tarfile
import threading
import zipfile

import numpy as np
import pytest

from raeg_jax import data
from raeg_jax.data import caltech101
from raeg_jax.errors import UserError


@pytest.fixture
def settings(settings):
    settings.dataset = "caltech101"
    return settings


@pytest.fixture
def tree(make_tree, tmp_path):
    sizes = {"Faces": 33, "accordion": 31, "BACKGROUND_Google": 35, "zebra": 30}
    return make_tree(tmp_path / "source" / "101_ObjectCategories", sizes)


def test_split_and_classes(settings, tree, capsys):
    settings.source = str(tree.parent)
    splits = data.load(settings)
    # TFDS's names and order, without the background.
    assert splits.class_names == ("accordion", "faces", "zebra")
    assert np.bincount(splits.train.labels).tolist() == [30, 30, 30]
    assert np.bincount(splits.test.labels, minlength=3).tolist() == [1, 3, 0]
    assert not set(splits.train.file_names) & set(splits.test.file_names)
    assert "BACKGROUND_Google is left out" in capsys.readouterr().err


def test_draw_is_that_of_tfds():
    """The lines of TFDS's builder, for classes and files in sorted order."""
    found = {
        name: ([(f"{name}/image_{i:04d}.jpg", None) for i in range(count)], [])
        for name, count in {"a": 40, "b": 55}.items()
    }
    expected = set()
    state = np.random.get_state()
    np.random.seed(1234)
    for pairs, _ in found.values():
        names = [name for name, _ in pairs]
        expected |= set(names).difference(np.random.choice(names, 30, replace=False))
    np.random.set_state(state)
    assert caltech101.draw_tfds_split(found) == expected


def test_background_does_not_change_the_split(settings, tree):
    settings.source = str(tree.parent)
    before = data.load(settings)
    shutil.rmtree(tree / "BACKGROUND_Google")
    assert data.load(settings).fingerprint == before.fingerprint


def test_the_tree_itself_may_be_named(settings, tree):
    settings.source = str(tree)
    assert data.load(settings).num_classes == 3


def test_too_small_a_class_is_named(settings, make_tree, tmp_path):
    settings.source = str(make_tree(tmp_path / "101_ObjectCategories", {"a": 40, "b": 29}))
    with pytest.raises(UserError, match="class b has 29 images"):
        data.load(settings)


def test_missing_tree_is_explained(settings, tmp_path):
    settings.source = str(tmp_path)
    with pytest.raises(UserError, match=r"no class folders .*Get caltech-101.zip"):
        data.load(settings)


@pytest.fixture
def server(tree, tmp_path, monkeypatch):
    """Serves the tree as the archive that TFDS downloads."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        tar.add(tree, "101_ObjectCategories")
    site = tmp_path / "site"
    site.mkdir()
    with zipfile.ZipFile(site / "caltech-101.zip", "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", inner.getvalue())
    content = (site / "caltech-101.zip").read_bytes()
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        url = f"http://127.0.0.1:{server.server_port}/caltech-101.zip"
        monkeypatch.setattr(caltech101, "URL", url)
        monkeypatch.setattr(caltech101, "SIZE", len(content))
        monkeypatch.setattr(caltech101, "CHECKSUM", hashlib.sha256(content).hexdigest())
        yield server
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_download_without_a_source(settings, server, tree):
    downloaded = data.load(settings)
    settings.source = str(tree.parent)
    assert downloaded.fingerprint == data.load(settings).fingerprint
    # The second time nothing is fetched.
    server.shutdown()
    settings.source = ""
    assert data.load(settings).fingerprint == downloaded.fingerprint


def test_download_of_something_else_is_refused(settings, server, monkeypatch):
    monkeypatch.setattr(caltech101, "CHECKSUM", "0" * 64)
    with pytest.raises(UserError, match="can't be downloaded"):
        data.load(settings)


@pytest.mark.parametrize("way", ["direct", "proxy", "not there"])
def test_no_network_is_explained(settings, monkeypatch, request, way):
    """At once, where TFDS would retry for minutes."""
    for name in ("no_proxy", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    if way == "not there":
        port = request.getfixturevalue("server").server_port
        monkeypatch.setattr(caltech101, "URL", f"http://127.0.0.1:{port}/moved.zip")
    else:
        monkeypatch.setattr(caltech101, "URL", "http://127.0.0.1:9/caltech-101.zip")
    if way == "proxy":
        monkeypatch.setattr(caltech101, "URL", "http://caltech.invalid/caltech-101.zip")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    manager = caltech101.tfds.download
    monkeypatch.setattr(manager, "DownloadManager", lambda **_: pytest.fail("would retry"))
    with pytest.raises(UserError, match=r"can't be downloaded .*config.data.source=FOLDER"):
        data.load(settings)


def test_unpacked_tree_is_for_all_users(settings, server, tmp_path):
    unfinished = tmp_path / "cache" / "downloads" / ".caltech101.unfinished"
    (unfinished / "left by a killed run").mkdir(parents=True)
    before = os.umask(0o022)
    try:
        data.load(settings)
    finally:
        os.umask(before)
    unpacked = unfinished.with_name("caltech101")
    assert stat.S_IMODE(unpacked.stat().st_mode) == 0o755
    assert [path.name for path in unpacked.iterdir()] == ["101_ObjectCategories"]
    assert not unfinished.exists()
