"""The command with a real generator, tiny and with random weights."""

import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from raeg_jax import cli
from raeg_jax.image_file.read import decode_image_file, read_image_file
from raeg_jax.protection.loaded_generator import save_generator
from tests.cli import datasets
from tests.cli.conftest import save
from tests.protection import generators

FIXED = {"generator.gradient.arithmetic": "fixed"}


@pytest.fixture
def raeg(tmp_path, capsys):
    bundle = generators.make(("gradient",), ("resnet_small",), **FIXED)
    save_generator(tmp_path / "generator", bundle)
    cli.main(["keygen", str(tmp_path / "key")])

    def run(*arguments, status=0):
        owner = ["--key", tmp_path / "key", "--generator", tmp_path / "generator"]
        arguments = [*arguments, *(owner[:2] if arguments[0] == "inspect" else owner)]
        capsys.readouterr()
        ended = cli.main(list(map(str, arguments)))
        captured = capsys.readouterr()
        assert ended == status, captured.err
        return captured.out

    return run


@pytest.mark.slow
def test_a_data_set_goes_there_and_back(raeg, tmp_path):
    features = {
        "image": tfds.features.Image(),
        "kind": tfds.features.ClassLabel(names=generators.NAMES[::-1]),
    }
    images = generators.photographs(3, 40, 48)
    examples = [
        {"image": datasets.encoded(image), "kind": kind} for kind, image in enumerate(images)
    ]
    source = datasets.prepare(tmp_path / "data", {"train": [examples]}, features)
    out, back = tmp_path / "out", tmp_path / "back"
    text = raeg("protect", source, out, "--batch-size", 2)
    assert text.startswith("3 images protected; payload in the pixels of 3")
    text = raeg("verify", out, "--originals", source, "--batch-size", 2)
    assert len(re.findall(r"exact   train/.*; resnet_small: original (\w+), .* \1\n", text)) == 3
    raeg("recover", out, back, "--batch-size", 2)
    protected, recovered = (datasets.rows(folder, "train") for folder in (out, back))
    for kind, image in enumerate(images):
        assert protected[kind]["kind"] == recovered[kind]["kind"] == kind
        found = decode_image_file(recovered[kind]["image"], "recovered").pixels
        np.testing.assert_array_equal(found, image)
        (tmp_path / "one.png").write_bytes(protected[kind]["image"])
        label = re.search(r"codes: +(\d+) ", raeg("inspect", tmp_path / "one.png"))[1]
        assert generators.NAMES[int(label)] == features["kind"].names[kind]


def test_photographs_go_there_and_back(raeg, tmp_path):
    names = ("anchor/one.png", "anchor/two.png", "ibis/deep/three.png", "grey.png")
    originals = dict(zip(names, generators.photographs(4, 40, 48), strict=True))
    originals["grey.png"] = originals["grey.png"][..., 0]
    for name, image in originals.items():
        save(tmp_path / "photos" / name, image)
    photos, out, back = (tmp_path / name for name in ("photos", "out", "back"))
    batch = ("--batch-size", 2)

    text = raeg("protect", photos, out, *batch)
    assert text.startswith("4 images protected; payload in the pixels of 4, in a PNG chunk of 0")
    for name, image in originals.items():
        protected = read_image_file(out / name).pixels
        assert np.any(protected != image.reshape(40, 48, -1))
    text = raeg("inspect", out / "ibis" / "deep" / "three.png")
    label = int(re.search(r"codes: +(\d+) ", text)[1])
    assert generators.NAMES[label] == "ibis"

    text = raeg("verify", out, "--originals", photos, *batch)
    seen = r"resnet_small: original (\w+), protected \w+, recovered \1\n"
    assert len(re.findall(rf"exact   .*; {seen}", text)) == 4

    raeg("recover", out, back, *batch)
    for name, image in originals.items():
        with Image.open(back / name) as recovered:
            np.testing.assert_array_equal(np.asarray(recovered), image)

    image = np.array(read_image_file(out / "anchor" / "two.png").pixels)
    image[-1, -1] ^= 1
    save(out / "anchor" / "two.png", image)
    text = raeg("recover", out, tmp_path / "again", *batch, status=1)
    assert text.startswith("3 images recovered")
