"""Adjusting layer after layer from what heads add, without labels: evening, and least squares."""

import torch
from scipy.optimize import nnls
from torch import Tensor

from attnlab.balance.task import Task
from attnlab.errors import ModelError
from attnlab.evaluation.forward import Engine
from attnlab.heads import HeadSettings

RIDGE = 1e-3  # of the mean diagonal of the normal equations


@torch.no_grad()
def evened(task: Task, engine: Engine) -> HeadSettings:
    """Scales at which every head of a layer that is on adds as much.

    The geometric mean of a layer stays as it was. Layers are computed from the evened ones below.
    """
    settings = task.start.copy()
    batches = task.batches(task.sample())
    states = [engine.start(task.encoded, batch) for batch in batches]
    for layer, parts in enumerate(engine.layers):
        squares, tokens = torch.zeros(len(parts.active_heads), device=task.clf.device), 0
        project = _out_proj(engine, layer)
        gram = project @ project.transpose(1, 2)  # |c W|² = c (W Wᵀ) c
        for hidden, mask in states:
            outputs, _ = _head_outputs(engine, layer, hidden, mask, settings)
            squares += torch.einsum("nhd,hde,nhe->h", outputs, gram, outputs)
            tokens += len(outputs)
        scale = settings.scale[layer, parts.active_heads]
        added = scale * (squares / tokens).sqrt().cpu()  # (h,)
        heard = added > 0
        if heard.any():
            mean = added[heard].log().mean().exp()
            factors = torch.where(heard, mean / added.clamp_min(1e-30), 1.0)
            settings.scale[layer, parts.active_heads] = scale * factors
        # those of the last layer are not used
        states = [(engine.layer(layer, hidden, mask, settings), mask) for hidden, mask in states]
    return settings


def by_least_squares(task: Task) -> HeadSettings:
    """Scales at which layers come nearest to those of the neutral model: see `adjust`."""
    if task.engine is None or task.whole is None:
        raise ModelError(
            "The way 'least-squares' needs a model whose forward pass we know: "
            f"{task.evaluator.why_no_engine} The other ways work with any."
        )
    settings = _nearest(task, task.engine, task.whole)
    for tried in (task.start, settings):
        task.note(*task.measure(tried), 2)
    return settings


@torch.no_grad()
def _nearest(task: Task, engine: Engine, target: Engine) -> HeadSettings:
    """Scales at which each layer's residual plus attention is nearest to that of the target.

    The squared distance is a quadratic form of the scales, whose coefficients are summed over the
    batches; a ridge draws toward the start.
    """
    settings, neutral = task.start.copy(), task.clf.settings()
    batches = task.batches(task.sample())
    ours = [engine.start(task.encoded, batch) for batch in batches]
    theirs = [target.start(task.encoded, batch) for batch in batches]
    for layer, parts in enumerate(engine.layers):
        if parts.active_heads:
            products = torch.zeros(
                len(parts.active_heads), len(parts.active_heads), dtype=torch.float64
            )
            wanted = torch.zeros(len(parts.active_heads), dtype=torch.float64)
            for (hidden, mask), (goal, _) in zip(ours, theirs, strict=True):
                outputs, real = _head_outputs(engine, layer, hidden, mask, settings)
                added = torch.einsum("nhd,hde->nhe", outputs, _out_proj(engine, layer))
                outputs, _ = _head_outputs(target, layer, goal, mask, neutral)
                attended = torch.einsum("nhd,hde->ne", outputs, _out_proj(target, layer))
                lacking = (goal - hidden)[:, : real.shape[1]][real].float()  # from layers below
                products += torch.einsum("nhe,nge->hg", added, added).double().cpu()
                wanted += torch.einsum("nhe,ne->h", added, attended + lacking).double().cpu()
            before = settings.scale[layer, parts.active_heads].double()
            found = _non_negative(products, wanted, before)
            settings.scale[layer, parts.active_heads] = found.float()
        ours = [(engine.layer(layer, hidden, mask, settings), mask) for hidden, mask in ours]
        theirs = [(target.layer(layer, goal, mask, neutral), mask) for goal, mask in theirs]
    return settings


def _non_negative(products: Tensor, wanted: Tensor, before: Tensor) -> Tensor:
    """Minimise m·P·m - 2 w·m + r |m - before|² over m of 0 or more, r a share of P's diagonal."""
    weight = RIDGE * products.diagonal().mean().clamp_min(1e-30)
    whole = products + weight * torch.eye(len(before), dtype=products.dtype)
    # P + r = root rootᵀ, so it is |rootᵀ m - root⁻¹ (w + r before)|²
    root = torch.linalg.cholesky(whole)
    right = torch.linalg.solve_triangular(root, (wanted + weight * before)[:, None], upper=False)
    found, _ = nnls(root.T.numpy(), right[:, 0].numpy())
    return torch.from_numpy(found)


def _head_outputs(
    engine: Engine, layer: int, hidden: Tensor, mask: Tensor | None, settings: HeadSettings
) -> tuple[Tensor, Tensor]:
    """Each head's output before W_O and its scale, (N, h, D), at the N tokens that are real.

    Of the last layer only that of [CLS]; and which of its tokens these are, (B, T).
    """
    outputs = engine.head_outputs(layer, hidden, mask, settings)  # (B, T, h, D)
    real = torch.ones(outputs.shape[:2], dtype=torch.bool, device=outputs.device)
    if mask is not None:
        real = mask[:, 0, 0, : outputs.shape[1]]
    return outputs[real].float(), real


def _out_proj(engine: Engine, layer: int) -> Tensor:
    """The output projection of each head of a layer, (h, D, E)."""
    parts = engine.layers[layer]
    return (
        parts.out_proj.weight.float()
        .unflatten(1, (len(parts.active_heads), parts.head_dim))
        .permute(1, 2, 0)
    )
