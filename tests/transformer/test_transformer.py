import json
import math

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import attnlab as al
from attnlab import transformer
from attnlab.errors import ModelError, SettingsError, TensorError
from attnlab.heads.settings import KINDS
from attnlab.transformer import decoding
from attnlab.transformer.layers import Embedding

PADDING, START, END = 0, 2, 3
SMALL = {
    "source_vocabulary": 11,
    "target_vocabulary": 13,
    "d_model": 16,
    "heads": 4,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "feed_forward": 24,
    "dropout": 0.0,
    "max_length": 12,
}


def small(dtype=torch.float32, **changes):
    """A small model in which every parameter, biases and norms too, has been moved."""
    torch.manual_seed(0)
    model = al.Seq2SeqTransformer(**SMALL | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.to(dtype)


def batch(rows=3, source=7, target=6):
    """Ids in which all rows but the first are padded, source and target."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 11, (rows, source), generator=generator)
    fed = torch.randint(4, 13, (rows, target), generator=generator)
    labels = torch.randint(4, 13, (rows, target), generator=generator)
    fed[:, 0] = START
    for row in range(1, rows):
        ids[row, source - row :] = PADDING
        fed[row, target - row :] = PADDING
        labels[row, target - row :] = PADDING
    return ids, fed, labels


def off(one, other):
    """Largest difference, relative to the largest number."""
    one, other = one.detach(), other.detach()
    return float((one - other).abs().max() / other.abs().max())


# --- Oracle ------------------------------------------------------------------------------------


def paired(model, theirs):
    """Our parameters beside torch's, as (ours, a view of theirs of the same shape)."""
    width = model.size["d_model"]

    def attention(mine, other):
        for place, name in enumerate(("query", "key", "value")):
            rows = slice(place * width, (place + 1) * width)
            yield getattr(mine, name).weight, other.in_proj_weight, rows
            yield getattr(mine, name).bias, other.in_proj_bias, rows
        yield from plain(mine.output, other.out_proj)

    def plain(mine, other):
        yield mine.weight, other.weight, slice(None)
        yield mine.bias, other.bias, slice(None)

    for mine, other in zip(model.encoder, theirs.encoder.layers, strict=True):
        yield from attention(mine.attention, other.self_attn)
        yield from plain(mine.feed_forward[0], other.linear1)
        yield from plain(mine.feed_forward[3], other.linear2)
        yield from plain(mine.around_attention.norm, other.norm1)
        yield from plain(mine.around_feed_forward.norm, other.norm2)
    for mine, other in zip(model.decoder, theirs.decoder.layers, strict=True):
        yield from attention(mine.attention, other.self_attn)
        yield from attention(mine.cross_attention, other.multihead_attn)
        yield from plain(mine.feed_forward[0], other.linear1)
        yield from plain(mine.feed_forward[3], other.linear2)
        yield from plain(mine.around_attention.norm, other.norm1)
        yield from plain(mine.around_cross_attention.norm, other.norm2)
        yield from plain(mine.around_feed_forward.norm, other.norm3)
    if model.size["norm"] == "pre":
        yield from plain(model.encoder_norm, theirs.encoder.norm)
        yield from plain(model.decoder_norm, theirs.decoder.norm)


def torchs(model):
    """torch.nn.Transformer with our weights."""
    size = model.size
    theirs = nn.Transformer(
        size["d_model"],
        size["heads"],
        size["encoder_layers"],
        size["decoder_layers"],
        size["feed_forward"],
        dropout=0.0,
        batch_first=True,
        norm_first=size["norm"] == "pre",
    ).to(model.output.weight.dtype)
    if size["norm"] == "post":
        theirs.encoder.norm = theirs.decoder.norm = None  # the paper has none
    with torch.no_grad():
        for mine, other, rows in paired(model, theirs):
            other[rows] = mine
    return theirs


def waves(length, width):
    """Sines and cosines of the paper, number by number."""
    return torch.tensor(
        [
            [
                (math.sin if column % 2 == 0 else math.cos)(
                    place / 10000 ** ((column - column % 2) / width)
                )
                for column in range(width)
            ]
            for place in range(length)
        ]
    )


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["fp32", "fp64"]
)
def test_equals_torchs_transformer_with_the_same_weights_forward_and_backward(
    norm, dtype, tolerance, fused
):
    model = small(dtype, norm=norm, fused=fused)
    if dtype == torch.float64:  # to the last digit: ours are kept in single precision
        for embedding in (model.source_embedding, model.target_embedding):
            embedding.positions = waves(12, 16).to(dtype)
    theirs = torchs(model)
    source, target, labels = batch()
    words = [
        one.tokens.weight.detach().clone().requires_grad_()
        for one in (model.source_embedding, model.target_embedding)
    ]
    embedded = [
        weight[ids] * 4.0 + waves(ids.shape[1], 16).to(dtype)
        for weight, ids in zip(words, (source, target), strict=True)
    ]
    hidden = theirs(
        *embedded,
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(target.shape[1]) < 0,
        src_key_padding_mask=source == PADDING,
        tgt_key_padding_mask=target == PADDING,
        memory_key_padding_mask=source == PADDING,
    )
    expected = hidden @ words[1].T
    output = model(source, target, labels)
    assert off(output.logits, expected) < tolerance
    nn.functional.cross_entropy(
        expected.flatten(0, 1), labels.flatten(), ignore_index=PADDING
    ).backward()
    output.loss.backward()
    checked = set()
    # one scale for all: the gradient of a key's bias is 0 but for rounding
    largest = max(float(parameter.grad.abs().max()) for parameter in theirs.parameters())
    for mine, other, rows in paired(model, theirs):
        assert (mine.grad - other.grad[rows]).abs().max() < tolerance * largest
        checked.add(mine)
    for weight, mine in zip(words, (model.source_embedding, model.target_embedding), strict=True):
        assert off(mine.tokens.weight.grad, weight.grad) < tolerance
        checked.add(mine.tokens.weight)
    assert checked == set(model.parameters())


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_fused_attention_gives_the_same_as_the_one_written_out(norm):
    written, fused = small(norm=norm), small(norm=norm, fused=True)
    source, target, labels = batch()
    settings = written.neutral_settings()
    settings.encoder.scale[0, 1], settings.cross.temperature[1, 2] = 0.5, 3.0
    settings.decoder.temperature[2, 3] = 0.25
    outputs = [model(source, target, labels, settings) for model in (written, fused)]
    for output in outputs:
        output.loss.backward()
    assert off(outputs[1].logits, outputs[0].logits) < 1e-5
    for mine, other in zip(fused.parameters(), written.parameters(), strict=True):
        assert (mine.grad - other.grad).abs().max() < 1e-5
    asked = fused(source, target, settings=settings, return_weights=True)
    assert off(asked.logits, outputs[0].logits) < 1e-5
    assert len(asked.attention["cross"]) == 3


