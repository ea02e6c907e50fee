r"""Published networks on photographs: time and memory on one core, fixed point and PyTorch.

    python benchmarks/published_networks.py --images=PHOTOS,OTHERS --weights=lite0.safetensors \
        --torch=efficientnet-lite0-57934424.pth --fixed --out=RESULTS.json

`--weights` are files that `raeg weights import` made, `--torch` the files that they were made of,
in the same order; they are read by the network of torchvision or timm, or that of the package
`efficientnet_lite_pytorch`, whose names they have. Each network runs in a process of its own, on
one core, one photograph at a time; processes of PyTorch and JAX share nothing but the photographs.
Prints for each: median seconds of the core's time a photograph, forward and with the gradient of
the cross-entropy of its reading, the most memory that the process had until then, and how far its
logits are from JAX's in floating point. Where the class folders of photographs are ImageNet's
(names or WordNet ids), it prints closed-set accuracy, too.
"""

import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags
from inputs import choose, existing, spread, write_results
from subprocess_timing import run

from raeg_jax.config import command_line

_IMAGES = flags.DEFINE_list("images", [], "Folders of photographs.")
_COUNT = flags.DEFINE_integer("count", 25, "Photographs of each folder.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of their choice.")
_WEIGHTS = flags.DEFINE_list("weights", [], "Files of published weights.")
_TORCH = flags.DEFINE_list("torch", [], "PyTorch's files of the same weights, to compare with.")
_FIXED = flags.DEFINE_bool("fixed", False, "Compare with the networks in fixed point.")
_GRADIENTS = flags.DEFINE_integer("gradients", 5, "Photographs with gradient.", lower_bound=1)
_OUT = flags.DEFINE_string("out", "", "File of the results; of one process: its arrays.")
_ENGINE = flags.DEFINE_enum("engine", None, ["float", "fixed", "torch"], "Runs this one only.")

# Reads a photograph; computes the gradient too; brings a photograph to the form that they take.
Network = tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[np.ndarray], Any]]


def main() -> None:
    """Runs each network in a process, and compares; or is such a process."""
    from raeg_jax.errors import UserError

    for flag in (_IMAGES, _WEIGHTS, _TORCH):
        for value in flag.value:
            existing(flag.name, value)
    if not _IMAGES.value or not _WEIGHTS.value or not _OUT.value:
        raise UserError("--images, --weights and --out: name folders, files and a new file")
    if _TORCH.value and len(_TORCH.value) != len(_WEIGHTS.value):
        raise UserError(f"--torch: {len(_TORCH.value)} files, for {len(_WEIGHTS.value)} weights")
    if _ENGINE.value:
        # Before JAX starts, which makes a thread for each core.
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        measure(_ENGINE.value, pathlib.Path(_OUT.value))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for index, weights in enumerate(_WEIGHTS.value):
            theirs = _TORCH.value[index : index + 1]
            engines = ["float", *["fixed"] * _FIXED.value, *["torch"] * len(theirs)]
            measured = {}
            for engine in engines:
                out = pathlib.Path(folder) / "arrays.npz"
                options = [f"--weights={weights}", *(f"--torch={each}" for each in theirs)]
                options += [f"--engine={engine}", f"--out={out}"]
                usage = run([sys.executable, __file__, *_shared_options(), *options])
                if usage.status:
                    raise UserError(f"--engine={engine} of {weights} ended with {usage.status}")
                measured[engine] = dict(np.load(out))
            results[pathlib.Path(weights).name] = summary(measured)
    write_results(pathlib.Path(_OUT.value), results)


def _shared_options() -> list[str]:
    options = [f"--{each.name}={each.value}" for each in (_COUNT, _SEED, _GRADIENTS)]
    return [*options, f"--images={','.join(_IMAGES.value)}"]


def measure(engine: str, out: pathlib.Path) -> None:
    """Reads all photographs with one network; writes logits, times and memory."""
    from raeg_jax.data import decode
    from raeg_jax.networks.weights import describe_weights

    preprocessing = describe_weights(_WEIGHTS.value[0]).preprocessing
    paths, classes = [], []
    for folder in _IMAGES.value:
        chosen, known = choose(pathlib.Path(folder), _COUNT.value, _SEED.value)
        paths += chosen
        classes += [name for name in known if name not in classes]
    photographs = [preprocessing.fit(decode.to_rgb(path.read_bytes())) for path in paths]
    read, descend, prepare = {"float": _jax, "fixed": _jax, "torch": _torch}[engine](engine)
    inputs = [prepare(photograph) for photograph in photographs]
    logits, seconds = _timed(read, inputs)
    labels = [path.parent.name for path in paths]
    arrays: dict[str, Any] = {"logits": np.concatenate(logits), "labels": labels}
    arrays["classes"] = np.array(classes, str)
    arrays |= {"seconds": seconds, "bytes": _peak()}
    _, seconds = _timed(descend, spread(inputs, _GRADIENTS.value))
    arrays |= {"gradient_seconds": seconds, "gradient_bytes": _peak()}
    np.savez(out, **arrays)


