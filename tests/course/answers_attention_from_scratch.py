"""Answers to lesson 02: right ones in two styles, and wrong ones that know nothing of the check."""

import math

import torch
from torch import nn
from torch.nn import functional as F

import attnlab as al


# --- attention ---
def attention_by_loops(query, key, value):
    if query.dim() > 2:
        parts = [attention_by_loops(*one) for one in zip(query, key, value, strict=True)]
        return tuple(torch.stack(part) for part in zip(*parts, strict=True))
    weights = torch.stack([torch.softmax(key @ q / len(q) ** 0.5, 0) for q in query])
    context = [sum(w * v for w, v in zip(row, value, strict=True)) for row in weights]
    return torch.stack(context), weights


def attention_by_einsum(query, key, value):
    scores = torch.einsum("...qd,...kd->...qk", query, key) / key.shape[-1] ** 0.5
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return torch.einsum("...qk,...kv->...qv", weights, value), weights


def attend(scale=lambda q, k, v: q.shape[-1] ** 0.5):
    """Attention, scaled in another way."""

    def answer(query, key, value):
        weights = (query @ key.transpose(-2, -1) / scale(query, key, value)).softmax(-1)
        return weights @ value, weights

    return answer


# --- masked_softmax ---
def masked_by_rows(scores, mask):
    mask = mask.expand_as(scores)
    rows = []
    for row, seen in zip(
        scores.reshape(-1, scores.shape[-1]), mask.reshape(-1, scores.shape[-1]), strict=True
    ):
        weights = 0 * row
        if seen.any():
            weights = weights.index_put((seen,), row[seen].softmax(0))
        rows.append(weights)
    return torch.stack(rows).reshape(scores.shape)


def masked_by_filling(scores, mask):
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return weights.masked_fill(~mask, 0)


def masked_by_where(scores, mask):
    weights = torch.where(mask, scores, -math.inf).softmax(-1)
    return torch.where(mask, weights, 0.0)


def finite(number):
    return lambda scores, mask: scores.masked_fill(~mask, number).softmax(-1)


def with_log_of_the_mask(scores, mask):
    return (scores + mask.float().log()).softmax(-1).nan_to_num(0)


# --- split_heads ---
def split_by_slices(x, heads):
    width = x.shape[-1] // heads
    return torch.stack([x[:, :, h * width : (h + 1) * width] for h in range(heads)], dim=1)


def split_by_chunks(x, heads):
    return torch.stack(x.chunk(heads, -1), 1)


def split_by_view(x, heads):
    batch, tokens, width = x.shape
    return x.view(batch, tokens, heads, width // heads).permute(0, 2, 1, 3)


# the way back, which is no exercise
def merge_by_joining(x):
    return torch.cat([x[:, h] for h in range(x.shape[1])], dim=-1)


def merge_by_reshape(x):
    batch, heads, tokens, width = x.shape
    return x.permute(0, 2, 1, 3).reshape(batch, tokens, heads * width)


# --- attention_backward ---
def backward_by_products(query, key, value, gradient, mask=None):
    root = query.shape[-1] ** 0.5
    weights = al.attention.softmax(query @ key.mT / root, mask)
    d_weights = gradient @ value.mT
    d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True)) / root
    return d_scores @ key, d_scores.mT @ query, weights.mT @ gradient


def backward_by_jacobians(query, key, value, gradient, mask=None):
    scores = torch.einsum("...qd,...kd->...qk", query, key) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = torch.where(mask, scores, -torch.inf)
    weights = torch.nan_to_num(torch.softmax(scores, -1))
    jacobian = torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]
    d_weights = torch.einsum("...qv,...kv->...qk", gradient, value)
    d_scores = torch.einsum("...qjk,...qj->...qk", jacobian, d_weights) * query.shape[-1] ** -0.5
    d_query = torch.einsum("...qk,...kd->...qd", d_scores, key)
    d_key = torch.einsum("...qk,...qd->...kd", d_scores, query)
    return [d_query, d_key, torch.einsum("...qk,...qv->...kv", weights, gradient)]


def backward_of_values_only(query, key, value, gradient, mask=None):
    d_value = backward_by_products(query, key, value, gradient, mask)[2]
    return torch.zeros_like(query), torch.zeros_like(key), d_value


