"""The encoder compiled for the processor by OpenVINO: the same numbers as torch's, faster."""

from __future__ import annotations

from importlib.util import find_spec
from threading import local
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from napari_cellinterp.config import PATCH_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_cellinterp.models.vae import Encoder

    Array = NDArray[np.float32]

BATCH = 64
"""Patches in a forward pass; the first layers' outputs of larger ones fall out of the cache."""


def is_available() -> bool:
    """Whether OpenVINO is installed (``pip install "napari-cellinterp[fast]"``)."""
    return find_spec("openvino") is not None


class CompiledEncoder:
    """The mean of the latents, as `Encoder.encode` gives it, to about 1e-5.

    Threads may call it at the same time; each pass runs on one core.

    Parameters
    ----------
    encoder : Encoder
        On the processor, in evaluation mode.
    n_threads : int
        How many threads will call it at the same time.
    """

    def __init__(self, encoder: Encoder, n_threads: int) -> None:
        import openvino

        # Each stream is one core that works on a batch of its own.
        options = {
            "NUM_STREAMS": n_threads,
            "INFERENCE_NUM_THREADS": n_threads,
            "ENABLE_CPU_PINNING": False,
            # else processors that have bfloat16 units round to three digits: other scores than on other machines
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._n_channels, self._n_latents = encoder.n_channels, encoder.n_latents
        self._compiled = openvino.Core().compile_model(_graph(encoder), "CPU", options)
        self._of_thread = local()

    def __call__(self, x: Array) -> Array:
        """Return the mean of the latents, (n, n_latents) float32, of patches (n, n_channels, 64, 64) float32."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        request = self._of_thread.request
        latents = np.empty((len(x), self._n_latents), np.float32)
        for start in range(0, len(x), BATCH):
            batch = x[start : start + BATCH]
            n = len(batch)
            if n < BATCH:  # the graph is compiled for one size of batch
                batch = np.concatenate([batch, np.zeros((BATCH - n, *x.shape[1:]), np.float32)])
            latents[start : start + n] = request.infer(batch, share_inputs=True, share_outputs=True)[0][:n]
        return latents


def _graph(encoder: Encoder) -> Any:
    from openvino import Model
    from openvino import opset13 as ops

    def constant(tensor: Tensor, *shape: int) -> Any:
        return ops.constant(tensor.detach().numpy().reshape(shape or tuple(tensor.shape)))

    def linear(node: Any, layer: nn.Linear) -> Any:
        return ops.add(ops.matmul(node, constant(layer.weight), False, True), constant(layer.bias, 1, -1))

    patches = ops.parameter([BATCH, encoder.n_channels, PATCH_PX, PATCH_PX], np.float32)
    node = patches
    for layer in encoder.convolutions:
        if isinstance(layer, nn.Conv2d):
            padding = layer.padding
            node = ops.convolution(node, constant(layer.weight), layer.stride, padding, padding, layer.dilation)
            node = ops.add(node, constant(layer.bias, 1, -1, 1, 1))  # type: ignore[arg-type]
        else:
            node = ops.mish(node)
    node = ops.reshape(node, ops.constant(np.array([BATCH, -1])), False)
    hidden: nn.Linear = encoder.hidden[0]  # type: ignore[assignment]
    return Model([linear(ops.mish(linear(node, hidden)), encoder.mean)], [patches])
