"""BERT and its family as sentence classifiers: predict, attend, save."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from attnlab import heads
from attnlab.classification.adapter_files import save_adapter
from attnlab.classification.base import BaseClassifier, Predictions
from attnlab.classification.belonging import (
    check_parts,
    check_text_kinds,
    longest_text,
    refuse_other_tasks,
)
from attnlab.classification.encoding import (
    Encoded,
    Text,
    encode,
    shown,
    special_ids,
)
from attnlab.classification.fingerprints import base_fingerprint
from attnlab.classification.merging_adapters import merged
from attnlab.classification.saving import quietly, whole_folder
from attnlab.classification.structure import write_model
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError, ModelError
from attnlab.heads.maps import AttentionMaps
from attnlab.heads.settings import HeadSettings
from attnlab.training.history import History


class Classifier(BaseClassifier):
    """A fine-tuned sentence classifier: of the BERT family, or a decoder such as GPT-2.

    Attributes
    ----------
    model : the plain Transformers model in float32 (adapters merged), usable on its own; after
        prefix tuning, which cannot be merged, peft's wrapper around it
    tokenizer : its tokenizer
    label_names : list of C str
    layers, heads : size of its attention; heads removed for good still count
    device : torch.device
    max_length : tokens a text may have; longer texts are cut, and that is said
    history : History of its training, if it was trained here

    Raises
    ------
    ModelError : parts that do not belong together, such as a tokenizer of another model, or a model
        that does not choose one label of several
    """

    task = "ForSequenceClassification"
    reads = "texts"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        label_names: list[str],
        history: History | None = None,
    ):
        label_names = list(label_names)
        check_parts(model, tokenizer, label_names, self.task)
        self.model: Any = heads.attach(model.eval())
        self.tokenizer = tokenizer
        self.label_names = label_names
        self.history = history
        self.layers, self.heads = heads.size(model)
        self.max_length = longest_text(self.config, tokenizer, heads.prefix(model))

    def with_model(self, model: Any) -> "Classifier":
        """Return the same tokenizer and labels around another model."""
        return Classifier(model, self.tokenizer, self.label_names, self.history)

    def encode(self, texts: Sequence[Text]) -> Encoded:
        """Tokenise texts, or pairs of texts.

        Raises DataError for a text that is empty or no string. Texts above ``max_length`` tokens
        are cut, with an AttnlabWarning that says how many.
        """
        if self.task == "ForSequenceClassification":
            refuse_other_tasks(self.config)  # training may have changed it
        encoded = encode(self.tokenizer, texts, self.max_length)
        if "token_type_ids" in encoded.columns:
            check_text_kinds(self.config, 1 + encoded.columns["token_type_ids"].max(initial=0))
        return encoded

    def inputs_of(self, dataset: Any) -> list[str]:
        """Return the texts of a labelled data set; DataError for another kind of data set."""
        if not isinstance(dataset, TextDataset):
            raise DataError(
                f"{dataset!r} has no labels to measure against. Use a labelled data set."
                if not hasattr(dataset, "labels")
                else f"{dataset!r} holds no texts, and this classifier reads texts. For images "
                "there is al.load_image_classifier."
            )
        return dataset.texts

    def predict(self, texts: Sequence[Text], settings: HeadSettings | None = None) -> Predictions:
        """Answer texts, or pairs: return N label names and probabilities (N, C).

        Parameters
        ----------
        texts : list of str, or of (str, str)
        settings : HeadSettings for this call only; a stack gives each text its own

        Dropout is off, so the answer is the same each time, also while the model is trained: its
        mode comes back. ModelError for a model whose answers are not finite.
        """
        return self._predictions(self.encode(texts), settings)

    def attend(self, text: Text, settings: HeadSettings | None = None) -> AttentionMaps:
        """Return the attention of every layer and head over one text, or a pair.

        With settings that are not neutral the result carries the neutral maps too, of the same
        text. Without, those of an `applied` block around the call hold.
        """
        encoded = self.encode([text])
        ids = encoded.ids(0)
        return self._maps(
            encoded,
            settings,
            tokens=shown(self.tokenizer, text, ids, self.max_length),
            special=torch.tensor(np.isin(ids, special_ids(self.tokenizer))),
            second_start=self._second_start(text) if isinstance(text, tuple) else None,
        )

    def _second_start(self, pair: tuple[str, str]) -> int | None:
        """At which token the second text of a pair begins; None if nothing of it is left."""
        encoded = self.tokenizer(*pair, truncation=True, max_length=self.max_length)
        sequence = encoded.sequence_ids(0)
        return sequence.index(1) if 1 in sequence else None

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write model and tokenizer to a folder for `load_classifier`; whole or not at all.

        Adapters of peft are merged into what is written, and the classifier stays as it is. A
        prefix cannot be merged: then the adapter is written, with a note of its base.
        """
        self.model.config.id2label = dict(enumerate(self.label_names))
        self.model.config.label2id = {name: index for index, name in enumerate(self.label_names)}
        if heads.prefix(self.model):
            save_adapter(self.model, self._record(), folder)
            return Path(folder)
        with whole_folder(folder) as partial, quietly():
            write_model(merged(self.model), partial)
            self.tokenizer.save_pretrained(partial)
        return Path(folder)

    def export(
        self,
        folder: str | os.PathLike[str],
        quantize: Literal["int8"] | None = None,
        overwrite: bool = False,
        data: TextDataset | None = None,
        calibrate: Sequence[Text] | None = None,
    ) -> Path:
        """Write a folder for ONNX Runtime, whole or not at all; `load_classifier` reads it, too.

        It holds the graph (model.onnx), tokenizer, labels and a card that says what was done to the
        model, which files belong to it, and how to run it without attnlab. Head settings are
        optional inputs, neutral by default; attention weights are an optional output.

        Parameters
        ----------
        folder : a new one, or one that holds a model
        quantize : "int8" for a file of a quarter of the size, which is faster, too. Activations are
            rounded by the range in their batch, so a text's logits depend a little on the texts
            it is asked with. Without it weights stay float32, and logits are the same up to 1e-4.
        overwrite : put the export in place of the model that is in the folder
        data : labelled texts: the card has accuracy before and after, and a significant loss is
            said in an AttnlabWarning
        calibrate : some hundred texts, for int8: activations are rounded by the ranges that they
            have there, so that a text's logits are the same whatever it is asked with. Other texts
            may leave the ranges, and so may heads at more than twice their scale; then numbers are
            cut off. ``data`` says what that costs.

        Returns
        -------
        the folder

        Raises
        ------
        ModelError : a finished model is there, or other files; a full disk; a model with a prefix,
            or one whose forward pass cannot be written as a graph
        DataError : labels that the model does not know, or no texts to calibrate on
        MissingPackage : onnx or onnxruntime is not installed
        """
        from attnlab.classification.exporting import export

        return export(self, folder, quantize, overwrite, data, calibrate)

    def _record(self) -> dict[str, Any]:
        """What is noted beside a prefix; ModelError if its base is in no folder."""
        base = self.model.active_peft_config.base_model_name_or_path
        if not base:
            raise ModelError(
                "A prefix is saved without its base, and this one's is in no folder. Save the base "
                "with save_pretrained(folder), and note it: "
                "clf.model.active_peft_config.base_model_name_or_path = folder."
            )
        return {
            "base": str(Path(base).resolve()) if Path(base).is_dir() else str(base),
            "base_fingerprint": base_fingerprint(self.model, self.tokenizer),
            "label_names": self.label_names,
            "max_length": self.max_length,
        }
