"""Answers to lesson 01: right ones in two styles, and the mistakes people make, each with its diagnosis."""

import math

import torch


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


def in_place(scores, temperature=1.0):
    scores -= scores.amax(-1, keepdim=True)
    return softmax_at_once(scores, temperature)


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
def scores_by_loops(query, key):
    if query.dim() > 2:
        return torch.stack([scores_by_loops(q, k) for q, k in zip(query, key, strict=True)])
    rows = [[sum(q * k) / len(q) ** 0.5 for k in key] for q in query]
    return torch.stack([torch.stack(row) for row in rows])


def scores_by_einsum(query, key):
    return torch.einsum("...qd,...kd->...qk", query, key) * query.shape[-1] ** -0.5


def times(query, key):
    return query @ key.transpose(-2, -1)


# --- softmax_gradient ---
def gradient_by_jacobian(weights, gradient):
    jacobian = torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]
    return (jacobian @ gradient[..., None])[..., 0]


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


def additive_by_einsum(query, key, query_weight, key_weight, vector):
    a = torch.einsum("...qd,da->...qa", query, query_weight)[..., :, None, :]
    b = torch.einsum("...kd,da->...ka", key, key_weight)[..., None, :, :]
    return torch.einsum("...a,a->...", torch.tanh(a + b), vector)


def additive(inner=torch.tanh, outer=lambda x: x, joined=lambda a, b: a + b, axes=(-2, -3)):
    """additive_scores with a part exchanged."""

    def answer(query, key, query_weight, key_weight, vector):
        a, b = (query @ query_weight).unsqueeze(axes[0]), (key @ key_weight).unsqueeze(axes[1])
        return outer(inner(joined(a, b)) @ vector)

    return answer


def additive_swapped(query, key, query_weight, key_weight, vector):
    return additive_by_einsum(query, key, key_weight, query_weight, vector)


def additive_separately(query, key, query_weight, key_weight, vector):
    a, b = (query @ query_weight).tanh(), (key @ key_weight).tanh()
    return (a[..., :, None, :] + b[..., None, :, :]) @ vector


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


def positions_in_halves(length, width):
    table = positions_at_once(length, width)
    return torch.cat([table[:, 0::2], table[:, 1::2]], -1)


def positions_cosine_first(length, width):
    return positions_at_once(length, width).view(length, -1, 2).flip(-1).flatten(1)


def positions_with_a_frequency_for_each_column(length, width):
    angles = torch.outer(torch.arange(length).float(), 10000.0 ** (-torch.arange(width) / width))
    even = torch.arange(width) % 2 == 0
    return torch.where(even, angles.sin(), angles.cos())


RIGHT = {
    "softmax": [softmax_by_rows, softmax_at_once, softmax_by_logarithms],
    "scaled_dot_scores": [scores_by_loops, scores_by_einsum],
    "softmax_gradient": [gradient_by_jacobian, gradient_at_once],
    "entropy": [entropy_with_where, entropy_with_a_clamp],
    "additive_scores": [additive_by_loops, additive_by_einsum],
    "sinusoidal_positions": [positions_by_loops, positions_at_once],
}