def test_fused_attention_takes_a_temperature_as_the_one_written_out_does():
    torch.manual_seed(0)
    written = al.attention.MultiHeadAttention(8, 2)
    fused = al.attention.MultiHeadAttention(8, 2, fused=True)
    fused.load_state_dict(written.state_dict())
    x, temperature = torch.randn(2, 5, 8), torch.tensor([0.5, 2.0])
    for mask in (None, al.attention.causal_mask(5)):
        expected = written(x, mask=mask, temperature=temperature)
        assert off(fused(x, mask=mask, temperature=temperature), expected) < 1e-5


@pytest.mark.parametrize("fused", [False, True])
def test_dropout_acts_on_weights_embeddings_and_parts_while_training_only(fused):
    source, target, _ = batch()
    model = small(dropout=0.5, fused=fused)
    assert not model(source, target).logits.equal(model(source, target).logits)
    model.eval()
    assert model(source, target).logits.equal(model(source, target).logits)
    kinds = (nn.Dropout, al.attention.MultiHeadAttention)
    places = [one for one in model.modules() if isinstance(one, kinds)]
    for place in places:  # each by itself
        for other in places:
            other.train(other is place)
        changed = {str(model(source, target).logits.sum().item()) for _ in range(4)}
        assert len(changed) > 1, place


