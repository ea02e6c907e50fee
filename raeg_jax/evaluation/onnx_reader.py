"""ONNX models as networks of readers, run by onnxruntime on the CPU.

A model takes one batch of images, [N, 3, H, W] or [N, H, W, 3], and gives one [N, K]. Nothing in
such a file runs but the operators that onnxruntime itself has.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from raeg_jax.errors import UserError
from raeg_jax.networks.preprocessing import Preprocessing

SUFFIX = ".onnx"
# Of what published models keep of the resized side: 224 of 256.
_CROP_OF_RESIZED = 224 / 256
_FATAL = 4


class OnnxModel(NamedTuple):
    """A model that is ready to run.

    Attributes:
      run: from uint8 [B, S, S, 3] to float32 [B, K], with any B, or the fixed one.
      preprocessing: what `run` expects of a photograph, whose values it scales itself.
      num_classes: K.
      batch_size: the only B that the model takes; None for any.
    """

    run: Callable[[np.ndarray], np.ndarray]
    preprocessing: Preprocessing
    num_classes: int
    batch_size: int | None


def load_onnx(path: pathlib.Path, preprocess: str = "") -> OnnxModel:
    """Loads a model, and runs it once.

    Args:
      path: of the file; weights that it keeps in others lie beside it.
      preprocess: what the model expects, as `Preprocessing.parse` takes it. What is left out is as
        for torchvision's first weights, and the crop of the size that the file says. A model that
        takes uint8 gets the pixels as they are.

    Raises:
      UserError: the file or onnxruntime is missing, or it isn't a model of the kind above.
    """
    session = _open(path)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, and a reader takes one "
            "batch of images and gives one of logits: export the model with one of each"
        )
    types = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
    shape, dtype = inputs[0].shape, types.get(inputs[0].type)
    if dtype is None:
        raise UserError(
            f"{path} takes {inputs[0].type}, and a reader's input is float32 or uint8: export the "
            "model with one of these"
        )
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise UserError(
            f"{path} takes {_text(shape)}, and a reader's input is [N, 3, H, W] or [N, H, W, 3]: "
            "export the model for batches of colour images"
        )
    channels_first = shape[1] == 3
    size = shape[2:] if channels_first else shape[1:3]
    preprocessing = _preprocessing(path, size, preprocess)
    if dtype == np.uint8:
        preprocessing = dataclasses.replace(preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3)
    mean, std = np.array([preprocessing.mean, preprocessing.std], np.float32)
    batch_size = shape[0] if isinstance(shape[0], int) else None

    def run(images: np.ndarray) -> np.ndarray:
        batch = images if dtype == np.uint8 else (images.astype(np.float32) - mean) / std
        if channels_first:
            batch = batch.transpose(0, 3, 1, 2)
        batch = np.ascontiguousarray(batch, dtype)
        try:
            return session.run(None, {inputs[0].name: batch})[0]
        except Exception as error:
            # Its errors have no base class but Exception.
            raise UserError(
                f"{path} can't be run on images {_text(batch.shape)}: {_first_line(error)}; give "
                "--preprocess the crop that it takes"
            ) from error

    # What a file says of its output may be symbolic, or nothing.
    count = batch_size or 2
    logits = run(np.zeros((count, preprocessing.crop, preprocessing.crop, 3), np.uint8))
    if not isinstance(logits, np.ndarray) or logits.dtype.kind not in "fiu":
        raise UserError(
            f"{path} gives no array of numbers, and a reader's output is [N, K], the logits of K "
            "classes: export the classifier alone"
        )
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:
        raise UserError(
            f"{path} gives {_text(logits.shape)} for {count} images, and a reader's output is "
            f"[{count}, K], the logits of K classes: export the classifier alone"
        )
    return OnnxModel(
        lambda images: run(images).astype(np.float32), preprocessing, logits.shape[1], batch_size
    )


def _open(path: pathlib.Path) -> Any:
    try:
        # An optional extra.
        import onnxruntime
    except ImportError:
        raise UserError(
            f"{path} needs onnxruntime, which isn't installed: pip install 'raeg-jax[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    # What is wrong is said once, by us.
    options.log_severity_level = _FATAL
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # Its errors have no base class but Exception.
        raise UserError(
            f"{path} can't be used, it is no ONNX model or a damaged one: {_first_line(error)}; "
            "export it again"
        ) from error


def _preprocessing(path: pathlib.Path, size: list[Any], preprocess: str) -> Preprocessing:
    """What goes with the height and width of the input, which are ints where the file says them.

    Raises:
      UserError: images that aren't squares, or another size than the crop that was given.
    """
    known = sorted({side for side in size if isinstance(side, int)})
    if len(known) == 2:
        raise UserError(
            f"{path} takes images of {size[0]} x {size[1]} pixels, and a reader's are squares: "
            "export the model for these"
        )
    if not known:
        return Preprocessing.parse(preprocess)
    default = Preprocessing(resize=round(known[0] / _CROP_OF_RESIZED), crop=known[0])
    given = Preprocessing.parse(preprocess, default)
    if given.crop != known[0]:
        raise UserError(
            f"--preprocess={preprocess} has crop={given.crop}, and {path} takes images of "
            f"{known[0]} x {known[0]} pixels: write crop={known[0]}"
        )
    return given


def _text(shape: Any) -> str:
    return f"[{', '.join(str(side) for side in shape)}]"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
