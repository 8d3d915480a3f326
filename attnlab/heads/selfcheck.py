"""Prove on a model of your own that the control of its heads is real."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from attnlab.errors import AttnlabError, ModelError, SettingsError
from attnlab.heads.control import applied, attach
from attnlab.heads.families import columns, model_of, removed, sharing_layers, sites, size
from attnlab.heads.recording import record
from attnlab.heads.running import ready, run
from attnlab.heads.settings import HeadSettings

SAME, CLOSE = 0.0, 1e-5  # how far two answers may be apart that should be equal


class Differences(dict[str, float]):
    """What `self_check` measured: name to the largest difference; printed with what was expected.

    Attributes
    ----------
    expected : name to the largest difference there may be; None where the two should differ
    """

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[str, float | None] = {}

    def note(self, name: str, a: Tensor, b: Tensor, at_most: float | None) -> None:
        """Add the largest difference of two tensors; AttnlabError if it is not as expected."""
        self[name], self.expected[name] = float((a - b).abs().max()), at_most
        if not self._holds(name):
            raise AttnlabError(
                f"self_check: {name} is {self[name]:.2e}; {self._wanted(name)}. The control of "
                "this model's heads is not to be trusted."
            )

    def _holds(self, name: str) -> bool:
        most = self.expected[name]
        return self[name] > 0 if most is None else self[name] <= most

    def _wanted(self, name: str) -> str:
        most = self.expected[name]
        if most is None:
            return "should differ"
        return "should be 0" if most == 0 else f"should be 0, up to {most:g} for rounding"

    def __repr__(self) -> str:
        wide = max(map(len, self), default=0)
        return "\n".join(
            f"{'✓' if self._holds(name) else '✗'} {name:<{wide}}  {value:.1e}  {self._wanted(name)}"
            for name, value in self.items()
        )


def self_check(
    target: Any,
    inputs: dict[str, Tensor] | None = None,
    head_id: tuple[int, int] | None = None,
) -> Differences:
    """Prove on this very model that the control is real; return the measured differences.

    Printed, each line says whether its difference should be 0 or should not. Raises AttnlabError,
    with the number, if one of these does not hold (in float32, on a padded batch, dropout off):
    neutral settings change nothing, bit for bit; our attention equals PyTorch's to 1e-5; scale 0
    equals removing the head's columns from the output projection; scale leaves its own layer's
    weights alone; temperature moves them; afterwards all is as before, also after an error. And of
    the model as you call it, compiled or in a wrapper, scale 0 acts in an `applied` block.

    Parameters
    ----------
    target : Classifier or Transformers model
    inputs : tensors for its forward call; by default a padded batch of arbitrary tokens, or
        arbitrary pixels
    head_id : layer and head whose faders are tried; by default one in the middle of the model
    """
    # on a copy: something else, such as a desk, may be using the model meanwhile
    model = copy.deepcopy(model_of(target)).float().eval()
    layers, heads = size(model)
    inputs = inputs or _arbitrary_batch(model)
    present = [(layer, head) for layer in range(layers) for head in range(heads)]
    present = [place for place in present if place not in set(removed(model))]
    if not present:
        raise ModelError("Every head of this model was removed; there is nothing to check.")
    if head_id is not None and head_id not in present:
        raise SettingsError(f"There is no head {head_id} to check; give (layer, head).")
    layer, head = present[len(present) // 2] if head_id is None else head_id
    sharing = sharing_layers(model, layer)  # what is cut off serves these layers
    neutral = HeadSettings(layers, heads)
    silent, sharp = neutral.copy(), neutral.copy()
    silent.scale[sharing, head] = 0
    sharp.temperature[layer, head] = 0.5
    report = Differences()

    def answer(settings: HeadSettings | None = None) -> Tensor:
        with torch.no_grad(), applied(model, settings) if settings else contextlib.nullcontext():
            return model(**inputs)[0].float()

    model.set_attn_implementation("sdpa")
    plain = answer()
    attach(model)
    own = answer()
    report.note("own attention - sdpa", own, plain, CLOSE)
    report.note("neutral - untouched", answer(neutral), own, SAME)
    with _cut_off(model, layer, head):
        without = answer()
    report.note("scale 0 - columns removed", answer(silent), without, CLOSE)
    report.note("scale 0 - neutral", answer(silent), own, None)
    maps = {
        name: record(model, inputs, settings)[layer].weights
        for name, settings in (("neutral", neutral), ("silent", silent), ("sharp", sharp))
    }
    if sharing == [layer]:
        report.note("own layer's weights under scale", maps["silent"], maps["neutral"], SAME)
    report.note("own layer's weights under temperature", maps["sharp"], maps["neutral"], None)
    with contextlib.suppress(_Interrupted), applied(model, silent):
        raise _Interrupted
    report.note("afterwards - before", answer(), own, SAME)
    _check_as_called(target, inputs, silent, report)
    return report


def _check_as_called(
    target: Any, inputs: dict[str, Tensor], silent: HeadSettings, report: Differences
) -> None:
    """Note whether settings act in the model itself, by a block and by settings with the call."""
    with torch.no_grad():
        with ready(target) as call:
            untouched = call(**inputs)[0].float()
            with applied(target, silent):
                in_block = call(**inputs)[0].float()
        with_call = run(target, inputs, silent)
    report.note("as you call it: scale 0 - neutral", in_block, untouched, None)
    report.note("as you call it: block - settings with the call", in_block, with_call, CLOSE)


@contextlib.contextmanager
def _cut_off(model: PreTrainedModel, layer: int, head: int) -> Iterator[None]:
    """Inside the block the output projection sees zeros of a head, whatever kind of layer it is."""
    site = sites(model)[layer]
    of_head = columns(model, site, layer, head)

    def cut(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        context = args[0].clone()
        context[..., of_head] = 0
        return (context, *args[1:])

    hook = site.output.register_forward_pre_hook(cut)
    try:
        yield
    finally:
        hook.remove()


class _Interrupted(Exception):
    """Raised by self_check inside its own block."""


def _arbitrary_batch(model: PreTrainedModel) -> dict[str, Tensor]:
    """Two rows of arbitrary tokens, one padded; or two images of arbitrary pixels."""
    generator = torch.Generator().manual_seed(0)
    if model.main_input_name == "pixel_values":
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        pixels = torch.randn(2, model.config.num_channels, height, width, generator=generator)
        return {"pixel_values": pixels.to(model.device)}
    ids = torch.randint(5, model.config.vocab_size, (2, 12), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = model.config.pad_token_id or 0, 0
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
