"""An ONNX graph of a classifier, run by ONNX Runtime."""

import json
import threading
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from attnlab.classification.export_card import check_file
from attnlab.classification.graphs import KNOBS, NOTE
from attnlab.device import has_int8_products
from attnlab.errors import ModelError, needs
from attnlab.files import understood
from attnlab.heads.settings import HeadSettings


class OnnxGraph:
    """An ONNX file, run by ONNX Runtime with as many threads as torch has.

    Parameters
    ----------
    path : of the file
    bytes, sha256 : size and hash that it must have
    """

    def __init__(self, path: Path, bytes: int, sha256: str):
        self.path, self._bytes, self._sha256 = path, bytes, sha256
        self._lock = threading.Lock()
        self._threads = 0
        session = self._session()
        self.names = {given.name for given in session.get_inputs()}
        knobs = session.get_overridable_initializers()
        self.names |= {knob.name for knob in knobs}
        with understood(path, "Export it again."):
            self.note = json.loads(session.get_modelmeta().custom_metadata_map[NOTE])
            self.size = int(self.note["layers"]), int(self.note["heads"])

    def run(
        self, outputs: list[str], inputs: dict[str, Tensor], settings: HeadSettings | None = None
    ) -> list[Tensor]:
        """Return some outputs for a batch.

        Parameters
        ----------
        outputs : their names
        inputs : name to Tensor (B, T); those that the graph has no use for are left out
        settings : one for all texts, or a stack with one for each; None is neutral

        Raises
        ------
        ModelError : what ONNX Runtime refuses, and outputs that are not finite
        """
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        given = dict(inputs)
        if settings is not None:
            for name in KNOBS:
                knob = getattr(settings, name).detach().cpu().float()
                given[name] = knob if knob.dim() == 3 else knob[None]
        arrays = {name: each.numpy() for name, each in given.items() if name in self.names}
        try:
            found = self._session().run(outputs, arrays, options)
        except ModelError:
            raise
        except Exception as error:  # a class of its own for each kind
            raise ModelError(f"ONNX Runtime cannot run {self.path}: {error}") from error
        if not all(np.isfinite(array).all() for array in found):
            raise ModelError(
                f"The {outputs[0]} of the exported model {self.path} are not finite. Ask the "
                "classifier that it was exported from, which says what is wrong."
            )
        return [torch.from_numpy(array) for array in found]

    def _session(self) -> Any:
        """What runs the graph, made anew when the number of threads has changed."""
        threads = torch.get_num_threads()
        with self._lock:
            if threads != self._threads:
                check_file(self.path, self._bytes, self._sha256)
                self._current = _session(self.path, threads)
                self._threads = threads
            return self._current

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing about it changes

    def __getstate__(self) -> dict[str, Any]:
        kept = ("path", "_bytes", "_sha256", "names", "note", "size")
        return {name: vars(self)[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _threads=0)


def _session(path: Path, threads: int) -> Any:
    """A session of ONNX Runtime; ModelError for a file that it cannot read."""
    with needs("lab"):
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # that scale and temperature are no constants is meant
    exact = not has_int8_products()
    if exact:  # else products of int8 may overflow; slower kernels cannot
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        graph = _with_weights_of_their_own(path) if exact else path
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a class of its own for each kind
        raise ModelError(f"ONNX Runtime cannot read {path}: {error}") from error


def _with_weights_of_their_own(path: Path) -> Path | bytes:
    """The graph without int8 weights that several nodes share, as ALBERT's layers do.

    ONNX Runtime 1.32 widens the weights of each node, and refuses those that it has widened before.
    """
    import onnx

    model = onnx.load(path)
    weights = {
        each.name: each
        for each in model.graph.initializer
        if each.data_type == onnx.TensorProto.INT8
    }
    seen: set[str] = set()
    copies = []
    for number, node in enumerate(model.graph.node):
        for place, name in enumerate(node.input):
            if name not in weights:
                continue
            if name in seen:
                copy = onnx.TensorProto()
                copy.CopyFrom(weights[name])
                copy.name = node.input[place] = f"{name}.{number}"
                copies.append(copy)
            seen.add(name)
    model.graph.initializer.extend(copies)
    return model.SerializeToString() if copies else path
