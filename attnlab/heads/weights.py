"""What a linear layer really multiplies by, whatever wraps it."""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from attnlab.errors import ModelError
from attnlab.heads.parts import Site
from attnlab.inference import check_finite, evaluating


def is_plain(layer: Any) -> TypeGuard[nn.Linear]:
    """Whether a layer is PyTorch's Linear and nothing else: its ``.weight`` says what it does.

    Not plain are adapters that are not merged, and quantised and parametrized layers. Hooks are
    taken to watch only.
    """
    return type(layer) is nn.Linear and _untouched(layer)


def is_plain_conv1d(layer: Any) -> TypeGuard[Conv1D]:
    """Whether a layer is GPT-2's Conv1D and nothing else: its ``.weight`` is (inputs, outputs)."""
    return type(layer) is Conv1D and _untouched(layer)


def _untouched(layer: nn.Module) -> bool:
    return "weight" in layer._parameters and "forward" not in vars(layer)


def effective_weight(layer: Any, width: int) -> Tensor:
    """Return the matrix (outputs, width) that a layer multiplies by, float32, without gradient.

    A plain Linear has it, and GPT-2's Conv1D its transpose. Any other is asked what it makes of
    each unit vector: so an adapter counts as it is now, merged, switched off or not; and so do
    quantisation and parametrizations.

    Parameters
    ----------
    layer : of ``width`` inputs

    Raises
    ------
    ModelError : a layer that is not linear, such as an adapter with an activation inside; weights
        that are not finite
    """
    if is_plain(layer):
        return layer.weight.detach().float()
    if is_plain_conv1d(layer):
        return layer.weight.detach().float().T
    like = next((one for one in layer.parameters() if one.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    probes = 3 * torch.randn(2, width, generator=generator).to(like)
    with torch.no_grad(), evaluating(layer), torch.autocast(like.device.type, enabled=False):
        bias = layer(probes.new_zeros(1, width)).float()
        weight = layer(torch.eye(width).to(like)).float() - bias
        found = check_finite(layer, layer(probes).float(), "outputs")
    expected = probes.float() @ weight + bias
    exact = like.dtype in (torch.float32, torch.float64) and like.dim() > 0
    tolerance = 1e-3 if exact else 0.1  # short formats and quantised layers round
    if not (found - expected).abs().max() <= tolerance * expected.abs().max():
        raise ModelError(
            f"{type(layer).__name__} is no linear layer, so what a head adds through it cannot be "
            "told. Merge the adapter into the weights first: model.merge_and_unload()."
        )
    return weight.T


def value_weight(site: Site, heads: int, width: int) -> Tensor:
    """What makes the values of a layer's heads, (h, D, E), float32, without gradient.

    Heads that share values (grouped attention) have the same.

    Parameters
    ----------
    site : of the layer
    heads : how many it has, h
    width : of the hidden states, E

    Raises
    ------
    ModelError : see `effective_weight`
    """
    (projection,) = (each for each in site.projections if "value" in each.parts)
    weight = effective_weight(getattr(site.module, projection.name), width)
    own = weight.chunk(len(projection.parts))[projection.parts.index("value")]
    shared = own.unflatten(0, (-1, site.head_width))
    return shared.repeat_interleave(heads // len(shared), dim=0)


def value_norms(output: Tensor, values: Tensor) -> Tensor:
    """Norm of each value vector after the output projection: what a weight of 1 would add.

    Parameters
    ----------
    output : Tensor, shape (d_model, H D), weight of the output projection
    values : Tensor, shape (B, H, T, D)

    Returns
    -------
    norms : Tensor, shape (B, H, T). Source: Kobayashi et al. 2020, section 2.
    """
    project = output.detach().float().unflatten(1, (values.shape[1], -1))  # (E, H, D)
    return torch.einsum("bhtd,ehd->bhte", values.float(), project).norm(dim=-1)
