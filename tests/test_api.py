import ast
import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import raeg_jax
from raeg_jax import api
from raeg_jax.errors import UserError
from raeg_jax.payload.errors import NotAPayloadError
from raeg_jax.payload.key import write_key
from raeg_jax.protection import shipped
from raeg_jax.protection.loaded_generator import LoadedGenerator
from tests.payload.payloads import KEY
from tests.protection.generators import NAMES, PARAMS, photographs, quick, settings

ROOT = pathlib.Path(__file__).parents[1]


def test_public_names_are_listed_typed_and_there():
    names = dir(raeg_jax)
    assert names == sorted(raeg_jax.__all__)
    for name in names:
        assert getattr(raeg_jax, name) is not None
    with pytest.raises(AttributeError, match="'raeg_jax' has no attribute 'protct'"):
        _ = raeg_jax.protct
    # Type checkers see the imports, Python the table.
    tree = ast.parse(pathlib.Path(raeg_jax.__file__).read_text())
    typed = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("raeg_jax.")
        for alias in node.names
    }
    assert typed == raeg_jax._LAZY
    assert {*typed, "__version__"} == set(names)


def test_the_example_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(raeg_jax, "default_generator", quick, raising=False)
    write_key(tmp_path / "owner.key", KEY)
    Image.fromarray(photographs(1, 32, 32)[0]).save("photo.jpg")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert sorted(os.listdir()) == ["owner.key", "photo.jpg", "protected.png"]


def test_the_example_of_a_function_as_target():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tool.md").read_text(), re.DOTALL)
    exec(compile(example, "docs/tool.md", "exec"), {})


def test_arrays_of_any_sizes_are_protected_and_recovered():
    generator = quick()
    images = [*photographs(2, 32, 32), *photographs(1, 5, 7)]
    protected = raeg_jax.protect(images, generator, KEY, labels=[0, 1, 2], batch_size=3)
    pixels, blobs = [p.pixels for p in protected], [p.blob for p in protected]
    assert all(np.any(y != x) for y, x in zip(pixels, images, strict=True))
    recovered = raeg_jax.recover(pixels, generator, KEY, blobs=blobs)
    for image, result in zip(images, recovered, strict=True):
        np.testing.assert_array_equal(result.pixels, image)
    assert [result.label for result in recovered] == [0, 1, 2]
    with pytest.raises(NotAPayloadError, match="image 2: no payload is in the pixels"):
        raeg_jax.recover(pixels, generator, KEY)


@pytest.fixture(scope="module")
def protected():
    """One image with its payload in the pixels, and one without room for it."""
    images = [*photographs(1, 32, 32), *photographs(1, 5, 7)]
    return images, raeg_jax.protect(images, quick(), KEY, labels=[0, 1], batch_size=3)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_saved_images_are_recovered(tmp_path, protected, suffix):
    (image, small), (inside, beside) = protected
    assert (inside.in_pixels, beside.in_pixels) == (True, False)
    path, other = tmp_path / f"inside{suffix}", tmp_path / f"beside{suffix}"
    path.write_bytes(b"an older file")
    raeg_jax.save(inside, path)
    files = [path]
    if suffix == ".png":
        raeg_jax.save(beside, str(other))
        files.append(str(other))
    else:
        with pytest.raises(UserError, match=r"beside.*: only PNG holds the payload .*: use \.png$"):
            raeg_jax.save(beside, other)
    assert len(os.listdir(tmp_path)) == len(files)
    # As another program writes it; arrays and files may be mixed.
    with Image.open(path) as opened:
        opened.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "rotated.png", exif=rotated())
        opened.save(tmp_path / "rewritten.png", optimize=True)
    files += [tmp_path / "rewritten.png", tmp_path / "rotated.png", inside.pixels]
    expected = [image, small][: len(files) - 3] + [image] * 3
    for result, original in zip(raeg_jax.recover(files, quick(), KEY), expected, strict=True):
        np.testing.assert_array_equal(result.pixels, original)


def test_without_a_generator_each_image_gets_its_own_of_the_package(protected, monkeypatch):
    (image, _), (inside, _) = protected
    monkeypatch.setattr(shipped, "SHIPPED", {"small": quick().id})
    monkeypatch.setattr(api, "load_generator", lambda path: quick())
    (result,) = raeg_jax.recover([inside.pixels], None, KEY)
    np.testing.assert_array_equal(result.pixels, image)
    assert (result.generator_id, result.in_pixels) == (quick().id, True)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_impossible_files_images_and_blobs(tmp_path, protected):
    (_, small), (_, beside) = protected
    path = tmp_path / "photo.png"
    Image.fromarray(beside.pixels).save(path)
    with pytest.raises(NotAPayloadError, match="image 0: no payload is in the pixels"):
        raeg_jax.recover([path], quick(), KEY)
    (result,) = raeg_jax.recover([path], quick(), KEY, blobs=[beside.blob])
    np.testing.assert_array_equal(result.pixels, small)
    with pytest.raises(UserError, match="doesn't exist"):
        raeg_jax.recover([tmp_path / "missing.png"], quick(), KEY)
    with pytest.raises(UserError, match="image 1 is list, not a NumPy array"):
        raeg_jax.recover([path, [1]], quick(), KEY, blobs=[beside.blob, None])
    with pytest.raises(UserError, match=r"^gs://b/a\.png is a URL"):
        raeg_jax.recover(["gs://b/a.png"], quick(), KEY)
    with pytest.raises(UserError, match=r"^gs://b/a\.png is a URL"):
        raeg_jax.save(beside, "gs://b/a.png")
    with pytest.raises(UserError, match=r"JPEG changes pixels"):
        raeg_jax.save(beside, tmp_path / "photo.jpg")
    with pytest.raises(UserError, match=r"can't be written \(No such file"):
        raeg_jax.save(beside, tmp_path / "missing" / "photo.png")


def test_labels_for_published_targets_are_not_used_and_a_warning_says_so():
    config = settings(("learned",), **{"classifiers.targets": ("net.safetensors",)})
    generator = LoadedGenerator(config, NAMES, PARAMS, {})
    images = photographs(1, 32, 32)
    with pytest.warns(UserWarning, match="labels aren't used: .*; leave labels out"):
        (protected,) = raeg_jax.protect(images, generator, KEY, labels=[0], batch_size=1)
    assert protected.label is None
    raeg_jax.protect(images, generator, KEY, labels=[None], batch_size=1)
