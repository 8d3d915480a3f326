"""Logit lens and logit attribution: the last layer is the model, and the parts sum to the logit."""

import itertools

import pytest
import torch

from attnlab import heads
from attnlab.errors import ModelError, TensorError
from attnlab.language import LanguageModel
from attnlab.language.residual import (
    direct_logit_attribution,
    lens_table,
    logit_lens,
    token_losses,
)

VOCABULARY = 30


def model_of(**size):
    torch.manual_seed(0)
    model = LanguageModel(VOCABULARY, **{"d_model": 16, "heads": 4, "layers": 2} | size)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter) * 0.3
            parameter.copy_(1 + noise if "norm" in name and "weight" in name else noise)
    return model.eval()


def ids_of(batch=3, tokens=9):
    return torch.randint(0, VOCABULARY, (batch, tokens), generator=torch.Generator().manual_seed(1))


SIZES = [
    {"norm": norm, "feed_forward": kind, "kv_heads": kv_heads, "positions": positions}
    for (norm, kind), kv_heads, positions in itertools.product(
        [("layer", "gelu"), ("rms", "swiglu"), ("layer", "none")], [4, 2], ["rope", "learned"]
    )
] + [{"window": 4, "sinks": 1}, {"bias": False}, {"tied": False}]


@pytest.mark.parametrize("size", SIZES)
def test_the_parts_sum_to_the_logit(size):
    model, ids = model_of(**size), ids_of()
    parts = direct_logit_attribution(model, ids)
    expected = model(ids)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(parts.total, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(parts.logits, expected)
    assert parts.heads.shape == (2, 4, 3, 8)


def test_what_a_head_says_is_what_the_logits_lose_without_it_and_with_the_norm_held():
    model, ids = model_of(feed_forward="none", layers=1), ids_of()
    parts = direct_logit_attribution(model, ids)
    states, fewer = [], []
    settings = model.neutral_settings()
    settings.scale[0, 2] = 0
    model(ids, states=states)
    model(ids, states=fewer, settings=settings)
    scale = states[-1].std(-1, keepdim=True, correction=0)
    frozen = [
        model.unembedding(model.norm.weight * (x - x.mean(-1, keepdim=True)) / scale)
        for x in (states[-1], fewer[-1])
    ]
    lost = (frozen[0] - frozen[1])[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(parts.heads[0, 2], lost, atol=1e-3, rtol=1e-3)


def test_the_feed_forward_part_is_what_the_network_adds():
    model, ids = model_of(layers=1), ids_of()
    added = []
    model.blocks[0].feed_forward.register_forward_hook(lambda *call: added.append(call[-1]))
    states = []
    parts = direct_logit_attribution(model, ids)
    model(ids, states=states)
    centred = states[-1] - states[-1].mean(-1, keepdim=True)
    size = (centred.square().mean(-1, keepdim=True) + model.norm.eps).sqrt()
    own = added[-1] - added[-1].mean(-1, keepdim=True)
    said = model.unembedding(model.norm.weight * own / size)[:, :-1]
    expected = said.gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(parts.feed_forward[0], expected, atol=1e-4, rtol=1e-4)


def test_a_model_without_feed_forward_has_none_to_say():
    parts = direct_logit_attribution(model_of(feed_forward="none"), ids_of())
    assert parts.feed_forward.abs().max() < 1e-4


def test_differences_against_another_token_sum_to_the_difference_of_logits():
    model, ids = model_of(), ids_of()
    targets, against = torch.full((3, 9), 4), torch.full((3, 9), 11)
    parts = direct_logit_attribution(model, ids, targets, against)
    logits = model(ids)
    torch.testing.assert_close(parts.total, logits[..., 4] - logits[..., 11], atol=1e-4, rtol=1e-4)


def test_settings_count_given_or_of_a_block_and_a_silent_head_says_nothing():
    model, ids = model_of(), ids_of()
    settings = model.neutral_settings()
    settings.scale[0, 1], settings.scale[1, 0], settings.temperature[0, 2] = 0, 2.0, 0.5
    given = direct_logit_attribution(model, ids, settings=settings)
    with heads.applied(model, settings):
        of_block = direct_logit_attribution(model, ids)
    expected = model(ids, settings=settings)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    for parts in (given, of_block):
        torch.testing.assert_close(parts.total, expected, atol=1e-4, rtol=1e-4)
        assert not parts.heads[0, 1].any()


@pytest.mark.parametrize("gone", [[(0, 1)], [(1, head) for head in range(4)]])
def test_heads_that_were_removed_say_nothing(gone):
    model, ids = heads.prune(model_of(), gone), ids_of()
    parts = direct_logit_attribution(model, ids)
    expected = model(ids)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(parts.total, expected, atol=1e-4, rtol=1e-4)
    assert not any(parts.heads[place].any() for place in gone)


def test_the_table_of_parts_sums_to_the_mean_logit():
    parts = direct_logit_attribution(model_of(), ids_of())
    table = parts.frame()
    assert len(table) == 1 + 2 * (4 + 2) + 1
    assert table["logits"].sum() == pytest.approx(float(parts.logits.mean()), abs=1e-3)
    blocks = table[table["layer"] == 1]["logits"].sum()
    assert blocks == pytest.approx(float(parts.blocks[1].mean()), abs=1e-4)


def test_the_lens_of_the_last_layer_is_the_model_and_of_the_first_the_embedding_alone():
    model, ids = model_of(), ids_of()
    lens = logit_lens(model, ids)
    assert lens.shape == (3, 3, 9, VOCABULARY)
    torch.testing.assert_close(lens[-1], model(ids))
    torch.testing.assert_close(lens[0], model.unembedding(model.norm(model.embedding(ids))))


def test_the_lens_in_words():
    model, ids = model_of(), ids_of(1)
    lens = logit_lens(model, ids)
    table = lens_table(lens, ids, lambda own: [f"<{token}>" for token in own])
    assert len(table) == 3 * 9
    read = ids[0].tolist()
    row = table[(table["layer"] == 2) & (table["position"] == 4)].iloc[0]
    shares = model(ids)[0, 4].softmax(-1).detach()
    assert (row["token"], row["next"]) == (f"<{read[4]}>", f"<{read[5]}>")
    assert row["top"] == f"<{int(shares.argmax())}>"
    assert row["probability"] == pytest.approx(float(shares.max()), rel=1e-4)
    assert row["rank"] == 1 + int((shares > shares[read[5]]).sum())
    last = table[table["position"] == 8]
    assert last[["next", "next_probability", "rank"]].isna().all().all()
    with pytest.raises(TensorError, match="not that of one text"):
        lens_table(logit_lens(model, ids_of(2)), ids, str)


def test_token_losses_are_bits_and_padding_has_none():
    model, ids = model_of(), ids_of()
    expected = -model(ids).log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(token_losses(model, ids), expected / torch.tensor(2.0).log())
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, 6:], mask[1, :2] = False, False
    found = token_losses(model, ids, mask)
    assert found.isnan().sum(1).tolist() == [3, 2, 0]
    alone = token_losses(model, ids[1:2, 2:])
    torch.testing.assert_close(found[1, 2:], alone[0], atol=1e-4, rtol=1e-4)


def test_training_goes_on_after_looking_and_dropout_is_off_meanwhile():
    model, ids = model_of(dropout=0.5).train(), ids_of()
    assert torch.equal(token_losses(model, ids), token_losses(model, ids))
    assert model.training and model.blocks[0].training


def test_what_cannot_be_split_is_refused():
    model, ids = model_of(), ids_of()
    with pytest.raises(TensorError, match="there must be two"):
        token_losses(model, ids[:, :1])
    with pytest.raises(TensorError, match="batch axis"):
        direct_logit_attribution(model, ids[0])
    with pytest.raises(TensorError, match="targets"):
        direct_logit_attribution(model, ids, torch.zeros(2, 9, dtype=torch.long))
    with pytest.raises(TensorError, match="0 to 29"):
        direct_logit_attribution(model, ids, torch.full((3, 9), 30))
    with torch.no_grad():
        model.norm.weight[0] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        direct_logit_attribution(model, ids)
