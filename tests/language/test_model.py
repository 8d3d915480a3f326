"""The language model: equal to GPT-2 and Llama, causal, and the same with and without a cache."""

import itertools

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import attnlab as al
from attnlab.errors import AttnlabError, ModelError, SettingsError, TensorError
from attnlab.heads import HeadSettings
from attnlab.language import LanguageModel, from_transformers, to_transformers
from attnlab.language.cache import visible
from attnlab.language.positions import POSITIONS

VOCABULARY, BATCH, TOKENS = 40, 3, 12


def model_of(**size):
    torch.manual_seed(0)
    made = LanguageModel(VOCABULARY, **{"d_model": 24, "heads": 4, "layers": 2} | size).eval()
    with torch.no_grad():  # large enough that every part matters
        for name, parameter in made.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
            elif "norm" not in name:
                parameter.normal_(std=0.1)
    return made


def ids_of(batch=BATCH, tokens=TOKENS, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCABULARY, (batch, tokens), generator=generator)


def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=16, n_embd=24, n_layer=2, n_head=4, n_inner=50,
        initializer_range=0.3, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def llama(**more):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
        max_position_embeddings=32, bos_token_id=None, eos_token_id=None, **more,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


SIZES = [
    {"positions": positions, "window": window, "sinks": sinks, "kv_heads": kv_heads}
    for positions, (window, sinks), kv_heads in itertools.product(
        POSITIONS, [(None, 0), (3, 0), (3, 2)], [4, 2, 1]
    )
]


@pytest.mark.parametrize("make", [gpt2, llama, lambda: llama(tie_word_embeddings=True)])
def test_logits_and_gradients_equal_those_of_transformers(make):
    theirs = make()
    ours = from_transformers(theirs)
    ids = ids_of()
    expected, logits = theirs(ids).logits, ours(ids)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    (expected * weights).sum().backward()
    (logits * weights).sum().backward()
    wanted = theirs.get_input_embeddings().weight.grad
    rounding = 1e-5 * float(wanted.abs().max())  # large terms cancel in small gradients
    torch.testing.assert_close(ours.embedding.weight.grad, wanted, atol=rounding, rtol=1e-4)
    blocks = theirs.transformer.h if hasattr(theirs, "transformer") else theirs.model.layers
    norm = getattr(blocks[0], "ln_1", None) or blocks[0].input_layernorm
    own, wanted = ours.blocks[0].around_attention.norm.weight.grad, norm.weight.grad
    rounding = 1e-5 * float(wanted.abs().max())
    torch.testing.assert_close(own, wanted, atol=rounding, rtol=1e-4)


@pytest.mark.parametrize("make", [gpt2, llama])
def test_there_and_back_gives_the_same_model(make):
    theirs = make()
    again = to_transformers(from_transformers(theirs))
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=0, rtol=0, msg=name)


