"""The attention room does what PyTorch's own attention does, and tells people what does not fit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import DEVICES
from torch import nn
from torch.nn import functional as F

from attnlab import attention as att
from attnlab.attention import shapes
from attnlab.errors import TensorError

sizes = st.integers(1, 6)
device = pytest.mark.parametrize("device", DEVICES)
TOLERANCE = {torch.float32: (1e-6, 1e-5), torch.float64: (1e-10, 1e-10)}  # forward, gradients


def near(one, other, tolerance):
    """Largest difference, in units of the largest number."""
    assert one.shape == other.shape
    if one.numel():
        assert (one - other).abs().max() <= tolerance * other.abs().max().clamp_min(1)


def a_mask(kind, queries, keys, generator):
    """A random mask in which every query sees something."""
    if kind == "none":
        return None
    if kind == "causal":
        return att.causal_mask(queries, queries + keys)
    mask = torch.rand(queries, keys, generator=generator) < 0.6
    mask[torch.arange(queries), torch.randint(keys, (queries,), generator=generator)] = True
    return mask


@device
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@settings(max_examples=60, deadline=None)
@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    queries=sizes,
    keys=sizes,
    width=sizes,
    out=sizes,
    kind=st.sampled_from(["none", "random", "causal"]),
    seed=st.integers(0, 2**20),
)
def test_equals_torchs_attention_forward_and_backward(
    device, dtype, batch, queries, keys, width, out, kind, seed
):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).to(device)

    if kind == "causal":
        keys += queries
    query, key, value = (
        draw(*batch, queries, width),
        draw(*batch, keys, width),
        draw(*batch, keys, out),
    )
    mask = a_mask(kind, queries, keys - queries if kind == "causal" else keys, generator)
    mask = mask if mask is None else mask.to(device)
    ours = [one.clone().requires_grad_() for one in (query, key, value)]
    theirs = [one.clone().requires_grad_() for one in (query, key, value)]
    context, weights = att.scaled_dot_product_attention(*ours, mask)
    expected = F.scaled_dot_product_attention(*theirs, attn_mask=mask)
    forward, backward = TOLERANCE[dtype]
    near(context, expected, forward)
    near(weights.sum(-1), torch.ones_like(weights[..., 0]), 10 * forward)
    g = draw(*context.shape)
    context.backward(g)
    expected.backward(g)
    for mine, reference in zip(ours, theirs, strict=True):
        near(mine.grad, reference.grad, backward)
    tiled = att.tiled_attention(query, key, value, mask, tile=2)
    near(tiled, expected, 1e-5 if dtype == torch.float32 else 1e-10)


def copied(theirs, ours):
    """Our module with the weights of torch's."""
    for layer, weight, bias in zip(
        (ours.query, ours.key, ours.value),
        theirs.in_proj_weight.chunk(3),
        theirs.in_proj_bias.chunk(3),
        strict=True,
    ):
        layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
    ours.output.load_state_dict(theirs.out_proj.state_dict())
    return ours


@device
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    queries=sizes,
    keys=sizes,
    heads=st.integers(1, 4),
    width=sizes,
    masked=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_the_module_equals_torchs_module_forward_and_backward(
    device, dtype, batch, queries, keys, heads, width, masked, seed
):
    generator = torch.Generator().manual_seed(seed)
    theirs = nn.MultiheadAttention(
        heads * width, heads, batch_first=True, dtype=dtype, device=device
    )
    nn.init.normal_(theirs.in_proj_bias)
    ours = copied(theirs, att.MultiHeadAttention(heads * width, heads).to(device, dtype))
    x = torch.randn(batch, queries, heads * width, generator=generator, dtype=dtype).to(device)
    source = torch.randn(batch, keys, heads * width, generator=generator, dtype=dtype).to(device)
    lengths = torch.randint(1, keys + 1, (batch,), generator=generator).to(device)
    mask = att.padding_mask(lengths, keys) if masked else None
    mine, reference = x.clone().requires_grad_(), x.clone().requires_grad_()
    output, weights = ours(mine, source, mask=mask, return_weights=True)
    expected, their_weights = theirs(
        reference,
        source,
        source,
        key_padding_mask=None if mask is None else ~mask[:, 0],
        average_attn_weights=False,
    )
    forward, backward = TOLERANCE[dtype]
    near(output, expected, forward)
    near(weights, their_weights, forward)
    output.sum().backward()
    expected.sum().backward()
    near(mine.grad, reference.grad, backward)
    rows = torch.cat([ours.query.weight.grad, ours.key.weight.grad, ours.value.weight.grad])
    near(rows, theirs.in_proj_weight.grad, 10 * backward)


