"""The command with a real generator, tiny and with random weights."""

import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from raeg_jax import cli, evaluation
from raeg_jax.cli import train
from raeg_jax.image_file.read import decode_image_file, read_image_file
from raeg_jax.networks import imagenet
from raeg_jax.protection.loaded_generator import load_generator, save_generator
from raeg_jax.protection.predict import predict_labels
from tests.cli import datasets
from tests.cli.conftest import save
from tests.networks import tiny_published
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


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Settings of a run against published weights, none of which is trained."""
    tiny_published.register(monkeypatch)
    for seed in range(3):
        tiny_published.write(tmp_path / f"net_{seed}.safetensors", seed)
    names = imagenet.class_names(1000)
    for number, image in enumerate(generators.photographs(4, 50, 40)):
        # The folders have names of classes, which nobody asks for.
        save(tmp_path / "photos" / names[number % 2] / f"{number}.png", image)
    config = generators.settings(("gradient",))
    config.data.update(dataset="image_folder", source=str(tmp_path / "photos"), list_file="")
    config.data.cache_dir = str(tmp_path / "cache")
    config.classifiers.update(
        targets=("net_0.safetensors", "net_1.safetensors"),
        held_out=("net_2.safetensors",),
        weights=str(tmp_path),
    )
    return config


def test_a_run_against_published_weights_from_its_settings_to_a_recovered_file(
    published, tmp_path, capsys, monkeypatch
):
    workdir, file, evaluated = tmp_path / "run", tmp_path / "generator", []
    monkeypatch.setattr(evaluation, "run", lambda *args, **options: evaluated.append(args))
    train.main(published, workdir)
    ((*_, classifiers),) = evaluated
    assert list(classifiers) == [f"net_{seed}.safetensors" for seed in range(3)]
    assert not (workdir / "checkpoints").exists()

    def raeg(*arguments, status=0):
        capsys.readouterr()
        assert cli.main(list(map(str, arguments))) == status
        captured = capsys.readouterr()
        return captured.out + captured.err

    named = "tiny with published weights of tiny-0.pth (0123456789abcdef), which see 32 pixels of"
    text = raeg("export", workdir, file, "--classifier", "net_2.safetensors")
    assert f"net_0.safetensors (target): {named}" in text
    text = raeg("inspect", file)
    assert f"net_0.safetensors (target): {named}" in text
    assert "net_2.safetensors (no target): tiny with" in text
    assert re.search(r"classes: +1000, from tench", text)
    assert str(tmp_path) not in text
    assert str(tmp_path).encode() not in file.read_bytes()

    photos, out, back = (tmp_path / name for name in ("photos", "out", "back"))
    raeg("keygen", tmp_path / "key")
    owner = ("--key", tmp_path / "key", "--generator", file, "--batch-size", 2)
    text = raeg("protect", photos, out, *owner, "--labels", "folders", status=2)
    assert "--labels=folders: this generator's targets are published classifiers" in text
    text = raeg("protect", photos, out, *owner)
    assert text.count("labels: what the generator's published targets read in each image") == 1
    kept = r"\nits targets still read \d of 4 images as before \(net_0.safetensors (\d), net_1.s"
    counts = re.search(rf"{kept}\w+ (\d)\)\n", text).groups()
    seen = raeg("verify", out, *owner, "--originals", photos)
    for number, count in enumerate(counts):
        assert f"net_{number}.safetensors reads {4 - int(count)} of 4 protected images" in seen
    raeg("recover", out, back, *owner)
    for path in photos.rglob("*.png"):
        name, image = path.relative_to(photos), read_image_file(path).pixels
        np.testing.assert_array_equal(read_image_file(back / name).pixels, image)
    read = predict_labels(load_generator(file), [image], 2)
    text = raeg("inspect", out / name, "--key", tmp_path / "key")
    assert re.search(r"codes: +(\d+) ", text)[1] == str(read[0])


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