@pytest.mark.parametrize("fused", [False, True])
def test_dropout_of_weights_keeps_the_mean(fused):
    torch.manual_seed(0)
    attention, x = al.attention.MultiHeadAttention(8, 2, 0.3, fused=fused), torch.randn(1, 5, 8)
    mean = torch.stack([attention(x) for _ in range(3000)]).mean(0)
    assert (mean - attention.eval()(x)).abs().max() < 0.03


# --- Causality and padding ---------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_changed_future_token_changes_no_earlier_logits(layers, fused):
    model = small(decoder_layers=layers, fused=fused)
    source, target, _ = batch(rows=1)
    before = model(source, target).logits
    for place in range(1, target.shape[1]):
        changed = target.clone()
        changed[:, place] = 4 + (target[:, place] - 3) % 9
        after = model(source, changed).logits
        assert after[:, :place].equal(before[:, :place])
        assert (after[:, place:] != before[:, place:]).any(-1).all()


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_logits_have_no_gradient_to_later_embeddings(layers, norm):
    model = small(decoder_layers=layers, norm=norm)
    source, target, _ = batch(rows=1)
    embedded = []

    def keep(module, inputs, output):
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    model.target_embedding.register_forward_hook(keep)
    logits = model(source, target).logits
    for place in range(target.shape[1]):
        direction = torch.randn(13)
        (gradient,) = torch.autograd.grad(
            logits[0, place] @ direction, embedded[0], retain_graph=True
        )
        assert (gradient[0, : place + 1] != 0).any(-1).all()
        assert not gradient[0, place + 1 :].any()


@pytest.mark.parametrize("fused", [False, True])
def test_longer_padding_changes_neither_logits_nor_loss_nor_gradients(fused):
    model = small(fused=fused)
    source, target, labels = batch()
    longer = [nn.functional.pad(one, (0, 4)) for one in (source, target, labels)]
    gradients, outputs = [], []
    for ids in ((source, target, labels), longer):
        model.zero_grad()
        outputs.append(model(*ids))
        outputs[-1].loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert off(outputs[1].logits[:, :6], outputs[0].logits) < 1e-5
    assert outputs[1].loss.item() == pytest.approx(outputs[0].loss.item(), rel=1e-6)
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() < 1e-5


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_stands_at_padding_cannot_matter(norm, fused):
    model = small(norm=norm, tie="none", fused=fused)
    source, target, labels = batch()
    before = model(source, target, labels)
    with torch.no_grad():
        model.source_embedding.tokens.weight[PADDING] = 30
        model.target_embedding.tokens.weight[PADDING] = -30
    after = model(source, target, labels)
    real = target != PADDING
    assert off(after.logits[real], before.logits[real]) < 1e-6
    assert after.loss.item() == pytest.approx(before.loss.item(), rel=1e-6)
    alone = model(source[2:, :5], target[2:, :4]).logits
    assert off(after.logits[2:, :4], alone) < 1e-5


@pytest.mark.parametrize("fused", [False, True])
def test_a_source_of_padding_alone_gives_numbers(fused):
    model = small(fused=fused)
    source, target, labels = batch()
    source[1] = PADDING
    output = model(source, target, labels)
    output.loss.backward()
    assert output.logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert off(output.logits, small()(source, target).logits) < 1e-5


# --- Embeddings, tying, loss -------------------------------------------------------------------


def test_an_embedding_is_its_token_times_the_root_of_the_width_plus_its_place():
    embedding = Embedding(9, 16, dropout=0.0)
    ids = torch.tensor([[3, 8, 3]])
    expected = embedding.tokens.weight[ids] * 4 + waves(3, 16)
    assert off(embedding(ids), expected) < 1e-6
    later = embedding.tokens.weight[ids] * 4 + waves(8, 16)[5:]
    assert off(embedding(ids, first=5), later) < 1e-6


