"""The compiled programs of the evaluation: protect, recover, classify, compare, and two controls.

The controls are what an irreversible change of the same size would do: Gaussian noise and PGD. Both
get, image by image, the L2 distance that the protected file has from its original. The PSNR then is
the same too, up to rounding; it is reported beside.

They are jitted once for the module, so that both splits and every evaluation inside the training
loop share one compilation. Generators and classifiers are pytrees: their weights are arguments
and not constants of the program, and their modules are compared by their fields. `measure_all` runs
them on a split in batches of one size.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.adversarial.pgd import gaussian_noise, pgd_l2, pgd_on_features
from raeg_jax.compilation import ProgressBar
from raeg_jax.data.decode import encode_png, to_rgb
from raeg_jax.data.memory import DecodedOnDemand
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.learned_pattern import Place
from raeg_jax.image import metrics
from raeg_jax.image.quantise import to_uint8
from raeg_jax.networks.classifiers import FrozenClassifier, LogitsFn
from raeg_jax.networks.layers import own_preprocessing
from raeg_jax.protection.predict import read_together

# Corrections of the noise's length; each leaves a small part of the error before it.
_CORRECTIONS = 8


def on_one_device(tree: Any) -> Any:
    """Copies a pytree of arrays to this process's first device: evaluation uses one.

    Arrays that are committed to the devices of training would have every program compiled anew.
    """

    def copy(x):
        is_free = isinstance(x, jax.Array) and not x.committed
        return x if is_free else jax.device_put(jax.device_get(x))

    return jax.tree.map(copy, tree)


@jax.jit
def protect(
    generator: Chain,
    images: jax.Array,
    labels: jax.Array,
    token: jax.Array | None = None,
    place: Place | None = None,
) -> tuple[jax.Array, jax.Array, tuple[Any, ...]]:
    """Runs the generator forward, rounds and clips.

    Args:
      generator: its stages.
      images: uint8 [B, H, W, 3].
      labels: int32 [B].
      token: as `protectors.draw_token` makes it for the generator.
      place: as `protectors.draw_place` makes it for the generator.

    Returns:
      The protected images, uint8 [B, H, W, 3]; per image, float32 [B], the share of samples
      outside 0..255 after rounding, which clipping changes for good; and the side information
      that `recover` needs.
    """
    y, side_info = generator.forward(images.astype(jnp.float32), labels, token, place=place)
    rounded = jnp.round(y)
    outside = (rounded < 0) | (rounded > 255)
    return to_uint8(y), jnp.mean(outside, axis=(1, 2, 3), dtype=jnp.float32), side_info


@jax.jit
def recover(
    generator: Chain,
    images: jax.Array,
    side_info: tuple[Any, ...],
    token: jax.Array | None = None,
    place: Place | None = None,
) -> jax.Array:
    """Runs the generator backward: protected to recovered images, uint8 [B, H, W, 3]."""
    values = generator.inverse(images.astype(jnp.float32), side_info, token, place=place)
    return to_uint8(values)


@jax.jit
def classify(classifiers: Mapping[str, LogitsFn], images: jax.Array) -> dict[str, jax.Array]:
    """Classifies images, uint8 [B, H, W, 3]: int32 [B] class numbers by classifier."""
    images = images.astype(jnp.float32)
    return {name: jnp.argmax(fn(images), axis=-1) for name, fn in classifiers.items()}


def labels_of_attack(
    targets: Sequence[LogitsFn], images: np.ndarray, labels: np.ndarray, batch_size: int = 0
) -> np.ndarray:
    """The classes that an attack on targets leads away from.

    Args:
      targets: all with the data set's classes or all with their own.
      images: the originals, uint8 [N, H, W, 3].
      labels: int [N], the true classes.
      batch_size: images at a time; 0 for all.

    Returns:
      int [N]: the true classes, or what published targets read on the whole images together, each
      through its own preprocessing, as `protection.protect` has it.
    """
    published = [
        target
        for target in targets
        if isinstance(target, FrozenClassifier) and own_preprocessing(target.module)
    ]
    return read_together(published, images, batch_size or len(images), 0) if published else labels


@jax.jit
def compare(images: jax.Array, originals: jax.Array) -> dict[str, jax.Array]:
    """Measures images against their originals, both uint8 [B, H, W, 3].

    Returns:
      float32 [B] each: `psnr` in decibels (infinite for equal images), `ssim`, `equal` (share of
      pixels of which all three samples are equal) and `distance` (L2 norm of the difference, in
      pixel units); and bool [B]: `exact`, whether all pixels are equal.
    """
    difference = images.astype(jnp.float32) - originals.astype(jnp.float32)
    equal = jnp.all(difference == 0, axis=-1)
    return {
        "psnr": metrics.psnr(images, originals),
        "ssim": metrics.ssim(images, originals),
        "equal": jnp.mean(equal, axis=(1, 2), dtype=jnp.float32),
        "exact": jnp.all(equal, axis=(1, 2)),
        "distance": jnp.sqrt(jnp.sum(difference**2, axis=(1, 2, 3))),
    }


def png_roundtrip(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encodes each image as a PNG file and reads it back: what is reported exists on disk.

    Args:
      images: uint8 [B, H, W, 3].

    Returns:
      The images read back, uint8 [B, H, W, 3], and the size of each file in bytes, int64 [B].

    Raises:
      ValueError: no images, or of another type or shape.
    """
    files = [encode_png(image) for image in np.asarray(images)]
    if not files:
        raise ValueError("no images to write: got an empty batch")
    return np.stack([to_rgb(file) for file in files]), np.array([len(f) for f in files], np.int64)


