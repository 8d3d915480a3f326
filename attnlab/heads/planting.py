"""Plant a fault in one layer of a model, for others to find; its weights stay as they are."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from attnlab.attention import merge_heads, split_heads
from attnlab.errors import SettingsError, suggest
from attnlab.heads.families import feed_forwards, model_of, sites, size
from attnlab.heads.parts import Site

FAULTS = {
    "reshape": "the width is cut into heads by a reshape alone, without a transpose",
    "divisor": "scores are divided by the root of the model's width, not of a head's",
    "padding": "padding is not hidden",
    "bias": "the bias of the second feed-forward map is forgotten",
}


@contextlib.contextmanager
def planted(target: Any, fault: str | None, layer: int = 0) -> Iterator[None]:
    """Give one layer of a model a fault while the block lasts.

    None of the faults raises an error or changes a shape: they are found by comparing activations.
    They are hooks on the layer's modules, so every forward pass inside the block has the fault, in
    other threads too, and hooks that are added inside the block see it. Where layers share their
    weights, all of them have it.

    Parameters
    ----------
    target : Classifier, Tagger or Transformers model of the BERT family
    fault : one of `FAULTS`; None plants nothing
    layer : the layer that gets it, counted from 0

    Raises
    ------
    SettingsError : a fault or a layer that there is not

    Example
    -------
    >>> import attnlab as al
    >>> clf = al.load_classifier("movie-sentiment")
    >>> right = clf.attend("Not bad.").weights
    >>> with al.heads.planted(clf, "divisor", layer=2):
    ...     wrong = clf.attend("Not bad.").weights
    >>> [bool((a - b).abs().max() > 1e-3) for a, b in zip(right[:3], wrong[:3])]
    [False, False, True]
    """
    if fault is not None and fault not in FAULTS:
        raise SettingsError(f"There is no fault {fault!r} to plant. {suggest(fault, FAULTS)}")
    model = model_of(target)
    layers, heads = size(model)
    if layer not in range(layers):
        raise SettingsError(f"There is no layer {layer} to plant a fault in: 0 to {layers - 1}.")
    site = sites(model)[layer]
    hooks = []
    if fault == "reshape":
        hooks = [
            made.register_forward_hook(_reshaped(site.head_width)) for made in _projections(site)
        ]
        hooks.append(site.output.register_forward_pre_hook(_merged_by_reshape(site.head_width)))
    elif fault == "divisor":
        queries = getattr(site.module, site.query)
        hooks = [queries.register_forward_hook(lambda _, given, made: made / heads**0.5)]
    elif fault == "padding":
        hooks = [site.module.register_forward_pre_hook(_without_mask, with_kwargs=True)]
    elif fault == "bias":
        down = feed_forwards(model)[layer].down
        hooks = [down.register_forward_hook(lambda _, given, made: made - down.bias)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _projections(site: Site) -> list[Any]:
    return [getattr(site.module, name) for name in (site.query, site.key, site.value)]


def _reshaped(head_width: int) -> Callable[[Any, Any, Tensor], Tensor]:
    """A hook: what the right split makes of its result is what a reshape makes of the output."""

    def reshaped(_: Any, given: Any, made: Tensor) -> Tensor:
        batch, tokens, width = made.shape
        return merge_heads(made.reshape(batch, width // head_width, tokens, head_width))

    return reshaped


def _merged_by_reshape(head_width: int) -> Callable[[Any, tuple[Tensor]], Tensor]:
    """A hook: contexts that were merged rightly, (B, T, E), merged by a reshape instead."""

    def merged(_: Any, given: tuple[Tensor]) -> Tensor:
        (context,) = given
        return split_heads(context, context.shape[-1] // head_width).reshape(context.shape)

    return merged


def _without_mask(
    _: Any, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if "attention_mask" in named:
        return given, {**named, "attention_mask": None}
    return (given[0], None, *given[2:]), named