def test_learned_positions_are_learned_and_sinusoidal_ones_are_not_kept():
    model = small(positions="learned")
    source, target, labels = batch()
    model(source, target, labels).loss.backward()
    positions = model.source_embedding.positions
    assert positions.grad[:7].any(-1).all()
    assert not positions.grad[7:].any()
    assert "source_embedding.positions" in model.state_dict()
    assert "source_embedding.positions" not in small().state_dict()
    with torch.no_grad():
        before = model(source, target).logits
        positions[0] += 1
        assert not model(source, target).logits.equal(before)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_the_order_of_the_source_matters(positions):
    model = small(positions=positions)
    source, target, _ = batch(rows=1)
    difference = model(source.flip(1), target).logits - model(source, target).logits
    assert difference.abs().max() > 1e-3


def test_tied_matrices_are_one_parameter():
    output = small(tie="output")
    assert output.output.weight is output.target_embedding.tokens.weight
    assert output.source_embedding.tokens.weight is not output.output.weight
    every = small(tie="all", source_vocabulary=13)
    assert every.source_embedding.tokens.weight is every.output.weight
    none = small(tie="none")
    assert none.output.weight is not none.target_embedding.tokens.weight
    with pytest.raises(ModelError, match="one vocabulary for both languages, not 11 and 13"):
        small(tie="all")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_the_loss_leaves_padding_out_and_smooths_labels_as_the_formula_says(smoothing):
    model = small(label_smoothing=smoothing)
    source, target, labels = batch()
    output = model(source, target, labels)
    losses = []
    for row, place in (labels != PADDING).nonzero().tolist():
        logs = output.logits[row, place].log_softmax(-1)
        asked = torch.full((13,), smoothing / 13)
        asked[labels[row, place]] += 1 - smoothing
        losses.append(-(asked * logs).sum())
    assert output.loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    theirs = nn.functional.cross_entropy(
        output.logits.transpose(1, 2), labels, ignore_index=0, label_smoothing=smoothing
    )
    assert output.loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert model(source, target).loss is None


def test_matrices_begin_as_xavier_says_and_embeddings_with_unit_length():
    torch.manual_seed(0)
    model = al.Seq2SeqTransformer(500, 600, d_model=64, feed_forward=256, tie="none")
    for embedding in (model.source_embedding, model.target_embedding):
        lengths = embedding.tokens.weight.detach().norm(dim=1)
        assert lengths.mean().item() == pytest.approx(1, abs=0.02)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            bound = math.sqrt(6 / sum(module.weight.shape))
            assert 0.98 * bound < module.weight.abs().max() <= bound
            assert module.bias is None or not module.bias.any()