def test_a_layer_of_the_bundled_bert_rebuilt_gives_transformers_output(clf):
    layer = clf.model.bert.encoder.layer[3].attention
    ours = att.MultiHeadAttention(384, 12).eval()
    for name in ("query", "key", "value"):
        getattr(ours, name).load_state_dict(getattr(layer.self, name).state_dict())
    ours.output.load_state_dict(layer.output.dense.state_dict())
    encoded = clf.tokenizer(
        ["A joy.", "Not a minute too long, and never dull."], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = clf.model.bert(**encoded, output_hidden_states=True).hidden_states[3]
        padding = encoded["attention_mask"].bool()[:, None]
        mixed = ours(hidden, mask=padding)
        rebuilt = layer.output.LayerNorm(mixed + hidden)
        context = layer.self(hidden, attention_mask=padding[:, None])[0]
        expected = layer.output(context, hidden)
    real = encoded["attention_mask"].bool()
    near(rebuilt[real], expected[real], 1e-5)


# --- Masks and rows with nothing to see ----------------------------------------------------------


def test_a_query_that_may_look_nowhere_gets_zeros_and_finite_gradients():
    query, key, value = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(3))
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[1] = False
    for context in (
        att.scaled_dot_product_attention(query, key, value, mask)[0],
        att.tiled_attention(query, key, value, mask, tile=2),
        att.top_k_attention(query, key, value, 2, mask)[0],
        att.hard_attention(query, key, value, mask).context,
        att.hard_attention(query, key, value, mask, "straight-through").context,
    ):
        assert not context[:, 1].any()
        assert context[:, 0].any()
        query.grad = key.grad = value.grad = None
        context.square().sum().backward()
        assert all(one.grad is None or one.grad.isfinite().all() for one in (query, key, value))


def test_softmax_is_stable_at_scores_no_exponential_can_hold():
    scores = torch.tensor([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4, -3e38]])
    near(att.softmax(scores), scores.softmax(-1), 1e-6)
    assert att.softmax(torch.tensor([[-math.inf, 0.0]])).tolist() == [[0.0, 1.0]]


@given(st.floats(0.05, 50), st.integers(2, 8))
def test_temperature_divides_the_scores(temperature, keys):
    scores = torch.randn(3, keys)
    near(att.softmax(scores, temperature=temperature), (scores / temperature).softmax(-1), 1e-6)


def test_masks_say_who_sees_whom():
    assert att.padding_mask(torch.tensor([2, 0]), 3).tolist() == [
        [[True, True, False]],
        [[False] * 3],
    ]
    assert att.causal_mask(2, 4).tolist() == [[True, True, True, False], [True] * 4]
    assert att.local_mask(3, 0).equal(torch.eye(3, dtype=torch.bool))
    assert att.local_mask(1, 1, keys=4).tolist() == [[False, False, True, True]]
    assert att.combine_masks() is None
    assert att.combine_masks(None, att.causal_mask(3)).equal(att.causal_mask(3))
    both = att.combine_masks(att.causal_mask(3), att.padding_mask(torch.tensor([1, 3])))
    assert both.shape == (2, 3, 3)
    assert both[0, 2].tolist() == [True, False, False]


@pytest.mark.parametrize("future", [1, 2, 5])
def test_under_a_causal_mask_no_output_depends_on_the_future(future):
    x = torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, future:] += 1
    layer = att.MultiHeadAttention(8, 2)
    before, after = (layer(one, mask=att.causal_mask(6)) for one in (x, changed))
    assert before[:, :future].equal(after[:, :future])
    assert not before[:, future:].equal(after[:, future:])


def test_padding_changes_nothing():
    layer, x = att.MultiHeadAttention(8, 2), torch.randn(1, 4, 8)
    padded = torch.cat([x, torch.randn(1, 3, 8)], 1)
    near(layer(padded, mask=att.padding_mask(torch.tensor([4]), 7))[:, :4], layer(x), 1e-6)


# --- Other scores and other ways to choose -------------------------------------------------------