# --- encoder_layer ---
def normalised(y, gain, bias, eps):
    mean = y.mean(-1, keepdim=True)
    return gain * (y - mean) / ((y - mean).square().mean(-1, keepdim=True) + eps).sqrt() + bias


def layer_in_two_steps(x, attend, up, down, norms, eps=1e-12):
    x = normalised(x + attend(x), *norms[0], eps)
    return normalised(x + down(F.gelu(up(x))), *norms[1], eps)


def layer_by_moments(x, attend, up, down, norms, eps=1e-12):
    for (gain, bias), part in zip(
        norms, (attend, lambda y: down(0.5 * up(y) * (1 + torch.erf(up(y) / 2**0.5)))), strict=True
    ):
        x = x + part(x)
        variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
        x = torch.addcmul(bias, gain, (x - mean) * torch.rsqrt(variance + eps))
    return x


def layer_without_attention(x, attend, up, down, norms, eps=1e-12):
    return layer_in_two_steps(x, lambda y: 0 * y, up, down, norms, eps)


# --- neighbour_scores ---
def neighbours_by_diagonal(weights, offset):
    return weights[:, :, 1:-1, 1:-1].diagonal(offset, -2, -1).mean(-1)


def neighbours_by_places(weights, offset):
    last = weights.shape[-1] - 1
    words = [place for place in range(1, last) if 0 < place + offset < last]
    return sum(weights[:, :, place, place + offset] for place in words) / len(words)


# --- first_wrong ---
def first_by_loop(good, bad, real, tolerance=1e-4):
    for name in good:
        right, found = good[name][real], bad[name][real]
        if not ((found - right).abs().max() / right.abs().max() < tolerance):
            return name
    return None


def first_by_list(good, bad, real, tolerance=1e-4):
    wrong = []
    for name, right in good.items():
        limit = tolerance * right[real].abs().max().item()
        apart = (right - bad[name])[real]
        if apart.isnan().any() or apart.abs().max().item() > limit:
            wrong.append(name)
    return wrong[0] if wrong else None