@pytest.mark.parametrize("make", [gpt2, llama])
def test_left_padding_equals_that_of_transformers(make):
    theirs = make()
    ours, ids = from_transformers(theirs), ids_of()
    mask = torch.ones_like(ids).bool()
    mask[0, :4], mask[1, :1] = False, False
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    expected = theirs(ids, attention_mask=mask.long(), position_ids=positions).logits
    torch.testing.assert_close(ours(ids, mask)[mask], expected[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_cache_changes_nothing_at_window_edges_neither(size):
    model, ids = model_of(**size), ids_of()
    whole = model(ids)
    for cuts in ([1] * TOKENS, [5, 1, 1, 4, 1], [12], [1, 7, 4]):
        cache, parts, start = model.cache(BATCH), [], 0
        with torch.no_grad():
            for length in cuts:
                parts.append(model(ids[:, start : start + length], cache=cache))
                start += length
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-4, rtol=1e-4)
        assert cache.lengths.tolist() == [TOKENS] * BATCH


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_texts_of_different_length_in_a_batch_answer_as_alone(size):
    model, ids = model_of(**size), ids_of()
    lengths = [12, 5, 1]
    alone = [model(ids[row : row + 1, -length:]) for row, length in enumerate(lengths)]
    mask = torch.arange(TOKENS) >= TOKENS - torch.tensor(lengths)[:, None]
    together = model(ids, mask)
    cache = model.cache(BATCH)
    new = ids_of(tokens=4, seed=2)
    with torch.no_grad():
        cached = model(ids, mask, cache=cache)
        steps = torch.cat([model(new[:, [step]], cache=cache) for step in range(4)], 1)
    assert cache.lengths.tolist() == [length + 4 for length in lengths]
    for row, length in enumerate(lengths):
        for batched in (together, cached):
            torch.testing.assert_close(batched[row, -length:], alone[row][0], atol=1e-4, rtol=1e-4)
        longer = torch.cat([ids[row, -length:], new[row]])[None]
        torch.testing.assert_close(steps[row], model(longer)[0, -4:], atol=1e-4, rtol=1e-4)


def test_padding_on_the_right_equals_padding_on_the_left():
    model, ids = model_of(window=3, sinks=1), ids_of(2, 6)
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    turned = torch.cat([ids[:1].roll(2, 1), ids[1:]])
    left = model(turned, torch.cat([mask[:1].roll(2, 1), mask[1:]]))
    torch.testing.assert_close(model(ids, mask)[0, :4], left[0, 2:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_token_sees_nothing_of_those_after_it(size):
    model, ids = model_of(**size), ids_of(1)
    vectors = model.embedding(ids).detach().requires_grad_()
    model.embedding.forward = lambda ids: vectors  # what depends on what, by gradients
    logits = model(ids)
    for token in range(TOKENS):
        (gradient,) = torch.autograd.grad(logits[0, token].sum(), vectors, retain_graph=True)
        seen = gradient[0].abs().sum(-1) > 0
        assert not seen[token + 1 :].any()
        assert seen[token]


@pytest.mark.parametrize("size", [{}, {"positions": "alibi"}, {"window": 3, "sinks": 1}], ids=str)
@pytest.mark.parametrize("written_out", [False, True])
def test_padding_that_sees_nothing_makes_nothing_infinite(size, written_out):
    model, ids = model_of(**size), ids_of(2, 8)
    mask = torch.ones_like(ids).bool()
    mask[0, :3] = False
    logits = model(ids, mask, seen=[] if written_out else None)
    logits[mask].sum().backward()
    assert logits.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_what_is_added_to_the_stream_is_smaller_at_first_the_deeper_the_model():
    torch.manual_seed(0)
    model = LanguageModel(VOCABULARY, 96, 4, 8)
    for block in model.blocks:
        for added in (block.attention.output, block.feed_forward[-1]):
            assert float(added.weight.detach().std()) == pytest.approx(0.02 / 4, rel=0.05)
        assert float(block.attention.query.weight.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_a_window_hides_what_lies_before_it_and_sinks_stay():
    model, ids = model_of(layers=1, window=3, sinks=1, positions="none"), ids_of(1)
    seen = []
    model(ids, seen=seen)
    looked = seen[0][0][0, 0] > 0
    expected = visible(*[torch.arange(TOKENS)[None]] * 2, 3, 1)[0]
    assert torch.equal(looked, expected)
    assert expected[8].nonzero().flatten().tolist() == [0, 6, 7, 8]


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_bytes_of_a_cache_follow_the_formula(kv_heads):
    model = LanguageModel(VOCABULARY, 96, 4, 3, kv_heads=kv_heads)
    cache = model.cache()
    model(ids_of(1, 64), cache=cache)
    assert cache.bytes == 2 * 3 * kv_heads * 24 * 64 * 4
    windowed = LanguageModel(VOCABULARY, 96, 4, 3, kv_heads=kv_heads, window=16, sinks=4)
    cache = windowed.cache()
    for start in range(0, 64, 8):
        windowed(ids_of(1, 64)[:, start : start + 8], cache=cache)
    assert cache.bytes == 2 * 3 * kv_heads * 24 * (16 + 4) * 4


def test_rows_of_a_cache_can_be_chosen():
    model, ids = model_of(kv_heads=2), ids_of()
    cache = model.cache(BATCH)
    with torch.no_grad():
        model(ids, cache=cache)
        chosen = cache.select(torch.tensor([2, 0]))
        next_ids = ids_of(2, 1, seed=3)
        logits = model(next_ids, cache=chosen)
    whole = model(torch.cat([ids[[2, 0]], next_ids], 1))
    torch.testing.assert_close(logits[:, -1], whole[:, -1], atol=1e-4, rtol=1e-4)
    assert cache.lengths.tolist() == [TOKENS] * BATCH


def test_turned_scores_depend_on_the_distance_only():
    model, ids = model_of(layers=1), ids_of(1)
    filler = torch.full((1, 7), 3)
    seen = []
    model(ids, seen=seen)
    model(torch.cat([filler, ids], 1), seen=seen)
    near, far = seen[0][0][0], seen[1][0][0, :, 7:, 7:]
    ratio = (far / near)[near > 0].reshape(4, -1)
    # the same up to what each row gives away to the filler
    rows = torch.arange(TOKENS)[:, None].expand(TOKENS, TOKENS)[near[0] > 0]
    for row in range(TOKENS):
        part = ratio[:, rows == row]
        torch.testing.assert_close(part, part[:, :1].expand_as(part), atol=1e-3, rtol=1e-3)


# --- heads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("positions", ["rope", "alibi"])
def test_removed_heads_answer_as_silent_ones(kv_heads, positions):
    model, ids = model_of(kv_heads=kv_heads, positions=positions), ids_of()
    gone = [(0, 1), (0, 0), (1, 3)]
    settings = model.neutral_settings()
    for head in gone:
        settings.scale[head] = 0
    smaller = al.heads.prune(model, gone)
    torch.testing.assert_close(smaller(ids), model(ids, settings=settings), atol=1e-5, rtol=1e-5)
    assert al.heads.removed(smaller) == sorted(gone)
    assert al.heads.removed(model) == []
    again = LanguageModel(**smaller.size)
    again.load_state_dict(smaller.state_dict())
    torch.testing.assert_close(again.eval()(ids), smaller(ids), atol=0, rtol=0)
    seen = []
    smaller(ids, seen=seen)
    assert seen[0][0].shape == (BATCH, 4, TOKENS, TOKENS)
    assert not seen[0][0][:, :2].any()
    # head numbers do not shift
    assert al.heads.removed(al.heads.prune(smaller, [(0, 2)])) == sorted([*gone, (0, 2)])


def test_all_heads_of_a_layer_can_go():
    model, ids = model_of(), ids_of()
    settings = model.neutral_settings()
    settings.scale[0] = 0
    smaller = al.heads.prune(model, [(0, head) for head in range(4)])
    torch.testing.assert_close(smaller(ids), model(ids, settings=settings), atol=1e-5, rtol=1e-5)
    cache = smaller.cache(BATCH)
    torch.testing.assert_close(smaller(ids, cache=cache), smaller(ids), atol=1e-5, rtol=1e-5)


def test_a_block_changes_the_model_inside_it_only():
    model, ids = model_of(kv_heads=2), ids_of()
    before = model(ids)
    settings = model.neutral_settings()
    settings.scale[1, 2], settings.temperature[0, 1] = 0.5, 2.0
    given = model(ids, settings=settings)
    assert not torch.allclose(before, given, atol=1e-3)
    with al.heads.applied(model, settings):
        assert torch.equal(model(ids), given)
        assert torch.equal(model(ids, settings=model.neutral_settings()), before)
        with al.heads.applied(model, model.neutral_settings()):
            assert torch.equal(model(ids), before)
    assert torch.equal(model(ids), before)
    assert torch.equal(model(ids, settings=model.neutral_settings()), before)


def test_settings_act_in_a_block_around_steps_with_a_cache():
    model, ids = model_of(), ids_of()
    settings = model.neutral_settings()
    settings.temperature[0] = 3.0
    cache = model.cache(BATCH)
    with al.heads.applied(model, settings), torch.no_grad():
        steps = [model(ids[:, [step]], cache=cache) for step in range(TOKENS)]
    expected = model(ids, settings=settings)
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-4, rtol=1e-4)


def test_a_setting_for_each_row_and_gradients_to_both():
    model, ids = model_of(), ids_of()
    rows = [model.neutral_settings() for _ in range(BATCH)]
    rows[1].scale[0, 0], rows[2].temperature[1, 1] = 0.0, 0.5
    together = model(ids, settings=HeadSettings.stack(rows))
    for row, settings in enumerate(rows):
        alone = model(ids[[row]], settings=settings)[0]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)
    settings = model.neutral_settings()
    settings.scale.requires_grad_()
    settings.temperature.requires_grad_()
    model(ids, settings=settings).square().sum().backward()
    assert (settings.scale.grad != 0).all() and (settings.temperature.grad != 0).all()


def test_what_is_recorded_makes_up_the_logits():
    model, ids = model_of(kv_heads=2), ids_of()
    seen, states = [], []
    logits = model(ids, seen=seen, states=states)
    assert len(seen) == 2 and len(states) == 3
    torch.testing.assert_close(model.unembedding(model.norm(states[-1])), logits)
    weights, values = seen[0]
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, 4, TOKENS))
    block = model.blocks[0]
    mixed = block.attention.output((weights @ values).transpose(1, 2).flatten(2))
    after = states[0] + mixed
    expected = after + block.feed_forward(block.around_feed_forward.norm(after))
    torch.testing.assert_close(expected, states[1], atol=1e-5, rtol=1e-5)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"positions": "rop"}, "Did you mean 'rope'"),
        ({"kv_heads": 3}, "kv_heads must divide"),
        ({"d_model": 12}, "d_model / heads must be even"),
        ({"sinks": 2}, "Give a window"),
        ({"window": 0}, "at least 1"),
        ({"removed": [(5, 0)]}, r"no head \(5, 0\)"),
        ({"dropout": 1.0}, "below 1"),
    ],
)
def test_sizes_that_cannot_be(size, words):
    with pytest.raises(AttnlabError, match=words):
        LanguageModel(VOCABULARY, **{"d_model": 24, "heads": 4, "layers": 2} | size)


def test_input_that_cannot_be():
    model = model_of(positions="learned", max_length=6)
    for ids, words in [
        (torch.zeros(1, 7).long(), "6 learned positions"),
        (torch.full((1, 3), VOCABULARY), "other tokens"),
        (torch.zeros(4).long(), r"ids\[None\]"),
        (torch.zeros(1, 0).long(), "no token"),
    ]:
        with pytest.raises(TensorError, match=words):
            model(ids)
    with pytest.raises(TensorError, match="True for every token"):
        model(torch.zeros(1, 3).long(), torch.ones(1, 4).bool())
    with pytest.raises(SettingsError, match="2 layers of 4 heads"):
        model(torch.zeros(1, 3).long(), settings=HeadSettings(3, 4))
    with pytest.raises(ModelError, match="to_transformers"):
        al.heads.record(model, {}, model.neutral_settings())
    with pytest.raises(ModelError, match="no such mixture"):
        to_transformers(model_of())
    with pytest.raises(ModelError, match="window of 3 tokens"):
        to_transformers(model_of(window=3))