def test_scoring_functions_equal_their_formulas_pair_by_pair():
    query, key = torch.randn(3, 4), torch.randn(5, 6)
    weight = torch.randn(4, 6)
    u, w, v = torch.randn(4, 7), torch.randn(6, 7), torch.randn(7)
    general, additive = (
        att.general_scores(query, key, weight),
        att.additive_scores(query, key, u, w, v),
    )
    for i in range(3):
        for j in range(5):
            near(general[i, j], query[i] @ weight @ key[j], 1e-5)
            near(additive[i, j], v @ torch.tanh(u.T @ query[i] + w.T @ key[j]), 1e-5)
    same = torch.randn(5, 4)
    near(att.general_scores(query, same, torch.eye(4)), att.dot_scores(query, same), 1e-6)
    near(att.scaled_dot_scores(query, same) * 2, att.dot_scores(query, same), 1e-6)


def test_hard_attention_takes_the_value_of_the_best_key():
    query, key, value = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 6)
    hard = att.hard_attention(query, key, value)
    best = att.dot_scores(query, key).argmax(-1)
    near(hard.context, torch.stack([value[b, best[b]] for b in range(2)]), 1e-6)
    soft = att.softmax(att.scaled_dot_scores(query, key))
    near(hard.log_probability, soft.amax(-1).log(), 1e-5)


def test_sampled_attention_chooses_keys_as_often_as_the_soft_weights_say():
    query, key, value = torch.randn(1, 4), torch.randn(5, 4), torch.eye(5)
    soft = att.softmax(att.scaled_dot_scores(query, key))[0]
    draws = 4000
    many = query.expand(draws, 4)
    generator = torch.Generator().manual_seed(1)
    chosen = att.hard_attention(many, key, value, method="score-function", generator=generator)
    assert set(chosen.weights.unique().tolist()) == {0.0, 1.0}
    share = chosen.context.mean(0)
    assert ((share - soft).abs() <= 4 * (soft * (1 - soft) / draws).sqrt() + 1e-3).all()


def test_straight_through_is_hard_forward_and_soft_backward():
    query, key, value = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4), torch.randn(5, 2)
    hard = att.hard_attention(query, key, value, method="straight-through")
    assert ((hard.weights - hard.weights.round()).abs() < 1e-6).all()
    (through,) = torch.autograd.grad(hard.context.sum(), query)
    (soft,) = torch.autograd.grad(
        att.scaled_dot_product_attention(query, key, value)[0].sum(), query
    )
    near(through, soft, 1e-5)


@pytest.mark.parametrize("baseline", [0.0, 1.7])
def test_the_score_function_gradient_is_right_on_average_over_all_choices(baseline):
    """Every possible choice, weighted by its probability: no sampling noise."""
    query, key = (
        torch.randn(1, 4, dtype=torch.float64, requires_grad=True),
        torch.randn(5, 4, dtype=torch.float64),
    )
    value = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    loss_of = value.square().sum(-1)  # the loss if that key is chosen
    soft = att.softmax(att.scaled_dot_scores(query, key))[0]
    expected = torch.autograd.grad((soft * loss_of).sum(), (query, value), retain_graph=True)
    found = [torch.zeros_like(query), torch.zeros_like(value)]
    for choice in range(5):
        surrogate = att.score_function_loss(loss_of[choice], soft[choice].log()[None], baseline)
        assert torch.isclose(surrogate, loss_of[choice])
        for total, part in zip(
            found, torch.autograd.grad(surrogate, (query, value), retain_graph=True), strict=True
        ):
            total += soft[choice].detach() * part
    for one, other in zip(found, expected, strict=True):
        near(one, other, 1e-10)


@given(st.integers(1, 9))
def test_top_k_looks_at_k_keys_and_equals_soft_attention_when_k_is_all(k):
    query, key, value = torch.randn(2, 3, 4), torch.randn(2, 6, 4), torch.randn(2, 6, 5)
    context, weights = att.top_k_attention(query, key, value, k)
    soft_context, soft = att.scaled_dot_product_attention(query, key, value)
    assert ((weights > 0).sum(-1) == min(k, 6)).all()
    near(weights.sum(-1), torch.ones(2, 3), 1e-6)
    assert (weights.argmax(-1) == soft.argmax(-1)).all()
    if k >= 6:
        near(context, soft_context, 1e-6)