# each mistake, and words of the diagnosis that no other mistake of the exercise gets
WRONG = {
    "softmax": [
        (lambda s, temperature=1.0: s.exp(), "do not sum to 1"),
        (lambda s, temperature=1.0: s / s.sum(-1, keepdim=True), "shares of the scores"),
        (lambda s, temperature=1.0: stable(-s / temperature, -1), "minus sign"),
        (
            lambda s, temperature=1.0: stable(s / temperature, 0 if s.dim() == 1 else -2),
            "columns of your weights",
        ),
        (lambda s, temperature=1.0: stable(s.flatten(), 0).view_as(s), "All rows together"),
        (lambda s, temperature=1.0: stable(s, min(1, s.dim() - 1)), "sum over axis 1"),
        (lambda s, temperature=1.0: stable(s, 0 if s.dim() != 2 else 1), "sum over axis 0"),
        (lambda s, temperature=1.0: plain(s / temperature), "exp.1000. overflows"),
        (
            lambda s, temperature=1.0: plain(s / temperature - (s / temperature).max()),
            "each row's own",
        ),
        (lambda s, temperature=1.0: stable(s, -1), "no effect"),
        (lambda s, temperature=1.0: stable(s * temperature, -1), "Multiply, or divide"),
        (lambda s, temperature=1.0: stable(s, -1) / temperature, "divide the weights"),
        (lambda s, temperature=1.0: softmax_at_once(s.detach(), temperature), "No gradient"),
        (denominator_detached, "its gradient is not"),
        (lambda s, temperature=1.0: scaled_too_late(s, temperature), "and then subtract"),
        (in_place, "in place"),
        (
            lambda s, temperature=1.0: softmax_at_once(s, temperature).detach().numpy(),
            "numpy array",
        ),
        (lambda s, temperature=1.0: None, "returned None"),
        (
            lambda s, temperature=1.0: softmax_at_once(s, temperature).sum(-1),
            r"Expected shape \(6,\)",
        ),
        (lambda s, temperature=1.0: softmax_at_once(s, temperature) * math.nan, "There is NaN"),
        (lambda s, temperature=1.0: softmax_at_once(s, temperature).tolist(), "a list of 6"),
        (lambda s, temperature=1.0: torch.softmax(s / temperature, -1), "ready-made softmax"),
        (lambda s, temperature=1.0: (s / temperature).softmax(-1), "ready-made softmax"),
        (lambda s, temperature=1.0: s.nothing, "AttributeError"),
        (lambda s: softmax_at_once(s), "unexpected keyword argument 'temperature'"),
        (exits, "SystemExit"),
        (never_ends, "did not end"),
        (torch.ones(3), "tensor of shape"),
    ],
    "scaled_dot_scores": [
        (times, "divide by the square root"),
        (lambda q, k: times(q, k) / q.shape[-1], "width itself"),
        (lambda q, k: times(q, k) * q.shape[-1] ** 0.5, "multiply by the square root"),
        (lambda q, k: times(q, k) / k.shape[-2] ** 0.5, "number of keys"),
        (lambda q, k: times(q, k) / q.shape[-2] ** 0.5, "number of queries"),
        (lambda q, k: times(k, q) / q.shape[-1] ** 0.5, "row for each key"),
        (lambda q, k: times(q, k) / 8, "8 typed in"),
        (
            lambda q, k: torch.cosine_similarity(q[..., :, None, :], k[..., None, :, :], -1),
            "cosine",
        ),
        (lambda q, k: q @ k.T / q.shape[-1] ** 0.5, "all axes round"),
        (lambda q, k: scores_by_einsum(q, k).softmax(-1), "These are weights"),
        (lambda q, k: times(q, k) / q.shape[-1] ** 1 / 2, "binds before"),
        (lambda q, k: times(q, k) / k.shape[1] ** 0.5, "another axis"),
        (lambda q, k: times(q, k).tanh(), "one dot product per pair"),
        (
            lambda q, k: q @ (k.T if k.dim() == 2 else k.permute(0, 1, 3, 2)) / q.shape[-1] ** 0.5,
            r"\(B, T, D\)",
        ),
    ],
    "softmax_gradient": [
        (lambda w, g: w * g, "own score only"),
        (lambda w, g: w * (1 - w) * g, "diagonal of the Jacobian"),
        (lambda w, g: w * (g - g.mean(-1, keepdim=True)), "plain mean"),
        (lambda w, g: w * (g - g.sum(-1, keepdim=True)), "not be weighted"),
        (lambda w, g: g - (w * g).sum(-1, keepdim=True), "factor w in front"),
        (lambda w, g: -gradient_at_once(w, g), "sign is turned"),
        (lambda w, g: w * (g + (w * g).sum(-1, keepdim=True)), "instead of taking it off"),
        (lambda w, g: w * (g - (w * g).sum()), "Rows influence"),
        (
            lambda w, g: w * (g - (w * g).sum(0 if w.dim() == 1 else -2, keepdim=True)),
            "sum over the queries",
        ),
        (lambda w, g: w * (g - (w * g).sum(0, keepdim=True)), "sum over axis 0"),
        (gradient_by_autograd, "ready-made grad"),
    ],
    "entropy": [
        (lambda w: -(w * w.log2()).sum(-1), "in bits"),
        (lambda w: -(w * w.log()).mean(-1), "mean over the keys"),
        (lambda w: (w * w.log()).sum(-1), "is negative"),
        (lambda w: entropy_with_where(w) / math.log(w.shape[-1]), "Equal weights give 1"),
        (lambda w: entropy_with_where(w).exp(), "effective number of keys"),
        (
            lambda w: -(w * w.log()).sum()[None] if len(w) == 1 else -(w * w.log()).sum(),
            "One number for all rows",
        ),
        (
            lambda w: entropy_with_where(w) if len(w) == 1 else -(w * w.log()).sum(-2),
            "One number for each key",
        ),
        (lambda w: -(w * w.log()).sum(1), "wrong for a batch"),
        (lambda w: -(w * w.log()).sum(-1), "0 \\* -inf"),
        (lambda w: -(w * (w + 1e-3).log()).sum(-1), "Did you add 0.001"),
        (lambda w: torch.tensor(entropy_with_where(w.detach()).tolist()), "No gradient"),
        (lambda w: torch.special.entr(w).sum(-1), "ready-made special_entr"),
    ],
    "additive_scores": [
        (additive(inner=lambda x: x), "tanh is missing"),
        (additive(inner=lambda x: x, outer=torch.tanh), "after the vector"),
        (additive(inner=torch.sigmoid), "sigmoid"),
        (additive(inner=torch.relu), "ReLU"),
        (additive(joined=lambda a, b: a * b), "Why is it called"),
        (additive_swapped, "changed places"),
        (additive_separately, "tanh of each part"),
        (additive(axes=(-3, -2)), "row for each key"),
        (additive_pairwise, "RuntimeError"),
        (additive_without_batches, "count the axes from the end"),
    ],
    "sinusoidal_positions": [
        (positions_in_halves, "sines come first"),
        (positions_cosine_first, "Sine and cosine have changed places"),
        (lambda n, d: positions_at_once(n, d, start=1), "start at 1"),
        (lambda n, d: positions_at_once(n, d, doubled=0.5), "too late"),
        (lambda n, d: positions_at_once(n, d, doubled=2), "half of the width"),
        (lambda n, d: positions_at_once(n, d, sign=1), "get faster"),
        (lambda n, d: positions_at_once(n, d, sign=0), "same frequency"),
        (lambda n, d: positions_at_once(n, d, base=math.e), "base is e"),
        (lambda n, d: positions_at_once(n, d, base=1000), "base is 1000"),
        (positions_with_a_frequency_for_each_column, "every column has its own"),
        (lambda n, d: positions_at_once(n, d).T, "row for each column"),
    ],
}