class Stopwatch:
    """Wall time in seconds without what JAX compiles meanwhile.

    A context manager that can be entered again and again, but not while it is running.

    Attributes:
      seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds: float = 0.0
        self._thread: int | None = None

    def __enter__(self) -> "Stopwatch":
        if self._thread is not None:
            raise RuntimeError("the stopwatch is running already")
        self._thread = threading.get_ident()
        jax.monitoring.register_event_duration_secs_listener(self._leave_out)
        self.seconds -= time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        self.seconds += time.perf_counter()
        jax.monitoring.unregister_event_duration_listener(self._leave_out)
        self._thread = None

    def _leave_out(self, event: str, duration_secs: float, **_) -> None:
        # What other threads compile takes none of this one's time.
        if event.startswith("/jax/core/compile/") and threading.get_ident() == self._thread:
            self.seconds -= duration_secs


def batches(
    images: np.ndarray | DecodedOnDemand, labels: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Batches of one size, so that everything is compiled once.

    The last image is repeated where the last batch is not full.

    Args:
      images: uint8 [N, H, W, 3], or what gives them for indices.
      labels: int [N].
      batch_size: images at a time, B.

    Yields:
      The images' numbers, int32 [B]; the images, uint8 [B, H, W, 3]; the labels, int32 [B]; and
      how many of them are no repetitions.

    Raises:
      ValueError: no images, not as many labels, or a batch size below one.
    """
    if not len(images) or len(images) != len(labels):
        raise ValueError(f"need images and as many labels, got {len(images)} and {len(labels)}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    for start in range(0, len(images), batch_size):
        index = np.minimum(np.arange(start, start + batch_size), len(images) - 1)
        batch = np.asarray(images[index]), np.asarray(labels[index], np.int32)
        yield index.astype(np.int32), *batch, min(batch_size, len(images) - start)


def measure_all(
    measure: Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[Any, Any]],
    images: np.ndarray | DecodedOnDemand,
    labels: np.ndarray,
    batch_size: int,
    description: str = "",
) -> dict[Any, np.ndarray]:
    """Measures something of every image, batch by batch.

    Args:
      measure: from numbers, images and labels, as `batches` has them, to arrays [B, ...] by name.
      images: as `batches`.
      labels: as `batches`.
      batch_size: as `batches`.
      description: what a progress bar says, in the main process only; no bar where empty. It
        begins by saying that it compiles.

    Returns:
      Arrays [N, ...] by name.

    Raises:
      ValueError: as `batches`.
    """
    rows = []
    with ProgressBar(
        total=len(labels),
        desc=f"{description}: compiling (the first batch takes longest)",
        unit="img",
        disable=not description or jax.process_index() != 0,
    ) as bar:
        for *batch, count in batches(images, labels, batch_size):
            measured = measure(*batch)
            rows.append({name: np.asarray(values)[:count] for name, values in measured.items()})
            bar.set_description(description)
            bar.update(count)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


@jax.jit
def noise_control(
    seed: jax.Array, index: jax.Array, images: jax.Array, distance: jax.Array
) -> jax.Array:
    """Adds Gaussian noise of a given length, counted after rounding and clipping.

    Clipping takes a good part of the noise where an image is white or black. So the noise is made
    longer until the file is as far from its original as asked, or nearly: rounding to whole
    numbers and areas with little room set a limit.

    Args:
      seed: int scalar.
      index: int32 [B], each image's number: its noise depends on nothing else but the seed.
      images: uint8 [B, H, W, 3].
      distance: float32 [B], L2 norms in pixel units.

    Returns:
      uint8 [B, H, W, 3].
    """
    originals = images.astype(jnp.float32)
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(index)

    def noisy(length):
        added = jax.vmap(lambda key, x, r: gaussian_noise(key, x[None], r[None])[0])
        return to_uint8(added(keys, originals, length))

    def correct(_, length):
        change = noisy(length).astype(jnp.float32) - originals
        reached = jnp.sqrt(jnp.sum(change**2, axis=(1, 2, 3)))
        # At most doubled: an image without room must not ask for endless noise.
        return length * jnp.clip(distance / jnp.maximum(reached, 1e-6), 0.5, 2.0)

    return noisy(jax.lax.fori_loop(0, _CORRECTIONS, correct, distance))


@functools.partial(
    jax.jit, static_argnames=("steps", "targeted", "momentum", "crop_share", "features")
)
def pgd_control(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    distance: jax.Array,
    steps: int,
    targeted: bool = False,
    momentum: float = 0.0,
    crop_share: float = 1.0,
    features: bool = False,
) -> jax.Array:
    """Attacks all target classifiers together by projected gradient descent, white box.

    Args:
      logits_fns: the targets.
      images: uint8 [B, H, W, 3].
      labels: int32 [B], the classes that `labels_of_attack` returns, or with `targeted` those to be
        read instead.
      distance: float32 [B], greatest L2 norms in pixel units, before rounding.
      steps: of the descent.
      targeted: go toward `labels` rather than away from them.
      momentum: as of `pgd_l2`.
      crop_share: as of `pgd_l2`.
      features: lead their features away from the originals', whatever the labels.

    Returns:
      uint8 [B, H, W, 3].
    """
    originals = images.astype(jnp.float32)
    how: dict[str, Any] = {"steps": steps, "momentum": momentum, "crop_share": crop_share}
    if features:
        return to_uint8(pgd_on_features(logits_fns, originals, distance, **how))
    return to_uint8(pgd_l2(logits_fns, originals, labels, distance, **how, targeted=targeted))