def _timed(call: Callable[[Any], Any], inputs: Sequence[Any]) -> tuple[list[np.ndarray], float]:
    """Results of calls, and the median of the core's seconds, after a first one that compiles."""
    call(inputs[0])
    results, times = [], []
    for each in inputs:
        start = time.process_time()
        results.append(np.asarray(call(each)))
        times.append(time.process_time() - start)
    return results, statistics.median(times)


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _jax(engine: str) -> Network:
    """The network of a file of weights, in floating or fixed point."""
    import jax
    import jax.numpy as jnp

    from raeg_jax.exact.folding import fold_classifier
    from raeg_jax.networks.classifiers import FrozenClassifier
    from raeg_jax.networks.weights import load_weights

    network, variables = load_weights(_WEIGHTS.value[0])
    classifier: Any = FrozenClassifier(network.module, variables)
    if engine == "fixed":
        classifier = fold_classifier(network.architecture, network.module, variables)

    @jax.jit
    def descend(classifier, images):
        def loss(images):
            return -jnp.max(jax.nn.log_softmax(classifier(images)))

        return jax.grad(loss)(images)

    read = jax.jit(lambda classifier, images: classifier(images))
    return (
        lambda images: read(classifier, images),
        lambda images: descend(classifier, images),
        lambda photograph: jnp.asarray(photograph[None], jnp.float32),
    )


def _torch(engine: str) -> Network:
    """PyTorch's network of the same weights."""
    import torch

    from raeg_jax.networks.weights import describe_weights

    del engine
    torch.set_num_threads(1)
    network = describe_weights(_WEIGHTS.value[0])
    state = torch.load(_TORCH.value[0], map_location="cpu", weights_only=True)
    if "_conv_stem.weight" in state:
        from efficientnet_lite_pytorch import EfficientNet

        module = EfficientNet.from_name(network.architecture.replace("_", "-"))
    elif network.architecture.startswith("efficientnet_lite"):
        import timm

        module = timm.create_model(f"tf_{network.architecture}", num_classes=network.num_classes)
    else:
        import torchvision

        module = torchvision.models.get_model(network.architecture, num_classes=network.num_classes)
    module.load_state_dict(state)
    module.eval().requires_grad_(False)
    preprocessing = network.preprocessing
    mean, std = (torch.tensor(x)[:, None, None] for x in (preprocessing.mean, preprocessing.std))

    def read(images):
        with torch.no_grad():
            return module((images - mean) / std)

    def descend(images):
        images = images.clone().requires_grad_()
        torch.log_softmax(module((images - mean) / std), 1).max().neg().backward()
        return images.grad

    def prepare(photograph):
        return torch.tensor(photograph.transpose(2, 0, 1)[None].copy(), dtype=torch.float32)

    return read, descend, prepare


def summary(measured: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """What the processes of one file of weights measured, and how far they are from the first."""
    from raeg_jax.networks import imagenet

    results: dict[str, Any] = {}
    expected = measured["float"]["logits"]
    for engine, arrays in measured.items():
        logits = arrays["logits"]
        results[engine] = {
            "seconds": round(float(arrays["seconds"]), 4),
            "gradient_seconds": round(float(arrays["gradient_seconds"]), 4),
            "MiB": round(float(arrays["bytes"]) / 2**20),
            "gradient_MiB": round(float(arrays["gradient_bytes"]) / 2**20),
        }
        if engine != "float":
            difference = float(np.abs(logits - expected).max())
            results[engine] |= {
                "largest_difference": difference,
                "share_of_largest_logit": difference / float(np.abs(expected).max()),
                "other_readings": int(np.sum(logits.argmax(1) != expected.argmax(1))),
            }
        labels, classes = arrays["labels"], arrays["classes"]
        places = imagenet.indices(classes.tolist())
        if classes.size and places is not None and logits.shape[1] == len(imagenet.classes()):
            rows = np.isin(labels, classes)
            readings = classes[logits[rows][:, places].argmax(1)]
            results[engine]["closed_set_accuracy"] = float(np.mean(readings == labels[rows]))
    return results | {"photographs": len(expected)}


if __name__ == "__main__":
    command_line.run_without_config(main)
