"""What flows into a model's matrices when it reads texts: the data that choices are made with."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.encoding import Text
from attnlab.classification.structure import matrices
from attnlab.errors import DataError, ModelError


def watched(
    clf: Classifier,
    texts: Sequence[Text] | None,
    names: Sequence[str],
    see: Callable[[str, Tensor], None],
) -> None:
    """Read texts and show what each of these matrices is given, padding left out.

    A matrix that several layers share is given the inputs of each.

    Parameters
    ----------
    texts : calibration texts
    names : of `classification.structure.matrices`, inside layers
    see : called with the name and its inputs (tokens, I), for every batch

    Raises
    ------
    DataError : no texts
    """
    if texts is None or isinstance(texts, str) or not len(texts):
        raise DataError(
            "Calibration texts are missing: some hundred texts of the kind that the model is for, "
            "without labels, such as splits.train.texts[:500]."
        )
    places, real, handles = matrices(heads.model_of(clf)), torch.empty(0), []

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, inputs: see(name, inputs[0].detach()[real])

    try:
        for name in names:
            handles.append(places[name].module.register_forward_pre_hook(hook(name)))
        encoded = clf.encode(list(texts))
        with torch.inference_mode():
            for group in encoded.batches():
                batch = {key: column.to(clf.device) for key, column in encoded.batch(group).items()}
                real = batch["attention_mask"].bool()
                heads.run(clf, batch, None)
    finally:
        for handle in handles:
            handle.remove()


def moments(
    clf: Classifier, texts: Sequence[Text] | None, names: Sequence[str]
) -> dict[str, Tensor]:
    """Mean of x xᵀ over the tokens, with a last entry of x that is always 1.

    Returns
    -------
    dict from matrix to (I + 1, I + 1), float64: the last row holds the means
    """
    sums: dict[str, Tensor] = {}

    def add(name: str, inputs: Tensor) -> None:
        extended = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1).double()
        product = extended.T @ extended
        sums[name] = sums[name] + product if name in sums else product

    watched(clf, texts, names, add)
    if lacking := sorted(set(names) - set(sums)):
        raise ModelError(f"Nothing flowed into {', '.join(lacking)}: the layer has no heads left.")
    return {name: total / total[-1, -1] for name, total in sums.items()}
