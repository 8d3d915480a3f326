"""An exported classifier, run by ONNX Runtime: the same answers, without PyTorch's weights."""

import os
import shutil
from pathlib import Path
from typing import Any, Never, Self

import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer

from attnlab import heads
from attnlab.classification.base import ModelInputs
from attnlab.classification.belonging import label_names_of, longest_text
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Indices
from attnlab.classification.export_card import read_card
from attnlab.classification.failures import explained_tokenizer, no_weights
from attnlab.classification.naming import GRAPH
from attnlab.classification.onnx_graph import OnnxGraph
from attnlab.classification.saving import quietly, whole_folder
from attnlab.errors import ModelError
from attnlab.files import understood
from attnlab.heads.settings import HeadSettings


class OnnxClassifier(heads.WithoutWeights, Classifier):
    """A classifier that `Classifier.export` wrote, run by ONNX Runtime on the CPU.

    It predicts, attends and takes head settings as the classifier it was exported from, also in
    `Evaluator`, `report` and `ablate`. What needs weights, gradients or hidden states raises a
    ModelError.

    Parameters
    ----------
    folder : that `Classifier.export` wrote

    Attributes
    ----------
    folder : Path
    card : dict, what export.json says: steps, accuracy before and after, versions, bytes
    tokenizer, label_names, layers, heads, max_length : as of a `Classifier`
    dtype : torch.int8 if its weights are quantised, else torch.float32

    Raises
    ------
    ModelError : a file that is missing, cut off or changed
    MissingPackage : onnxruntime is not installed

    Notes
    -----
    It computes in as many threads as ``torch.get_num_threads()`` says at each call.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).resolve()
        self.card = read_card(self.folder)
        with understood(self.folder / "config.json", "Export it again."), quietly():
            config = AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
            self.label_names = label_names_of(config)
            with explained_tokenizer(self.folder):
                self.tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        self.history = None
        self.loaded_from = str(folder)
        self.max_length = longest_text(config, self.tokenizer, prefix=0)
        entry = self.card["files"][GRAPH]
        self.sha256 = entry["sha256"]
        self._config = config
        self._graph = OnnxGraph(self.folder / GRAPH, entry["bytes"], self.sha256)
        self.layers, self.heads = self._graph.size
        table = getattr(config, heads.PRUNED, None) or {}
        self.removed_heads = [(int(layer), head) for layer, gone in table.items() for head in gone]
        self.dtype = torch.int8 if self._graph.note["quantize"] else torch.float32

    @property
    def model(self) -> Never:
        """Raise ModelError: the weights are not here; it says which classifier has them."""
        raise no_weights(self.folder)

    @property
    def config(self) -> Any:
        """Its configuration, as of a Transformers model."""
        return self._config

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> Self:
        """Return the same classifier; ModelError for anything but the CPU."""
        if torch.device(device).type != "cpu":
            raise ModelError(
                f"The exported model in {self.folder} runs on the CPU, not on {device}. Leave the "
                "device out, or load the classifier that it was exported from."
            )
        return self

    def with_model(self, model: Any) -> Classifier:
        """Return the same tokenizer and labels around a model of Transformers."""
        return Classifier(model, self.tokenizer, self.label_names)

    def parameters(self) -> int:
        """Return the number of parameters."""
        return self._graph.note["parameters"]

    def logits(
        self,
        encoded: ModelInputs,
        indices: Indices | None = None,
        settings: HeadSettings | None = None,
        fast: bool = False,
        stop: Any = None,
    ) -> Tensor:
        """Return logits (N, C), float32, as `Classifier.logits`; ``fast`` changes nothing."""
        return super().logits(encoded, indices, settings, False, stop)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Copy the export to another folder, whole or not at all."""
        read_card(self.folder)
        with whole_folder(folder) as partial:
            shutil.copytree(self.folder, partial, dirs_exist_ok=True)
        return Path(folder)

    def export(self, *args: Any, **kwargs: Any) -> Never:
        """Raise ModelError: it is exported; `save` copies it."""
        raise no_weights(self.folder)

    def _answers(self, inputs: dict[str, Tensor], settings: HeadSettings | None) -> Tensor:
        return self._graph.run(["logits"], inputs, settings)[0]

    def _attention(
        self, inputs: dict[str, Tensor], settings: HeadSettings
    ) -> tuple[Tensor, Tensor]:
        weights, norms = self._graph.run(["attentions", "value_norms"], inputs, settings)
        return weights, norms

    def __repr__(self) -> str:
        return (
            f"OnnxClassifier({self._config.model_type}, {self.layers} layers x {self.heads} heads, "
            f"{str(self.dtype).removeprefix('torch.')}, {self.card['bytes'] / 1e6:.1f} MB, labels "
            f"{self.label_names})"
        )