@pytest.mark.parametrize("queries, keys", [(9, 9), (3, 11), (1, 4)])
@pytest.mark.parametrize("tile", [1, 4, 64])
def test_tiled_attention_equals_the_plain_one_causal_too_with_gradients(queries, keys, tile):
    inputs = [
        torch.randn(2, n, 8, dtype=torch.float64, requires_grad=True) for n in (queries, keys, keys)
    ]
    plain = att.scaled_dot_product_attention(*inputs, att.causal_mask(queries, keys))[0]
    tiled = att.tiled_attention(*inputs, causal=True, tile=tile)
    near(tiled, plain, 1e-10)
    g = torch.randn_like(plain)
    for one, other in zip(
        torch.autograd.grad(tiled, inputs, g), torch.autograd.grad(plain, inputs, g), strict=True
    ):
        near(one, other, 1e-10)


@pytest.mark.parametrize("gradients", [False, True])
def test_tiled_attention_never_holds_all_weights(gradients):
    """The largest tensor made on the way, forward and backward, stays far below T x T."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            made = function(*arguments, **(keywords or {}))
            for one in made if isinstance(made, tuple | list) else [made]:
                if isinstance(one, torch.Tensor):
                    self.numbers = max(self.numbers, one.numel())
            return made

    tokens = 512
    inputs = [torch.randn(tokens, 8, requires_grad=gradients) for _ in range(3)]
    with Largest() as tiled:
        context = att.tiled_attention(*inputs, tile=32)
        if gradients:
            context.sum().backward()
    with Largest() as plain:
        att.scaled_dot_product_attention(*inputs)
    assert plain.numbers == tokens**2
    assert tiled.numbers <= tokens * 32


def test_tiled_attention_gives_zeros_where_the_first_queries_see_no_key():
    query, key, value = torch.randn(2, 10, 4), torch.randn(4, 4), torch.randn(3, 1, 4, 5)
    plain = att.scaled_dot_product_attention(query, key, value, att.causal_mask(10, 4))[0]
    near(att.tiled_attention(query, key, value, causal=True, tile=2), plain, 1e-5)
    assert not plain[..., :6, :].any()


@pytest.mark.parametrize("queries, keys", [(0, 3), (3, 0)])
def test_no_queries_and_no_keys_are_no_problem(queries, keys):
    inputs = torch.randn(2, queries, 4), torch.randn(2, keys, 4), torch.randn(2, keys, 5)
    for context in (
        att.scaled_dot_product_attention(*inputs)[0],
        att.tiled_attention(*inputs),
        att.MultiHeadAttention(4, 2)(*inputs[:2], inputs[1]),
    ):
        assert context.shape[:2] == (2, queries)
    assert not att.scaled_dot_product_attention(*inputs)[0].any()
    assert not att.tiled_attention(*inputs).any()


def test_half_precision_neither_overflows_nor_loses_the_sums():
    torch.manual_seed(0)
    large = [(torch.randn(6, 64) * 100).half() for _ in range(3)]
    assert att.scaled_dot_product_attention(*large)[0].isfinite().all()
    query, key, value = (torch.randn(n, 32) for n in (8, 4096, 4096))
    exact = att.scaled_dot_product_attention(query, key, value)[0]
    halves = [one.bfloat16() for one in (query, key, value)]
    assert att.tiled_attention(*halves, tile=16).dtype == torch.bfloat16
    near(att.tiled_attention(*halves, tile=16).float(), exact, 0.02)


def test_layers_can_be_stacked_under_autocast():
    layer, x = att.MultiHeadAttention(8, 2), torch.randn(1, 3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near(layer(layer(x)).float(), layer(layer(x).float()).float(), 0.1)


# --- The module ----------------------------------------------------------------------------------


def test_scale_and_temperature_act_on_single_heads():
    layer, x = att.MultiHeadAttention(12, 3), torch.randn(2, 5, 12)
    near(layer(x, scale=torch.ones(3), temperature=torch.ones(3)), layer(x), 1e-6)
    silent = layer(x, scale=torch.zeros(3))
    near(silent, layer.output.bias.expand_as(silent), 1e-6)
    one = layer(x, scale=torch.tensor([0.0, 1.0, 1.0]))
    cut = att.MultiHeadAttention(12, 3)
    cut.load_state_dict(layer.state_dict())
    cut.output.weight.data[:, :4] = 0
    near(one, cut(x), 1e-6)
    _, weights = layer(x, temperature=torch.tensor([1.0, 1e-3, 1e3]), return_weights=True)
    _, plain = layer(x, return_weights=True)
    near(weights[:, 0], plain[:, 0], 1e-6)
    assert (weights[:, 1].amax(-1) > plain[:, 1].amax(-1)).all()
    near(weights[:, 2], torch.full_like(weights[:, 2], 0.2), 1e-2)
    rows = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    near(layer(x, scale=rows), torch.stack([layer(x)[0], one[1]]), 1e-6)


def test_dropout_acts_while_training_only_and_keeps_the_mean():
    layer, x = att.MultiHeadAttention(8, 2, dropout=0.5), torch.randn(1, 6, 8)
    torch.manual_seed(0)
    mean = torch.stack([layer(x) for _ in range(3000)]).mean(0)
    assert not layer(x).equal(layer(x))
    layer.eval()
    assert layer(x).equal(layer(x))
    near(mean, layer(x), 0.1)


def test_cross_attention_takes_sources_of_another_width_and_values_of_their_own():
    layer = att.MultiHeadAttention(8, 2, d_source=6, bias=False)
    x, source = torch.randn(2, 3, 8), torch.randn(2, 5, 6)
    assert layer(x, source).shape == (2, 3, 8)
    near(layer(x, source, source), layer(x, source), 1e-6)
    assert not layer(x, source, source.flip(1)).equal(layer(x, source))
    assert layer.query.bias is None


def test_self_attention_does_not_know_the_order_until_positions_are_added():
    layer, x = att.MultiHeadAttention(8, 2), torch.randn(1, 6, 8)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    near(layer(x[:, order]), layer(x)[:, order], 1e-6)
    places = att.sinusoidal_positions(6, 8)
    assert (layer(x[:, order] + places) - layer(x + places)[:, order]).abs().max() > 1e-3


def test_positions_turn_by_the_same_rotation_wherever_they_are():
    positions = att.sinusoidal_positions(50, 16).double()
    assert positions.shape == (50, 16)
    near(positions[0], torch.tensor([0.0, 1.0] * 8).double(), 1e-6)
    near(positions[3, :2], torch.tensor([math.sin(3), math.cos(3)]).double(), 1e-6)
    near(positions[3, -2:], torch.tensor([math.sin(3 / 10000 ** (14 / 16)), 1.0]).double(), 1e-4)
    products = positions @ positions.T
    for distance in (1, 7):  # the product depends on the distance alone
        diagonal = products.diagonal(distance)
        near(diagonal, diagonal[:1].expand_as(diagonal), 1e-5)


# --- What weights say ----------------------------------------------------------------------------


def test_entropy_runs_from_a_single_key_to_all_alike():
    weights = torch.stack([torch.full((4,), 0.25), torch.eye(4)[1], torch.tensor([0.5, 0.5, 0, 0])])
    near(att.entropy(weights), torch.tensor([math.log(4), 0, math.log(2)]), 1e-6)
    near(att.entropy(weights, normalised=True), torch.tensor([1.0, 0, 0.5]), 1e-6)
    near(att.effective_keys(weights), torch.tensor([4.0, 1, 2]), 1e-6)
    nats = torch.distributions.Categorical(logits=torch.randn(3, 5))
    near(att.entropy(nats.probs), nats.entropy(), 1e-5)


def test_entropy_has_finite_gradients_where_a_weight_is_zero():
    scores = torch.tensor([[1.0, 2.0, 3.0], [0.0, 200.0, 3.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    att.effective_keys(att.softmax(scores, mask)).sum().backward()
    assert scores.grad.isfinite().all()
    p = torch.sigmoid(torch.tensor(1.0))
    expected = p * (1 - p) * torch.exp(torch.special.entr(torch.stack([p, 1 - p])).sum())
    near(scores.grad[0, :2], torch.stack([expected, -expected]), 1e-4)


@pytest.mark.parametrize("normalised", [False, True])
def test_entropy_is_never_below_zero_nor_minus_zero_and_keeps_its_gradient(normalised):
    # the second row is a single key as rounding may leave it: -w log w is below 0
    weights = torch.tensor([[1.0, 0.0], [1 + 1e-6, 0.0]], requires_grad=True)
    entropy = att.entropy(weights, normalised=normalised)
    assert [f"{value:.2f}" for value in entropy.tolist()] == ["0.00", "0.00"]
    (slope,) = torch.autograd.grad(entropy.sum(), weights)
    near(slope[:, 0], torch.full((2,), -1 / (math.log(2) if normalised else 1)), 1e-5)


def test_normalised_entropy_counts_the_keys_that_could_be_seen():
    weights = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0], [0.25] * 4])
    share = att.entropy(weights, att.causal_mask(4), normalised=True)
    near(share, torch.tensor([0.0, 1, 1, 1]), 1e-6)
    assert att.entropy(torch.zeros(1, 3), normalised=True).tolist() == [0.0]


# --- Errors --------------------------------------------------------------------------------------

GOOD = (torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(2, 7, 4))


def swapped(place, other):
    return tuple(other if index == place else one for index, one in enumerate(GOOD))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (swapped(0, np.zeros((5, 8))), "numpy.ndarray.*as_tensor"),
        (swapped(0, torch.zeros(2, 5, 8).long()), r"int64.*token ids"),
        (swapped(0, torch.zeros(8)), r"\(8,\).*single vector"),
        (swapped(1, torch.zeros(2, 7, 6)), r"\(2, 5, 8\).*\(2, 7, 6\).*transposed"),
        (swapped(1, torch.zeros(3, 7, 8)), r"\(3, 7, 8\).*heads before"),
        (
            (torch.zeros(2, 1, 4), torch.zeros(1, 3, 4), torch.zeros(3, 3, 4)),
            r"value \(3, 3, 4\).*heads before",
        ),
        (swapped(2, torch.zeros(2, 5, 4)), r"7 keys but 5 values.*change places"),
        (swapped(1, torch.zeros(2, 7, 8).double()), "float32 and torch.float64.*numpy"),
        (swapped(0, torch.zeros(2, 5, 8, device="meta")), "devices differ, meta and cpu"),
        ((*GOOD, torch.zeros(5, 7)), r"float32.*mask == 0"),
        ((*GOOD, torch.ones(5, 7).int()), r"int32.*mask.bool"),
        ((*GOOD, [[True]]), r"list.*bool"),
        ((*GOOD, torch.ones(2, 7, dtype=torch.bool)), r"\(2, 7\).*\(2, 5, 7\).*mask\[:, None, :\]"),
        ((*GOOD, torch.ones(4, 2, 5, 7, dtype=torch.bool)), r"\(4, 2, 5, 7\).*scores"),
        ((*GOOD, None, 0.0), "temperature.*positive.*hard_attention"),
        ((*GOOD, None, torch.tensor([-1.0])), "temperature.*positive"),
        ((*GOOD, None, math.nan), "temperature"),
    ],
)
def test_what_does_not_fit_is_shown_with_the_likely_question(arguments, words):
    with pytest.raises(TensorError, match=f"(?s){words}"):
        att.scaled_dot_product_attention(*arguments)


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda: att.general_scores(GOOD[0], GOOD[1], torch.zeros(8, 9)),
            r"\(8, 9\).*\(8, 8\).*weight.T",
        ),
        (
            lambda: att.general_scores(GOOD[0], GOOD[1], torch.zeros(8, 8).double()),
            r"weight.*float64",
        ),
        (
            lambda: att.additive_scores(*GOOD[:2], *[torch.zeros(8, 3)] * 3),
            r"vector has shape \(8, 3\)",
        ),
        (
            lambda: att.additive_scores(
                *GOOD[:2], torch.zeros(8, 3), torch.zeros(3, 8), torch.zeros(3)
            ),
            r"key_weight has shape \(3, 8\).*\(8, 3\)",
        ),
        (lambda: att.padding_mask(torch.ones(2, 3).long()), r"\(2, 3\).*\(B,\)"),
        (lambda: att.padding_mask(torch.tensor([0.5])), "whole"),
        (lambda: att.padding_mask(torch.tensor([-1])), "whole"),
        (lambda: att.causal_mask(-1), "counted"),
        (lambda: att.padding_mask([1, 2]), "list"),
        (lambda: att.padding_mask(torch.tensor([True])), "bool"),
        (lambda: att.padding_mask(torch.tensor([1]), -2), "max_length is -2"),
        (lambda: att.combine_masks(torch.zeros(2, 2)), "mask == 0"),
        (lambda: att.softmax(torch.ones(3), temperature="warm"), "'warm'"),
        (lambda: att.softmax(torch.ones(3), temperature=torch.ones(2, 1)), r"\(2, 1\).*\(3,\)"),
        (lambda: att.softmax(torch.ones(3), temperature=torch.tensor(math.nan)), "positive"),
        (lambda: att.softmax(torch.ones(3), temperature=torch.ones(3).double()), "float64"),
        (lambda: att.softmax(torch.ones(3), temperature=torch.ones(3, device="meta")), "meta"),
        (lambda: att.dot_scores(torch.zeros(2, 0), torch.zeros(3, 0)), "width 0"),
        (lambda: att.MultiHeadAttention(8, 2)(torch.zeros(1, 5, 8), mask=[True]), "list"),
        (
            lambda: att.MultiHeadAttention(8, 2)(torch.zeros(1, 5, 8), scale=torch.ones(5, 2)),
            r"\(1, 2\)",
        ),
        (
            lambda: att.MultiHeadAttention(8, 2)(
                torch.zeros(1, 5, 8), scale=torch.ones(2).double()
            ),
            "float64",
        ),
        (lambda: att.MultiHeadAttention(8, 2, dropout=1.5), "dropout is 1.5"),
        (lambda: att.MultiHeadAttention(8, 2, d_source=0), "d_source is 0"),
        (lambda: att.split_heads(np.zeros((1, 2, 4)), 2), "cannot be split"),
        (lambda: att.split_heads(torch.zeros(1, 2, 4), 2.0), "heads is 2.0"),
        (lambda: att.local_mask(3, -1), "window"),
        (
            lambda: att.combine_masks(torch.ones(2, 1, 7).bool(), torch.ones(3, 5, 7).bool()),
            r"\(2, 1, 7\), \(3, 5, 7\)",
        ),
        (lambda: att.hard_attention(*GOOD, method="argmin"), "Did you mean 'argmax'"),
        (lambda: att.top_k_attention(*GOOD, 0), "k is 0"),
        (lambda: att.tiled_attention(*GOOD, tile=0), "tile"),
        (lambda: att.score_function_loss(torch.tensor(1.0), torch.zeros(2, 3)), "average the loss"),
        (lambda: att.split_heads(torch.zeros(2, 5, 10), 3), r"\(2, 5, 10\).*3 heads"),
        (lambda: att.merge_heads(torch.zeros(5, 4)), r"\(5, 4\).*\(B, H, T, D\)"),
        (lambda: att.MultiHeadAttention(10, 3), "10 cannot be shared by 3"),
        (lambda: att.MultiHeadAttention(8, 2)(torch.zeros(5, 8)), r"\(5, 8\).*x\[None\]"),
        (lambda: att.MultiHeadAttention(8, 2)(torch.zeros(1, 5, 6)), r"\(1, 5, 6\).*tokens, 8"),
        (lambda: att.MultiHeadAttention(8, 2)(torch.zeros(1, 5, 8).double()), "float64"),
        (
            lambda: att.MultiHeadAttention(8, 2)(torch.zeros(1, 5, 8), scale=torch.ones(3)),
            r"\(3,\).*2 heads",
        ),
        (
            lambda: att.MultiHeadAttention(8, 2)(torch.zeros(1, 5, 8), temperature=2.0),
            "temperature.*float",
        ),
        (lambda: att.sinusoidal_positions(4, 5), "even"),
        (lambda: att.entropy(torch.ones(3).long()), "int64"),
        (lambda: att.softmax(3.0), "float, not a torch tensor"),
    ],
)
def test_every_other_wrong_input_has_a_message_with_the_cure(call, words):
    with pytest.raises(TensorError, match=f"(?s){words}"):
        call()


def test_attention_is_there_without_transformers_or_jupyter():
    import subprocess
    import sys

    code = (
        "import sys, attnlab as al; al.attention.softmax; "
        "assert not {'transformers', 'matplotlib', 'ipywidgets', 'IPython'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- Shapes ---------------------------------------------------------------------------------------

axes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@given(axes, axes)
def test_a_tensor_fits_a_shape_that_broadcasting_leaves_as_it_is(given_axes, shape):
    try:
        wanted = torch.broadcast_shapes(given_axes, shape) == shape
    except RuntimeError:
        wanted = False
    assert shapes.fits(torch.zeros(given_axes), shape) == wanted
