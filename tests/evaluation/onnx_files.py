"""Small ONNX models: the mean colour of an image, times a matrix."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FIRST, LAST = ("N", 3, 8, 8), ("N", 8, 8, 3)
WEIGHTS = np.array([[1, 0, 0, 0.5], [0, 1, 0, 0.25], [0, 0, 1, 0.125]], np.float32)


def write(path, shape=FIRST, kind=TensorProto.FLOAT, inputs=1, outputs=1, pooled=True):
    """Writes a model of 4 classes.

    Args:
      path: of the file.
      shape: of the input: channels first or last.
      kind: of its values.
      inputs: how many, whose sum is classified.
      outputs: how many, all the same.
      pooled: whether there is one row of logits an image, or one for each pixel.
    """
    names = [f"images{number}" for number in range(inputs)]
    nodes = [helper.make_node("Cast", [name], [f"{name}f"], to=TensorProto.FLOAT) for name in names]
    nodes.append(helper.make_node("Sum", [f"{name}f" for name in names], ["sum"]))
    last = "sum"
    if len(shape) == 4 and shape[1] == 3:
        nodes.append(helper.make_node("Transpose", ["sum"], ["last"], perm=[0, 2, 3, 1]))
        last = "last"
    if pooled and len(shape) == 4:
        nodes.append(helper.make_node("ReduceMean", [last], ["mean"], axes=[1, 2], keepdims=0))
        last = "mean"
    weights = WEIGHTS if 3 in shape else np.zeros((shape[-1], 4), np.float32)
    results = [f"logits{number}" for number in range(outputs)]
    nodes += [helper.make_node("MatMul", [last, "weights"], [name]) for name in results]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, kind, shape) for name in names],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path
