"""The forward pass that every answer comes from: deterministic, controlled, and checked."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from attnlab.errors import ModelError
from attnlab.heads.control import KEYWORD, HeadControl, attached, in_force
from attnlab.heads.families import model_of
from attnlab.heads.settings import HeadSettings
from attnlab.inference import check_finite, evaluating


def run(target: Any, inputs: dict[str, Tensor], settings: HeadSettings | None = None) -> Tensor:
    """Return what a model answers to a batch: its logits (or last hidden states), float32.

    Every entry point that asks a model goes through here or through `record`, so what is refused
    here is refused by all. Dropout is off meanwhile, also where the model is being trained, and
    comes back as it was.

    Parameters
    ----------
    target : Classifier, Tagger, or a Transformers model, also in a wrapper
    inputs : tensors for its forward call
    settings : of heads, for this call only; None takes those of an `applied` block around the call,
        else the model as it stands. Gradients reach them.

    Raises
    ------
    ModelError : answers that are not finite, with the weights at fault; settings that did not act;
        weights in number formats that do not go together
    """
    settings = in_force(target) if settings is None else settings
    control = None if settings is None else HeadControl(model_of(target), settings)
    with ready(target) as call:
        output = call(**inputs, **{KEYWORD: control})
    logits = (output.logits if hasattr(output, "logits") else output[0]).float()
    if control is not None:
        control.check_acted()
    return check_finite(model_of(target), logits)


@contextlib.contextmanager
def ready(target: Any) -> Iterator[nn.Module]:
    """What is to be called for a forward pass, ready for an answer while the block lasts."""
    call: Any = target if isinstance(target, nn.Module) else target.model
    try:
        with evaluating(call), attached(model_of(target)):
            yield call
    except RuntimeError as error:
        formats = {weight.dtype for weight in call.parameters() if weight.is_floating_point()}
        if len(formats) == 1 or "dtype" not in str(error):
            raise
        names = " and ".join(sorted(str(format).removeprefix("torch.") for format in formats))
        raise ModelError(
            f"Some of this model's weights are {names}, and these do not go together: {error}. "
            "Bring all to one number format, such as clf.model.float()."
        ) from error
