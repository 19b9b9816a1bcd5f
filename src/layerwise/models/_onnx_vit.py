"""DINOv2's backbone out of an ONNX export of a larger network.

The exporter kept the names of biases, norms and scales, and folded every linear weight into a
nameless transposed constant. The name of the MatMul node that multiplies by it says which it is:
`/backbone/encoder/layer.0/mlp/fc1/MatMul`. The two nameless constants left are the position
embeddings: that of the class token `[1 1 d]`, and those of the patches `[1 p d]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_BACKBONE = "backbone."


def read_backbone(path: Path) -> dict[str, Tensor]:
    """Read the backbone's weights under the names they have in DINOv2 checkpoints.

    Args:
        path: ONNX file whose parameters of interest are called `backbone.*`.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path, load_external_data=False).graph
    constants = {
        c.name: torch.from_numpy(numpy_helper.to_array(c).copy()) for c in graph.initializer
    }
    weights = {
        name.removeprefix(_BACKBONE): value
        for name, value in constants.items()
        if name.startswith(_BACKBONE)
    }
    weights.update(_linear_weights(graph, constants))
    weights["embeddings.position_embeddings"] = _positions(graph, constants)
    return {name: value.contiguous() for name, value in weights.items()}


def _linear_weights(graph: Any, constants: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            layer = node.name.strip("/").replace("/", ".").removesuffix(".MatMul")
            found[f"{layer.removeprefix(_BACKBONE)}.weight"] = constants[node.input[1]].T
    return found


def _positions(graph: Any, constants: dict[str, Tensor]) -> Tensor:
    named = {name for name in constants if not name.startswith("onnx::")}
    multiplied = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    left = [value for name, value in constants.items() if name not in named | multiplied]
    return torch.cat(sorted(left, key=lambda value: value.shape[1]), 1)