# --- MultiHead ---
class Given(nn.Module):
    """What the exercise gives: four layers."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)


class HeadByHead(Given):
    def forward(self, query, key, value, mask=None):
        q, k, v = self.query(query), self.key(key), self.value(value)
        width = q.shape[-1] // self.heads
        contexts = []
        for head in range(self.heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / width**0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            contexts.append(scores.softmax(-1) @ v[..., part])
        return self.output(torch.cat(contexts, -1))


class AllHeads(Given):
    """All heads at once."""

    def forward(self, query, key, value, mask=None):
        q, k, v = self.query(query), self.key(key), self.value(value)
        q, k, v = (split_by_view(x, self.heads) for x in (q, k, v))
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** 0.5
        if mask is not None:
            mask = mask[:, None] if mask.dim() == 3 else mask
            scores = scores.masked_fill(~mask, -math.inf)
        return self.output(merge_by_reshape(scores.softmax(-1) @ v))


class WithoutOutput(AllHeads):
    def __init__(self, width, heads):
        super().__init__(width, heads)
        self.forget = nn.Identity()

    def forward(self, query, key, value, mask=None):
        given, self.output = self.output, self.forget
        merged = AllHeads.forward(self, query, key, value, mask)
        self.output = given
        return merged


class LateMask(HeadByHead):
    def forward(self, query, key, value, mask=None):
        if mask is None:
            return HeadByHead.forward(self, query, key, value)
        q, k, v = (
            split_by_slices(layer(x), self.heads)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        weights = weights * (mask[:, None] if mask.dim() == 3 else mask)
        return self.output(merge_by_joining(weights @ v))


class UsesTorchs(Given):
    def forward(self, query, key, value, mask=None):
        made = nn.MultiheadAttention(query.shape[-1], self.heads, batch_first=True)
        return self.output(
            made(self.query(query), self.key(key), self.value(value), need_weights=False)[0]
        )


class WithoutGradients(AllHeads):
    @torch.no_grad()
    def forward(self, query, key, value, mask=None):
        return AllHeads.forward(self, query, key, value, mask)


RIGHT = {
    "attention": [attention_by_loops, attention_by_einsum, attend()],
    "masked_softmax": [masked_by_rows, masked_by_filling, masked_by_where],
    "split_heads": [split_by_chunks, split_by_view],
    "attention_backward": [backward_by_products, backward_by_jacobians],
    "encoder_layer": [layer_in_two_steps, layer_by_moments],
    "neighbour_scores": [neighbours_by_diagonal, neighbours_by_places],
    "first_wrong": [first_by_loop, first_by_list],
    "MultiHead": [HeadByHead, AllHeads],
}

# wrong answers that know nothing of the checks, and words of what they are told; the mistakes that
# the checks know stand beside them, in attnlab/course/checks
WRONG = {
    "attention": [
        (lambda q, k, v: (q @ k.mT / 4 @ v, q @ k.mT / 4), "Is there a softmax"),
        (
            lambda q, k, v: (attention_by_einsum(q, k, k)[0], attention_by_einsum(q, k, v)[1]),
            "as wide as a key",
        ),
        (attend(scale=lambda q, k, v: q.shape[1] ** 0.5), "scale by another axis"),
        (lambda q, k, v: None, "returned None"),
        (lambda q, k, v: al.attention.top_k_attention(q, k, v, 99), "ready-made top_k"),
    ],
    "masked_softmax": [
        (finite(-1e4), "finite number"),
        (with_log_of_the_mask, "gradient is NaN"),
        (
            lambda s, m: (
                torch.stack([masked_by_filling(a, b) for a, b in zip(s, m, strict=True)])
                if s.shape == m.shape
                else masked_by_filling(s, m.transpose(-1, -2))
            ),
            "let the mask broadcast|RuntimeError",
        ),
    ],
    "split_heads": [
        (lambda x, h: x.reshape(len(x), h, x.shape[1], -1), "pieces of several tokens"),
        (lambda x, h: split_by_slices(x, h).transpose(-1, -2), "width of a head have changed"),
        (lambda x, h: split_by_view(x, 3), "Expected shape"),
        (split_by_slices, "there is a loop"),
    ],
    "attention_backward": [
        (lambda q, k, v, g, mask=None: backward_by_products(q, k, v, g)[0], "a tensor of shape"),
        (
            lambda q, k, v, g, mask=None: backward_by_products(q, k, v, g)[1::-1],
            "are asked for, 2 came",
        ),
        (lambda q, k, v, g, mask=None: backward_by_products(q, k, v, g), "mask has no effect"),
        (
            lambda q, k, v, g, mask=None: backward_by_products(
                q, k, v, g, None if mask is None else mask.roll(1, -1)
            ),
            "Right without a mask",
        ),
        (backward_of_values_only, "gradient of `query` is wrong"),
        (
            lambda q, k, v, g, mask=None: backward_by_products(q, k, v, g / q.shape[-1] ** 0.5),
            "gradient of `value` is wrong",
        ),
    ],
    "encoder_layer": [
        (layer_without_attention, "it is right"),
        (
            lambda x, a, u, d, n, eps=1e-12: layer_in_two_steps(x, a, u, d, n, eps) + 0.1,
            "it is wrong, too",
        ),
        (
            lambda x, a, u, d, n, eps=1e-12: layer_in_two_steps(x, a, u, d, n, eps).mean(1),
            "Expected shape",
        ),
        (
            lambda x, a, u, d, n, eps=1e-12: F.layer_norm(x + a(x), x.shape[-1:]),
            "ready-made layer_norm",
        ),
    ],
    "neighbour_scores": [
        (lambda w, offset: w.diagonal(offset, -2, -1).mean(-1), "are in the mean"),
        (lambda w, offset: neighbours_by_diagonal(w.mT, offset), "offset is turned round"),
        (lambda w, offset: neighbours_by_diagonal(w, offset).mean(), "Expected shape"),
    ],
    "first_wrong": [
        (lambda good, bad, real, tolerance=1e-4: list(good)[-1], "the \\*last\\* part"),
        (lambda good, bad, real, tolerance=1e-4: None, "`None` came"),
        (lambda good, bad, real, tolerance=1e-4: 3, "a number where"),
    ],
    "MultiHead": [
        (WithoutOutput, "`output` gets no gradient"),
        (LateMask, "after the softmax"),
        (WithoutGradients, "No gradient"),
        (UsesTorchs, "ready-made multi_head_attention_forward"),
        (lambda width, heads: AllHeads, "not a torch.nn.Module"),
    ],
}
