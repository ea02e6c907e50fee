"""Readers: classifiers that take photographs of any size, each through its own preprocessing.

reader = open_readers(["lite0.safetensors"])["lite0.safetensors"]
logits = reader.logits([image, another])
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from raeg_jax.errors import UserError
from raeg_jax.evaluation import onnx_reader
from raeg_jax.files import check_local, sha256
from raeg_jax.networks import imagenet, weights
from raeg_jax.networks.classifiers import FrozenClassifier, LogitsFn
from raeg_jax.networks.layers import own_preprocessing
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.tiles import pad_batch

# Images at a time: on a CPU more of them are no faster, and a single image costs as much as these.
BATCH_SIZE = 4
_DIGEST = 16
# uint8 [H, W, 3] each, of any sizes.
Images = Sequence[np.ndarray] | np.ndarray


class Reading(NamedTuple):
    """What a classifier makes of a batch.

    Attributes:
      classes: int [B], the class of each image.
      of_data: whether these are the classes of the data set; if not, an image is read correctly
        where it is read as its original.
      closed_set: int [B], the best of the data set's classes, by their numbers there; None where
        they aren't among the classifier's.
    """

    classes: np.ndarray
    of_data: bool = True
    closed_set: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
    """A classifier with the way from a photograph to its input.

    Attributes:
      name: in results; that of its file.
      class_names: K.
      source: where the weights come from.
      preprocessing: what `fit` does, as JSON holds it.
      fit: from an image uint8 [H, W, 3] to uint8 [S, S, 3].
      network: from uint8 [batch_size, S, S, 3] to float32 [batch_size, K].
      digest: of the weights, in hexadecimal.
      batch_size: images at a time.
      data_classes: int [k], where the classes of a data set are among the K; None where they
        aren't, or where nobody asked.
    """

    name: str
    class_names: tuple[str, ...]
    source: str
    preprocessing: Mapping[str, Any]
    fit: Callable[[np.ndarray], np.ndarray]
    network: Callable[[np.ndarray], np.ndarray]
    digest: Callable[[], str]
    batch_size: int = BATCH_SIZE
    data_classes: np.ndarray | None = None

    def logits(self, images: Images) -> np.ndarray:
        """Classifies images in batches of one size, so that there is one program.

        Args:
          images: at least one.

        Returns:
          float32 [N, K].
        """
        parts = []
        for start in range(0, len(images), self.batch_size):
            batch = np.stack([self.fit(x) for x in images[start : start + self.batch_size]])
            parts.append(self.network(pad_batch(batch, self.batch_size))[: len(batch)])
        return np.concatenate(parts)

    def read(self, images: Images) -> Reading:
        """The class of each image, and the best of the data set's; images as for `logits`."""
        logits, known = self.logits(images), self.data_classes
        closed_set = None if known is None else logits[:, known].argmax(-1)
        return Reading(logits.argmax(-1), False, closed_set)

    def predict(self, images: Images) -> list[str]:
        """The name of the class of each image; images as for `logits`."""
        return [self.class_names[i] for i in self.logits(images).argmax(-1)]

    def for_data_set(self, class_names: Sequence[str]) -> "Reader":
        """The same reader, which finds the classes of a data set if both have ImageNet's."""
        if self.class_names != tuple(imagenet.classes().values()):
            return self
        return dataclasses.replace(self, data_classes=imagenet.indices(class_names))

    def describe(self) -> dict[str, Any]:
        """What results say of it, as JSON holds it."""
        return {
            "source": self.source,
            "weights": self.digest(),
            "classes": len(self.class_names),
            "preprocessing": dict(self.preprocessing),
        }


def open_readers(
    files: Sequence[str], preprocess: str = "", taken: Collection[str] = ()
) -> dict[str, Reader]:
    """Opens files of published weights and ONNX models.

    Args:
      files: `FILE.safetensors` that `raeg weights import` made, and `FILE.onnx`.
      preprocess: what the ONNX models expect, as `Preprocessing.parse` takes it.
      taken: names of other classifiers.

    Returns:
      Readers by the names of their files.

    Raises:
      UserError: a file that can't be used, two of one name, or `preprocess` without a model that
        it is for.
    """
    if preprocess and not any(file.endswith(onnx_reader.SUFFIX) for file in files):
        raise UserError(
            f"--preprocess={preprocess} is for ONNX models, of which --reader names none: leave it "
            "out (files of published weights have their own)"
        )
    readers: dict[str, Reader] = {}
    for file in files:
        check_local(file)
        path = pathlib.Path(file)
        if path.name in readers or path.name in taken:
            raise UserError(
                f"--reader={file}: there is another classifier {path.name!r}: rename the file, or "
                "leave it out"
            )
        readers[path.name] = _open(path, preprocess)
    return readers


