"""Readers of all kinds: what they see, and what can't be one."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from raeg_jax.data import mini_imagenet
from raeg_jax.data.decode import fit
from raeg_jax.errors import UserError
from raeg_jax.evaluation.readers import of_generator, open_readers, published_readers
from raeg_jax.networks import imagenet
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.networks.weights import load_weights
from tests.evaluation import onnx_files
from tests.networks import tiny_published
from tests.protection import generators


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_published.register(monkeypatch)


def photographs(*sizes):
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]


def test_published_weights_see_whole_images_through_their_preprocessing(tmp_path):
    network = tiny_published.write(tmp_path / "tiny.safetensors")
    (reader,) = open_readers([str(tmp_path / "tiny.safetensors")]).values()
    images = photographs((40, 50), (300, 64), (8, 9), (36, 36), (33, 70))
    _, variables = load_weights(tmp_path / "tiny.safetensors")
    inputs = jnp.stack([jnp.float32(network.preprocessing.fit(image)) for image in images])
    apply = jax.jit(functools.partial(network.module.apply, train=False))
    expected = apply(variables, inputs)
    np.testing.assert_allclose(reader.logits(images), expected, rtol=1e-4, atol=1e-4)
    classes = np.argmax(expected, -1)
    assert reader.predict(images) == [imagenet.class_names(1000)[i] for i in classes]
    described = reader.describe()
    assert described["source"] == network.source
    assert described["preprocessing"] == network.preprocessing.to_json()
    assert described["classes"] == 1000


def test_any_number_of_images_takes_one_program(tmp_path, caplog):
    tiny_published.write(tmp_path / "tiny.safetensors")
    (reader,) = open_readers([str(tmp_path / "tiny.safetensors")]).values()
    images = photographs(*[(40, 40)] * 5)
    expected = reader.logits(images)
    with jax.log_compiles():
        parts = [reader.logits(images[:1]), reader.logits(images[1:])]
    assert "Compiling" not in caplog.text
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_a_fixed_batch_of_an_onnx_model_is_filled_up(tmp_path):
    onnx_files.write(tmp_path / "a.onnx", (3, 3, 8, 8))
    (reader,) = open_readers([str(tmp_path / "a.onnx")], "resize=8,crop=8").values()
    images = photographs((8, 8), (8, 12), (10, 10), (8, 8))
    (small,) = open_readers(
        [str(onnx_files.write(tmp_path / "b.onnx"))], "resize=8,crop=8"
    ).values()
    np.testing.assert_allclose(reader.logits(images), small.logits(images), rtol=1e-5)
    assert reader.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert reader.describe()["preprocessing"]["crop"] == 8


def test_digests_are_of_weights(tmp_path):
    names = [str(tmp_path / f"{name}.safetensors") for name in "abc"]
    for name, seed in zip(names, (0, 1, 0), strict=True):
        tiny_published.write(tmp_path / name, seed)
    first, second, third = (one.digest() for one in open_readers(names).values())
    assert first == third != second
    path = onnx_files.write(tmp_path / "a.onnx")
    (reader,) = open_readers([str(path)]).values()
    alone = reader.digest()
    (tmp_path / "other.bin").write_bytes(b"another model's weights")
    assert reader.digest() == alone
    # A model names the files of its weights.
    named = re.search(rb"[a-z]{4,}", path.read_bytes())[0].decode()
    (tmp_path / named).write_bytes(b"weights beside the model")
    assert reader.digest() != alone


def test_classifiers_of_a_generator_read_as_they_were_trained(tmp_path):
    generator = generators.make(("gradient",))
    found = of_generator(generator)
    size = generator.config.data.image_size
    images = photographs((40, 50), (20, 30), (size, size))
    for name, (module, variables) in generator.classifiers.items():
        inputs = jnp.stack([jnp.float32(fit(image, size)) for image in images])
        expected = jax.jit(FrozenClassifier.__call__)(FrozenClassifier(module, variables), inputs)
        np.testing.assert_allclose(found[name].logits(images), expected, rtol=1e-4, atol=1e-4)
        assert found[name].class_names == generator.class_names
    assert of_generator(dataclasses.replace(generators.make(("learned",)), classifiers={})) == {}


def test_published_classifiers_are_told_from_those_of_a_run(tmp_path):
    network = tiny_published.write(tmp_path / "tiny.safetensors", num_classes=5)
    pairs = {"tiny.safetensors": (network.module, load_weights(tmp_path / "tiny.safetensors")[1])}
    own = generators.make(("gradient",)).classifiers
    found = published_readers({**own, **pairs})
    assert list(found) == ["tiny.safetensors"]
    assert found["tiny.safetensors"].class_names[4] == "class 4"


def test_the_data_sets_classes_are_found_by_wordnet_ids(tmp_path):
    tiny_published.write(tmp_path / "tiny.safetensors")
    tiny_published.write(tmp_path / "few.safetensors", num_classes=3)
    reader, few = open_readers(
        [str(tmp_path / f"{name}.safetensors") for name in ("tiny", "few")]
    ).values()
    images = photographs(*[(40, 40)] * 3)
    assert reader.read(images).closed_set is None
    wnids = list(imagenet.classes())
    ours = reader.for_data_set([wnids[7], wnids[900]])
    reading = ours.read(images)
    logits = reader.logits(images)
    np.testing.assert_array_equal(reading.classes, logits.argmax(-1))
    np.testing.assert_array_equal(reading.closed_set, logits[:, [7, 900]].argmax(-1))
    assert not reading.of_data
    assert reader.for_data_set(["ibis?", "crab?"]).data_classes is None
    assert few.for_data_set([wnids[0], wnids[1]]).data_classes is None


def test_mini_imagenets_classes_are_imagenets(tmp_path, shared_data):
    folder = shared_data / "mini_imagenet" / "val"
    names = sorted(path.name for path in folder.iterdir())
    titles = mini_imagenet.read_titles(shared_data / "mini_imagenet" / "class_names.txt")
    tiny_published.write(tmp_path / "tiny.safetensors")
    (reader,) = open_readers([str(tmp_path / "tiny.safetensors")]).values()
    reader = reader.for_data_set(names)
    wnids = list(imagenet.classes())
    assert [wnids[i] for i in reader.data_classes] == names
    # As the data set calls them.
    called = reader.for_data_set([titles[name] for name in names])
    np.testing.assert_array_equal(called.data_classes, reader.data_classes)
    files = [next((folder / name).glob("*.jpg")) for name in names[:5]]
    images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    logits = reader.logits(images)
    best = [max(range(20), key=lambda k: one[wnids.index(names[k])]) for one in logits]
    np.testing.assert_array_equal(reader.read(images).closed_set, best)


@pytest.mark.parametrize(
    ("files", "preprocess", "message"),
    [
        (["net.pth"], "", r"--reader=net\.pth: a reader is a file of .*, not \.pth"),
        (["net"], "", "not a file without suffix"),
        (["none.onnx"], "", r"--reader=none\.onnx: there is no such file"),
        (["none.safetensors"], "", r"there is no file of weights none\.safetensors"),
        (["gs://bucket/net.onnx"], "", "is a URL"),
        (["a.onnx", "b/a.onnx"], "", r"--reader=b/a\.onnx: there is another classifier 'a\.onnx'"),
        (["taken.onnx"], "", "there is another classifier"),
        (["tiny.safetensors"], "crop=8", "--preprocess=crop=8 is for ONNX models"),
        ([], "crop=8", "of which --reader names none"),
        (["a.onnx"], "crap=8", "crap"),
    ],
)
def test_what_cannot_be_a_reader_is_named(tmp_path, monkeypatch, files, preprocess, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    for name in ("a", "b/a", "taken"):
        onnx_files.write(tmp_path / f"{name}.onnx")
    with pytest.raises(UserError, match=message):
        open_readers(files, preprocess, taken=("taken.onnx",))
