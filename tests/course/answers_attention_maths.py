"""Answers to lesson 01: right ones in two styles, and wrong ones that know nothing of the check."""

import math

import torch

import attnlab as al


# --- softmax ---
def softmax_by_rows(scores, temperature=1.0):
    out = torch.empty_like(scores)
    flat, result = scores.reshape(-1, scores.shape[-1]), []
    for row in flat:
        powers = [torch.exp((s - row.max()) / temperature) for s in row]
        result.append(torch.stack(powers) / sum(powers))
    return torch.stack(result).reshape(out.shape)


def softmax_at_once(scores, temperature=1.0):
    z = scores / temperature
    z = (z - z.amax(-1, keepdim=True)).exp()
    return z / z.sum(-1, keepdim=True)


def softmax_by_logarithms(scores, temperature=1.0):
    z = scores / temperature
    return (z - z.logsumexp(-1, keepdim=True)).exp()


def denominator_detached(scores, temperature=1.0):
    e = ((scores - scores.amax(-1, keepdim=True)) / temperature).exp()
    return e / e.sum(-1, keepdim=True).detach()


def scaled_too_late(scores, temperature=1.0):
    e = (scores / temperature - scores.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


def never_ends(scores, temperature=1.0):
    while scores.sum() < math.inf:
        pass
    return scores


def exits(scores, temperature=1.0):
    raise SystemExit


def plain(scores, dim=-1):
    return scores.exp() / scores.exp().sum(dim, keepdim=True)


def stable(scores, dim):
    return plain(scores - scores.amax(dim, keepdim=True), dim)


# --- scaled_dot_scores ---
def scores_by_loops(query, key, mask=None):
    if query.dim() > 2:
        scores = torch.stack([scores_by_loops(q, k) for q, k in zip(query, key, strict=True)])
    else:
        rows = [[sum(q * k) / len(q) ** 0.5 for k in key] for q in query]
        scores = torch.stack([torch.stack(row) for row in rows])
    return scores if mask is None else torch.where(mask, scores, -math.inf)


def scores_by_einsum(query, key, mask=None):
    scores = torch.einsum("...qd,...kd->...qk", query, key) * query.shape[-1] ** -0.5
    return scores if mask is None else scores + mask.float().log()


def times(query, key):
    return query @ key.transpose(-2, -1)


# --- softmax_gradient ---
def gradient_by_jacobian(weights, gradient):
    jacobian = torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]
    return (jacobian @ gradient[..., None])[..., 0]


def gradient_by_matrices(weights, gradient):
    product = weights[..., None, :] @ gradient[..., :, None]
    return weights * gradient - weights * product[..., 0]


def gradient_at_once(weights, gradient):
    return weights * (gradient - (weights * gradient).sum(-1, keepdim=True))


def gradient_by_autograd(weights, gradient):
    scores = weights.log().requires_grad_()
    return torch.autograd.grad(scores.softmax(-1), scores, gradient)[0]


# --- entropy ---
def entropy_with_where(weights):
    logs = torch.where(weights > 0, weights, 1.0).log()
    return -(weights * logs).sum(-1)


def entropy_with_a_clamp(weights):
    return -torch.einsum("...k,...k->...", weights, weights.clamp_min(1e-12).log())


def entropy_by_entr(weights):
    return torch.special.entr(weights).sum(-1)


# --- additive_scores ---
def additive_by_loops(query, key, query_weight, key_weight, vector):
    if query.dim() > 2:
        pairs = zip(query, key, strict=True)
        return torch.stack(
            [additive_by_loops(q, k, query_weight, key_weight, vector) for q, k in pairs]
        )
    rows = []
    for q in query:
        rows.append(
            torch.stack([(q @ query_weight + k @ key_weight).tanh().dot(vector) for k in key])
        )
    return torch.stack(rows)


def additive_by_expansion(query, key, query_weight, key_weight, vector):
    hidden = (query @ query_weight)[..., :, None, :] + (key @ key_weight)[..., None, :, :]
    return (hidden.tanh() * vector).sum(-1)


def additive_by_einsum(query, key, query_weight, key_weight, vector):
    a = torch.einsum("...qd,da->...qa", query, query_weight)[..., :, None, :]
    b = torch.einsum("...kd,da->...ka", key, key_weight)[..., None, :, :]
    return torch.einsum("...a,a->...", torch.tanh(a + b), vector)


def additive_swapped(query, key, query_weight, key_weight, vector):
    return additive_by_einsum(query, key, key_weight, query_weight, vector)


def additive_pairwise(query, key, query_weight, key_weight, vector):
    both = torch.tanh(query @ query_weight + key @ key_weight) @ vector
    return both[:, None]


def additive_without_batches(query, key, query_weight, key_weight, vector):
    return torch.tanh((query @ query_weight)[:, None] + (key @ key_weight)[None]) @ vector


# --- sinusoidal_positions ---
def positions_by_loops(length, width):
    table = torch.zeros(length, width)
    for position in range(length):
        for i in range(0, width, 2):
            table[position, i] = math.sin(position / 10000 ** (i / width))
            table[position, i + 1] = math.cos(position / 10000 ** (i / width))
    return table