def _open(path: pathlib.Path, preprocess: str) -> Reader:
    if path.suffix == weights.SUFFIX:
        network, variables = weights.load_weights(path)
        return _published(path.name, FrozenClassifier(network.module, variables), network.source)
    if path.suffix != onnx_reader.SUFFIX:
        raise UserError(
            f"--reader={path}: a reader is a file of published weights ({weights.SUFFIX}) or an "
            f"ONNX model ({onnx_reader.SUFFIX}), not {path.suffix or 'a file without suffix'}"
        )
    if not path.is_file():
        raise UserError(f"--reader={path}: there is no such file")
    model = onnx_reader.load_onnx(path, preprocess)
    return Reader(
        path.name,
        imagenet.class_names(model.num_classes),
        path.name,
        model.preprocessing.to_json(),
        model.preprocessing.fit,
        model.run,
        functools.partial(_digest_of_files, path),
        model.batch_size or BATCH_SIZE,
    )


def published_readers(
    classifiers: Mapping[str, tuple[nn.Module, Any]],
    networks: Mapping[str, weights.PublishedNetwork] | None = None,
) -> dict[str, Reader]:
    """Those of some classifiers that read as they were published, as readers of whole images.

    Args:
      classifiers: (module, variables) by name.
      networks: what the files of their weights say, by name; None where nobody asks.
    """
    return {
        name: _published(name, FrozenClassifier(*pair), networks[name].source if networks else "")
        for name, pair in classifiers.items()
        if own_preprocessing(pair[0]) is not None
    }


def of_generator(generator: LoadedGenerator) -> dict[str, Reader]:
    """The classifiers of a generator, as readers of images of any size.

    Those that its run has trained, or given heads, see images as they saw those of training: the
    square in the middle, scaled.
    """
    if not generator.classifiers:
        return {}
    classifiers, class_names = generator.classifiers, generator.class_names
    size = generator.config.data.image_size
    # With it come TFDS and Grain, seconds of importing that few commands need.
    from raeg_jax.data.decode import fit

    readers = published_readers(classifiers, generator.published)
    for name, (module, variables) in classifiers.items():
        if name not in readers:
            count = getattr(module, "num_classes", len(class_names))
            known = count == len(class_names)
            network = generator.published.get(name)
            readers[name] = _of_network(
                name,
                FrozenClassifier(module, variables),
                tuple(class_names) if known else imagenet.class_names(count),
                f"{network.source}, with a head of the run" if network else "trained by the run",
                {"image_size": size},
                functools.partial(fit, size=size),
            )
    return {name: readers[name] for name in classifiers}


def _published(name: str, classifier: FrozenClassifier, source: str) -> Reader:
    preprocessing = own_preprocessing(classifier.module)
    assert preprocessing is not None, name
    class_names = imagenet.class_names(classifier.module.num_classes)  # type: ignore[attr-defined]
    return _of_network(
        name, classifier, class_names, source, preprocessing.to_json(), preprocessing.fit
    )


def _of_network(name, classifier, class_names, source, preprocessing, fit) -> Reader:
    return Reader(
        name,
        class_names,
        source,
        preprocessing,
        fit,
        lambda images: np.asarray(_logits(classifier, images)),
        functools.partial(_digest_of_arrays, classifier.variables),
    )


@jax.jit
def _logits(classifier: LogitsFn, images: jax.Array) -> jax.Array:
    return classifier(images.astype(jnp.float32))


def _digest_of_arrays(variables: Any) -> str:
    digest = hashlib.sha256()
    for array in jax.tree.leaves(variables):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:_DIGEST]


def _digest_of_files(path: pathlib.Path) -> str:
    """Of a model, and of the files beside it that it names: weights may lie in others."""
    content = path.read_bytes()
    digest = hashlib.sha256(content)
    for other in sorted(path.parent.iterdir()):
        if other != path and other.name.encode() in content and other.is_file():
            digest.update(bytes.fromhex(sha256(other)))
    return digest.hexdigest()[:_DIGEST]
