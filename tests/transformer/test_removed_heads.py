"""Heads of an encoder-decoder that are cut out: the same answers as with scale 0, and smaller."""

import json

import pytest
import torch

import attnlab as al
from attnlab import transformer
from attnlab.errors import ModelError, SettingsError
from attnlab.heads.settings import KINDS
from attnlab.transformer import decoding

SOURCE = torch.tensor([[5, 6, 7, 3, 0, 0], [4, 8, 9, 10, 6, 3], [7, 3, 0, 0, 0, 0]])
TARGET = torch.tensor([[2, 7, 8, 9], [2, 4, 0, 0], [2, 5, 6, 0]])
LAYERS = {"encoder": 2, "decoder": 3, "cross": 3}
GONE = {
    "one": [("cross", 1, 2)],
    "some": [("encoder", 0, 0), ("encoder", 0, 3), ("decoder", 2, 1), ("cross", 0, 3)],
    "a layer": [("encoder", 1, head) for head in range(4)],
    "all": [(kind, n, head) for kind in KINDS for n in range(LAYERS[kind]) for head in range(4)],
}


def whole(**changes):
    """A model in which every parameter, biases and norms too, has been moved."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "heads": 4, "encoder_layers": 2, "decoder_layers": 3}
    model = al.Seq2SeqTransformer(11, 13, feed_forward=24, dropout=0.0, max_length=12, **sizes)
    model = al.Seq2SeqTransformer(**model.size | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def silent(model, heads):
    settings = model.neutral_settings()
    for kind, layer, head in heads:
        getattr(settings, kind).scale[layer, head] = 0
    return settings


def logits(model, settings=None):
    with torch.no_grad():
        return model(SOURCE, TARGET, settings=settings).logits


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("heads", GONE.values(), ids=GONE)
def test_removing_heads_equals_scale_0(heads, fused):
    model = whole(fused=fused)
    expected, before = logits(model, silent(model, heads)), logits(model)
    smaller = transformer.prune(model, heads)
    torch.testing.assert_close(logits(smaller), expected, rtol=0, atol=1e-5)
    assert torch.equal(logits(model), before) and not model.size["removed"]
    counted = sum(parameter.numel() for parameter in smaller.parameters())
    assert counted == transformer.parameters_of(smaller.size)["parameters"].sum()
    rows = 3 * (16 * 4 + 4) + 16 * 4  # of query, key and value with biases; columns of the output
    assert counted == sum(parameter.numel() for parameter in model.parameters()) - rows * len(heads)


@pytest.mark.parametrize("heads", GONE.values(), ids=GONE)
@pytest.mark.parametrize("cache", [True, False])
def test_without_heads_it_writes_what_it_writes_with_them_silent(heads, cache):
    model = whole()
    smaller = transformer.prune(model, heads)
    asked = {"start": 2, "end": 3, "max_length": 8, "cache": cache}
    expected = decoding.greedy(model, SOURCE, settings=silent(model, heads), **asked)
    assert decoding.greedy(smaller, SOURCE, **asked) == expected
    beams = decoding.beam(smaller, SOURCE, 2, 3, 3, 8)
    others = decoding.beam(model, SOURCE, 2, 3, 3, 8, settings=silent(model, heads))
    assert [row[0].ids for row in beams] == [row[0].ids for row in others]


def test_heads_that_are_left_keep_their_numbers():
    model, heads = whole(), GONE["some"]
    smaller = transformer.prune(transformer.prune(model, heads[:2]), heads[1:])
    assert smaller.active["encoder"] == [[1, 2], [0, 1, 2, 3]]
    assert smaller.active["cross"][0] == [0, 1, 2]
    asked = silent(model, heads)
    asked.encoder.scale[0, 2], asked.cross.temperature[0, 1] = 0.3, 2.0
    given = smaller.neutral_settings()
    given.encoder.scale[0, 2], given.cross.temperature[0, 1] = 0.3, 2.0
    torch.testing.assert_close(logits(smaller, given), logits(model, asked), rtol=0, atol=1e-5)
    rows = type(given).stack([given, smaller.neutral_settings(), given])
    found = logits(smaller, rows)
    torch.testing.assert_close(found[::2], logits(model, asked)[::2], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1], logits(smaller)[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("heads", GONE.values(), ids=GONE)
def test_weights_of_heads_that_are_gone_are_zeros_beside_those_of_the_others(heads):
    model = whole()
    smaller = transformer.prune(model, heads)
    found = smaller(SOURCE, TARGET, return_weights=True).attention
    asked = model(SOURCE, TARGET, settings=silent(model, heads), return_weights=True).attention
    for kind in KINDS:
        for layer in range(LAYERS[kind]):
            active = smaller.active[kind][layer]
            gone = [head for head in range(4) if head not in active]
            for mine, theirs in zip(found[kind][layer], asked[kind][layer], strict=True):
                assert mine.shape == theirs.shape and not mine[:, gone].any()
                torch.testing.assert_close(mine[:, active], theirs[:, active], rtol=0, atol=1e-5)


@pytest.mark.parametrize("heads", GONE.values(), ids=GONE)
def test_a_smaller_model_is_built_again_from_its_size(heads):
    smaller = transformer.prune(whole(), heads)
    again = al.Seq2SeqTransformer(**json.loads(json.dumps(smaller.size)))
    assert again.size == smaller.size
    again.load_state_dict(smaller.state_dict())
    assert torch.equal(logits(again.eval()), logits(smaller))


def test_settings_that_are_built_in_need_not_be_given():
    model = whole()
    settings = model.neutral_settings()
    torch.manual_seed(1)
    for part in settings:
        part.scale = torch.rand(part.scale.shape).round(decimals=1) * (
            torch.rand(part.scale.shape) > 0.3
        )
        part.temperature = 0.5 + torch.rand(part.scale.shape)
    settings.encoder.scale[1] = 0
    built = transformer.build_in(model, settings)
    torch.testing.assert_close(logits(built), logits(model, settings), rtol=0, atol=1e-5)
    silent_ones = sum(int((part.scale == 0).sum()) for part in settings)
    assert len(built.size["removed"]) == silent_ones > 4
    again = transformer.build_in(built, built.neutral_settings())
    assert torch.equal(logits(again), logits(built)) and again.size == built.size


def test_a_model_without_some_heads_learns():
    smaller = transformer.prune(whole(), [*GONE["some"], *GONE["a layer"]])
    loss = smaller(SOURCE, TARGET, labels=TARGET).loss
    loss.backward()
    still = {name for name, weight in smaller.named_parameters() if weight.grad is None}
    norm = "encoder.1.around_attention.norm"  # nobody reads what it makes
    assert still == {f"{norm}.weight", f"{norm}.bias"}


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (("crossed", 0, 0), "no kind 'crossed'.*'cross'"),
        (("encoder", 2, 0), r"no head \('encoder', 2, 0\).*layers are 0 to 1, heads 0 to 3"),
        (("decoder", 0, -1), "no head .*'decoder', 0, -1"),
    ],
)
def test_heads_that_there_are_not_are_refused(head, words):
    with pytest.raises(ModelError, match=words):
        transformer.prune(whole(), [head])
    with pytest.raises(ModelError, match=words):
        whole(removed=[head])


def test_settings_of_single_rows_cannot_be_built_in():
    model = whole()
    settings = model.neutral_settings()
    with pytest.raises(SettingsError, match="one setting for all texts"):
        transformer.build_in(model, type(settings).stack([settings] * 3))
    settings.cross = al.HeadSettings(2, 4)
    with pytest.raises(SettingsError, match=r"cross: .*3 layers of 4 heads"):
        transformer.build_in(model, settings)