def positions_at_once(length, width, base=10000, start=0, doubled=1, sign=-1):
    frequency = torch.exp(sign * doubled * torch.arange(0, width, 2) / width * math.log(base))
    angles = torch.outer(torch.arange(start, start + length).float(), frequency)
    table = torch.empty(length, width)
    table[:, 0::2], table[:, 1::2] = angles.sin(), angles.cos()
    return table


def positions_in_numpy(length, width):
    return positions_at_once(length, width).numpy()


def positions_in_halves(length, width):
    table = positions_at_once(length, width)
    return torch.cat([table[:, 0::2], table[:, 1::2]], -1)


def positions_with_a_frequency_for_each_column(length, width):
    angles = torch.outer(torch.arange(length).float(), 10000.0 ** (-torch.arange(width) / width))
    even = torch.arange(width) % 2 == 0
    return torch.where(even, angles.sin(), angles.cos())


RIGHT = {
    "softmax": [softmax_by_rows, softmax_at_once, softmax_by_logarithms],
    "scaled_dot_scores": [scores_by_loops, scores_by_einsum],
    "softmax_gradient": [gradient_by_matrices, gradient_at_once],
    "entropy": [entropy_with_where, entropy_with_a_clamp, entropy_by_entr],
    "additive_scores": [additive_by_expansion, additive_by_einsum],
    "sinusoidal_positions": [positions_by_loops, positions_at_once, positions_in_numpy],
}

# wrong answers that know nothing of the checks, and words of what they are told; the mistakes that
# the checks know stand beside them, in attnlab/course/checks
WRONG = {
    "softmax": [
        (lambda s, temperature=1.0: s / s.sum(-1, keepdim=True), "shares of the scores"),
        (lambda s, temperature=1.0: stable(s, min(1, s.dim() - 1)), "sum over axis 1"),
        (lambda s, temperature=1.0: plain(s / temperature), "exp.1000. overflows"),
        (denominator_detached, "its gradient is not"),
        (lambda s, temperature=1.0: scaled_too_late(s, temperature), "and then subtract"),
        (lambda s, temperature=1.0: None, "returned None"),
        (
            lambda s, temperature=1.0: softmax_at_once(s, temperature).sum(-1),
            r"Expected shape \(6,\)",
        ),
        (lambda s, temperature=1.0: softmax_at_once(s, temperature) * math.nan, "There is NaN"),
        (lambda s, temperature=1.0: softmax_at_once(s, temperature).tolist(), "a list of 6"),
        (lambda s, temperature=1.0: (s / temperature).softmax(-1), "ready-made softmax"),
        (lambda s, temperature=1.0: s.nothing, "AttributeError"),
        (lambda s: softmax_at_once(s), "unexpected keyword argument 'temperature'"),
        (exits, "SystemExit"),
        (never_ends, "did not end"),
        (torch.ones(3), "tensor of shape"),
    ],
    "scaled_dot_scores": [
        (lambda q, k: scores_by_einsum(k, q), "row for each key"),
        (lambda q, k: times(q, k) / k.shape[1] ** 0.5, "another axis"),
        (lambda q, k: times(q, k).tanh(), "one dot product per pair"),
        (lambda q, k: scores_by_einsum(q, k), "unexpected keyword argument 'mask'"),
        (lambda q, k, mask=None: scores_by_einsum(q, k), "no effect"),
        (lambda q, k, mask=None: scores_by_einsum(q, k, mask).clamp_min(-1e9), "but a finite one"),
        (
            lambda q, k: q @ (k.T if k.dim() == 2 else k.permute(0, 1, 3, 2)) / q.shape[-1] ** 0.5,
            r"\(B, T, d_k\)",
        ),
    ],
    "softmax_gradient": [
        (lambda w, g: torch.einsum("...k,...k->...k", w - w * w, g), "diagonal of the Jacobian"),
        (gradient_by_jacobian, "T x T"),
        (lambda w, g: gradient_by_jacobian(w, g) / w, "factor w in front"),
        (lambda w, g: gradient_at_once(w.flatten(), g.flatten()).view_as(w), "Rows influence"),
    ],
    "entropy": [
        (lambda w: entropy_with_where(w) / math.log(2), "in bits"),
        (lambda w: -torch.einsum("...k,...k->...", w, (w + 1e-2).log()), "Did you add 0.01"),
        (lambda w: torch.tensor(entropy_with_where(w.detach()).tolist()), "No gradient"),
        (lambda w: -torch.where(w > 0, w * w.log(), 0.0).sum(-1), "mended afterwards"),
        (lambda w: al.attention.entropy(w), "ready-made entropy"),
    ],
    "additive_scores": [
        (additive_pairwise, "RuntimeError"),
        (additive_swapped, "changed places"),
        (additive_by_loops, "there is a loop"),
        (additive_without_batches, "count the axes from the end"),
    ],
    "sinusoidal_positions": [
        (positions_in_halves, "sines come first"),
        (lambda n, d: positions_at_once(n, d, base=1000), "base is 1000"),
        (positions_with_a_frequency_for_each_column, "every column has its own"),
    ],
}