def test_a_tiny_model_learns_pairs_by_heart():
    torch.manual_seed(0)
    model = al.Seq2SeqTransformer(14, 14, d_model=32, heads=2, feed_forward=64, dropout=0.0)
    source = torch.randint(4, 14, (12, 6))
    marks = [torch.full((12, 1), mark) for mark in (START, END)]
    target = torch.cat([marks[0], source.flip(1), marks[1]], 1)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(80):
        loss = model(source, target[:, :-1], target[:, 1:]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert decoding.greedy(model, source, START, END) == source.flip(1).tolist()


# --- Knobs and maps ----------------------------------------------------------------------------


def attention_of(model, kind, layer):
    if kind == "encoder":
        return model.encoder[layer].attention
    return getattr(model.decoder[layer], "attention" if kind == "decoder" else "cross_attention")


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_scale_zero_equals_zeroed_output_columns(kind, fused):
    source, target, _ = batch()
    model = small(fused=fused)
    plain = model(source, target).logits
    for layer, head in ((0, 0), (1, 3)):
        settings = model.neutral_settings()
        getattr(settings, kind).scale[layer, head] = 0
        silenced = model(source, target, settings=settings).logits
        cut = small(fused=fused)
        with torch.no_grad():
            attention_of(cut, kind, layer).output.weight[:, 4 * head : 4 * head + 4] = 0
        assert off(silenced, cut(source, target).logits) < 1e-5
        assert off(silenced, plain) > 1e-3
    assert model(source, target).logits.equal(plain)  # for that call only


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_temperature_equals_a_query_divided_by_it(kind, fused):
    source, target, _ = batch()
    model = small(fused=fused)
    settings = model.neutral_settings()
    getattr(settings, kind).temperature[1, 2] = 0.3
    cooled = model(source, target, settings=settings).logits
    divided = small(fused=fused)
    with torch.no_grad():
        for parameter in attention_of(divided, kind, 1).query.parameters():
            parameter[8:12] /= 0.3
    assert off(cooled, divided(source, target).logits) < 1e-5
    assert off(cooled, model(source, target).logits) > 1e-3


def test_neutral_settings_change_nothing_and_each_row_may_have_its_own():
    model = small()
    source, target, _ = batch()
    neutral, other = model.neutral_settings(), model.neutral_settings()
    assert off(model(source, target, settings=neutral).logits, model(source, target).logits) < 1e-6
    other.cross.scale[0], other.encoder.temperature[1, 0] = 0, 4
    stack = al.Seq2SeqSettings.stack([neutral, other, neutral])
    together = model(source, target, settings=stack).logits
    assert off(together[1], model(source, target, settings=other).logits[1]) < 1e-5
    assert off(together[::2], model(source, target).logits[::2]) < 1e-5


def test_settings_carry_gradients():
    model = small()
    source, target, labels = batch()
    settings = model.neutral_settings()
    for one in settings:
        one.scale.requires_grad_()
        one.temperature.requires_grad_()
    model(source, target, labels, settings).loss.backward()
    for one in settings:
        assert (one.scale.grad != 0).all()
        assert (one.temperature.grad != 0).all()


def test_settings_of_another_size_are_refused_by_kind():
    source, target, _ = batch()
    model = small()
    for settings, words in (
        (al.Seq2SeqSettings.neutral(3, 3, 4), "encoder: .*2 layers of 4 heads"),
        (al.Seq2SeqSettings.neutral(2, 2, 4), "decoder: .*3 layers of 4 heads"),
        (al.Seq2SeqSettings.stack([model.neutral_settings()] * 2), "batch of 3"),
        (al.Seq2SeqSettings(*[al.HeadSettings(2, 4), al.HeadSettings(3, 4), None]), "NoneType"),
    ):
        with pytest.raises(SettingsError, match=words):
            model(source, target, settings=settings)


def test_weights_of_all_kinds_are_rows_that_sum_to_one_and_look_where_they_may():
    model = small()
    source, target, _ = batch()
    attention = model(source, target, return_weights=True).attention
    sizes = {"encoder": (2, 7, 7), "decoder": (3, 6, 6), "cross": (3, 6, 7)}
    visible = {
        "encoder": (source != PADDING)[:, None, None].expand(3, 4, 7, 7),
        "decoder": (target != PADDING)[:, None, None] & torch.ones(6, 6).tril().bool(),
        "cross": (source != PADDING)[:, None, None].expand(3, 4, 6, 7),
    }
    for kind, (layers, queries, keys) in sizes.items():
        assert len(attention[kind]) == layers
        for weights, values in attention[kind]:
            assert weights.shape == (3, 4, queries, keys)
            assert values.shape == (3, 4, keys, 4)
            assert torch.allclose(weights.sum(-1), torch.ones(3, 4, queries))
            assert ((weights > 0) == visible[kind]).all()
    assert model(source, target).attention == {}


def test_weights_times_values_through_the_output_matrix_are_what_a_layer_adds():
    model = small()
    source, target, _ = batch()
    heard = {}
    for kind in KINDS:
        attention_of(model, kind, 1).register_forward_hook(
            lambda module, inputs, output, kind=kind: heard.update({kind: output[0]})
        )
    attention = model(source, target, return_weights=True).attention
    for kind in KINDS:
        weights, values = attention[kind][1]
        context = (weights @ values).transpose(1, 2).flatten(2)
        assert off(attention_of(model, kind, 1).output(context), heard[kind]) < 1e-5


# --- Size and cost -----------------------------------------------------------------------------


SIZES = [
    {},
    {"norm": "post", "tie": "none"},
    {"positions": "learned", "encoder_layers": 1, "heads": 2},
    {"tie": "all", "source_vocabulary": 13, "d_model": 24, "feed_forward": 7},
    {"decoder_layers": 1, "fused": True, "positions": "learned", "tie": "none", "max_length": 40},
    {"removed": [("encoder", 1, 0), ("cross", 2, 3), *(("decoder", 0, head) for head in range(4))]},
]


@pytest.mark.parametrize("changes", SIZES)
def test_parameters_by_formula_are_those_that_the_model_has(changes):
    model = small(**changes)
    table = transformer.parameters_of(model.size).set_index("part")["parameters"]
    assert table.sum() == sum(parameter.numel() for parameter in model.parameters())

    def counted(*modules):
        return sum(one.numel() for module in modules for one in module.parameters())

    assert table["decoder cross-attention"] == counted(*(e.cross_attention for e in model.decoder))
    assert table["decoder self-attention"] == counted(*(e.attention for e in model.decoder))
    assert table["encoder feed-forward"] == counted(*(e.feed_forward for e in model.encoder))
    norms = [one for one in model.modules() if isinstance(one, nn.LayerNorm)]
    assert table["norms"] == counted(*norms)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("changes", SIZES)
def test_operations_by_formula_are_those_that_torch_counts(changes, training):
    model = small(**changes, dropout=0.1).train(training) if training else small(**changes).eval()
    for rows, s, t in ((1, 1, 1), (3, 7, 6), (2, 5, 9)):
        source, target = torch.full((rows, s), 4), torch.full((rows, t), 5)
        # it does not count what a CPU's fused kernel does
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            model(source, target)
        table = transformer.flops_of(model.size, s, t, batch=rows)
        assert table["flops"].sum() == counter.get_total_flops()


def test_a_size_survives_json_and_builds_the_same_model():
    model = small(norm="post", positions="learned", tie="none", label_smoothing=0.1)
    again = al.Seq2SeqTransformer(**json.loads(json.dumps(model.size)))
    assert again.size == model.size
    again.load_state_dict(model.state_dict())
    source, target, labels = batch()
    assert again(source, target, labels).loss.equal(model(source, target, labels).loss)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: small(norm="middle"), ModelError, "no norm 'middle'"),
        (lambda: small(positions="learnt"), ModelError, "Did you mean 'learned'"),
        (lambda: small(tie="both"), ModelError, "no tie 'both'"),
        (lambda: small(label_smoothing=1.0), ModelError, "label_smoothing is 1.0"),
        (lambda: small(dropout=-0.1), ModelError, "dropout is -0.1"),
        (lambda: small(heads=3), TensorError, "d_model = 16 cannot be shared by 3 heads"),
        (lambda: small(encoder_layers=0), TensorError, "encoder_layers is 0"),
        (lambda: small()(torch.tensor([4, 5]), torch.tensor([[2]])), TensorError, "source has"),
        (lambda: small()(torch.ones(1, 2), torch.tensor([[2]])), TensorError, "float32"),
        (
            lambda: small()(torch.ones(2, 3).long(), torch.ones(3, 3).long()),
            TensorError,
            "2 rows: give one target",
        ),
        (
            lambda: small()(torch.ones(1, 13).long(), torch.ones(1, 3).long()),
            TensorError,
            "13 tokens does not fit.*max_length=13",
        ),
        (
            lambda: small()(*[torch.ones(1, n).long() for n in (3, 3, 4)]),
            TensorError,
            "one token shorter",
        ),
        (
            lambda: al.attention.MultiHeadAttention(8, 2)(
                torch.ones(1, 2, 8),
                torch.ones(1, 2, 8),
                projected=(torch.ones(1, 2, 2, 4), torch.ones(1, 2, 2, 4)),
            ),
            TensorError,
            "Keys came twice",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_cure(call, error, words):
    with pytest.raises(error, match=words):
        call()
