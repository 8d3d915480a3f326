"""Fewer tokens: each text gets what its layers give by hand on the tokens that are left."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tiny_classifiers import LITTLE, answering, random_settings, tiny_classifier
from tiny_models import CONFIGS

import attnlab as al
from attnlab import adaptive
from attnlab.adaptive.by_input import Easy
from attnlab.adaptive.guides import GUIDES
from attnlab.adaptive.retraining import picked
from attnlab.adaptive.selecting import counts_of, merged, most_important
from attnlab.adaptive.tokens import FewerTokens
from attnlab.compression.layer_by_layer import layer_modules
from attnlab.datasets.texts import TextDataset
from attnlab.errors import DataError, ModelError, SettingsError
from attnlab.evaluation.layers import classification_head, embedded

FAMILIES = list(CONFIGS)
TEXTS = [*LITTLE, "it is an ending and never slow but dull it is", "film", "loud and slow"]
DATA = TextDataset(TEXTS, [0, 1, 2, 0, 1, 2, 0], ["bad", "fair", "good"], "little")


@pytest.fixture(scope="module")
def deep():
    clf = tiny_classifier("bert", num_hidden_layers=4)
    generator = torch.Generator().manual_seed(0)
    for name, weight in clf.model.named_parameters():
        if "LayerNorm.weight" in name:  # else all hidden states are equally long
            weight.data += 0.3 * torch.randn(weight.shape, generator=generator)
    return clf


def by_hand(clf, text, layer, staying):
    """Logits of one text that goes on after a layer with these of its tokens, and its states."""
    inputs = clf.encode([text]).batch([0])
    inputs.pop("attention_mask")
    with torch.no_grad():
        hidden = embedded(clf.model.base_model, inputs)
        for index, module in enumerate(layer_modules(clf.model)):
            if index == layer + 1:
                hidden = hidden[:, staying(hidden)]
            output = module(hidden, None)
            hidden = output[0] if isinstance(output, tuple) else output
        return classification_head(clf.model)(hidden[:, :1])[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_share_of_one_is_the_classifier_itself(family):
    clf = tiny_classifier(family)
    whole = clf.logits(clf.encode(TEXTS))
    for by in GUIDES:
        few = adaptive.drop_tokens(clf, {0: 1.0}, by)
        assert torch.allclose(few.logits(few.encode(TEXTS)), whole, atol=1e-5)
    few = adaptive.merge_tokens(clf, {0: 1.0})
    assert torch.allclose(few.logits(few.encode(TEXTS)), whole, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_go_on_with_the_first_tokens_and_the_last(family):
    clf = tiny_classifier(family)
    few = adaptive.drop_tokens(clf, {0: 0.5}, "first")
    found = few.logits(few.encode(TEXTS))
    for row, text in zip(found, TEXTS, strict=True):

        def staying(hidden):
            size = hidden.shape[1]
            left = max(2, int(np.ceil(size / 2)))
            return [*range(left - 1), size - 1]  # [SEP] counts, too

        assert torch.allclose(row, by_hand(clf, text, 0, staying), atol=1e-5)


@pytest.mark.parametrize("by", ["cls", "received"])
def test_the_tokens_looked_at_most_in_that_layer_stay(deep, by):
    few = adaptive.drop_tokens(deep, {1: 0.6}, by)
    for text in TEXTS:
        weights = deep.attend(text).weights[1].mean(0)  # (T, T)
        seen = weights[0] if by == "cls" else weights.mean(0)

        def staying(hidden, seen=seen):
            size = hidden.shape[1]
            left = max(2, int(np.ceil(round(0.6 * size, 6))))
            words = sorted(range(1, size - 1), key=lambda at: -float(seen[at]))
            return sorted([0, size - 1, *words[: left - 2]])

        found = few.logits(few.encode([text]))[0]
        assert torch.allclose(found, by_hand(deep, text, 1, staying), atol=1e-5)


@pytest.mark.parametrize("by", [*GUIDES, "merge"])
def test_a_text_gets_the_same_alone_and_in_company(deep, by):
    few = FewerTokens(deep, {0: 0.7, 2: 0.4}, by)
    together = few.logits(few.encode(TEXTS))
    for row, text in zip(together, TEXTS, strict=True):
        assert torch.allclose(few.logits(few.encode([text]))[0], row, atol=1e-5)


def test_order_and_repeats_of_indices_are_kept(deep):
    few = adaptive.drop_tokens(deep, {0: 0.5}, "norm")
    encoded = few.encode(TEXTS)
    whole = few.logits(encoded)
    assert torch.allclose(few.logits(encoded, [5, 0, 5]), whole[[5, 0, 5]], atol=1e-5)
    assert few.logits(encoded, []).shape == (0, 3)


def test_layers_compute_fewer_tokens(deep, monkeypatch):
    seen = []
    few = adaptive.drop_tokens(deep, {0: 0.5, 2: 0.3}, "norm")
    encoded = few.encode(TEXTS)
    few.logits(encoded)
    real = few._layers.packed_layer
    monkeypatch.setattr(
        few._layers,
        "packed_layer",
        lambda layer, packed, settings: (
            seen.append(len(packed.hidden)) or real(layer, packed, settings)
        ),
    )
    few.logits(encoded)
    sizes = encoded.lengths
    left = [np.maximum(np.ceil(np.round(sizes * share, 6)), 2).sum() for share in (1, 0.5, 0.3)]
    assert seen == [left[0], left[1], left[1], left[2]]
    assert few.kept(TEXTS) == pytest.approx((left[0] + 2 * left[1] + left[2]) / (4 * left[0]))


def test_chance_is_the_same_again_and_other_with_another_seed(deep):
    text = [" ".join(LITTLE)]
    one, again, other = (
        list(adaptive.drop_tokens(deep, {0: 0.3}, "random", seed).trace(text[0])["layers"])
        for seed in (1, 1, 2)
    )
    assert one == again != other


def test_the_trace_says_how_far_each_token_went(deep):
    few = adaptive.drop_tokens(deep, {0: 0.6, 2: 0.4}, "first")
    trace = few.trace("a slow start but what an ending it")  # ten tokens
    assert list(trace["token"])[:2] == ["[CLS]", "a"]
    assert list(trace["layers"]) == [4, 4, 4, 3, 3, 1, 1, 1, 1, 4]


def test_head_settings_of_a_block_hold(deep):
    few = adaptive.drop_tokens(deep, {0: 1.0}, "norm")
    settings = random_settings(deep)
    with al.heads.applied(deep, settings):
        found = few.logits(few.encode(TEXTS))
    assert torch.allclose(found, deep.logits(deep.encode(TEXTS), settings=settings), atol=1e-5)
    assert not torch.allclose(found, few.logits(few.encode(TEXTS)), atol=1e-3)


@given(st.lists(st.integers(2, 9), min_size=1, max_size=5), st.integers(0, 99), st.data())
def test_the_packed_and_the_padded_choice_are_the_same(lengths, seed, data):
    generator = torch.Generator().manual_seed(seed)
    lengths = np.array(lengths)
    counts = np.array([data.draw(st.integers(1, size)) for size in lengths])
    importance = torch.randint(0, 4, (lengths.sum(),), generator=generator).float()  # with ties
    always = torch.rand(len(importance), generator=generator) < 0.2
    rows, left = most_important(importance, lengths, counts, always)
    starts = np.cumsum(lengths) - lengths
    wide = int(lengths.max())
    real = torch.arange(wide) < torch.from_numpy(lengths)[:, None]
    padded, fixed = torch.full(real.shape, 99.0), torch.ones_like(real)
    padded[real], fixed[real] = importance, always
    index, staying = picked(padded, real, torch.from_numpy(counts), fixed)
    assert staying.sum(-1).tolist() == left.tolist()
    expected = (index + torch.from_numpy(starts)[:, None])[staying]
    assert rows.tolist() == expected.tolist()
    for text, (start, size) in enumerate(zip(starts, lengths, strict=True)):  # by sorting
        tokens = range(start, start + size)
        order = sorted(tokens, key=lambda at: (not always[at], -importance[at], at))
        most = max(counts[text], int(always[start : start + size].sum()))
        mine = [row for row in rows.tolist() if start <= row < start + size]
        assert mine == sorted(order[:most])


def test_merging_keeps_the_sum_and_takes_the_pairs_most_alike():
    hidden = torch.tensor([[9.0, 9], [1, 0], [0.9, 0.1], [0, 1], [0.2, 2.5], [5, -5]])
    always = torch.tensor([True, False, False, False, False, True])
    sizes = torch.ones(6)
    found, left, rows, total = merged(hidden, np.array([6]), np.array([5]), always, sizes)
    assert left.tolist() == [5]
    assert rows.tolist() == [0, 2, 3, 4, 5] or rows.tolist() == [0, 1, 2, 4, 5]
    assert torch.allclose((found * total[:, None]).sum(0), hidden.sum(0))
    assert total.sum() == 6


def test_merging_two_equal_tokens_changes_nothing_else():
    hidden = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    hidden[3] = hidden[2]
    always = torch.zeros(8, dtype=torch.bool)
    always[0] = always[7] = True
    found, left, rows, total = merged(hidden, np.array([8]), np.array([7]), always, torch.ones(8))
    assert rows.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert torch.allclose(found, hidden[rows])
    assert total.tolist() == [1, 1, 2, 1, 1, 1, 1]
    assert left.tolist() == [7]


def test_merged_again_a_token_is_the_mean_of_all_in_it():
    hidden = torch.tensor([[1.0, 0], [1, 0.1], [1, 0.2], [0, 1]])
    always = torch.tensor([False, False, False, True])
    sizes = torch.tensor([1.0, 3, 1, 1])
    found, _, rows, total = merged(hidden, np.array([4]), np.array([3]), always, sizes)
    assert rows.tolist() == [0, 2, 3]
    partner = total[:2].argmax()
    alone = hidden[[0, 2]][partner]
    assert torch.allclose(found[partner], (3 * hidden[1] + alone) / 4)


def test_counts_are_rounded_up_but_not_by_rounding_of_numbers():
    assert counts_of(np.array([10, 30, 7]), 0.7).tolist() == [7, 21, 5]
    assert counts_of(np.array([10, 10]), np.array([0.3, 1.0])).tolist() == [3, 10]


# ── the scorer ─────────────────────────────────────────────────────────────────────────────────


def test_importance_is_the_length_of_gradient_times_state(deep):
    text = TEXTS[1]
    inputs = deep.encode([text]).batch([0])
    states = []
    hook = deep.model.bert.encoder.layer[1].register_forward_hook(
        lambda module, args, output: states.append(output)
    )
    output = deep.model(**inputs).logits[0].topk(2).values
    hook.remove()
    state = states[0][0] if isinstance(states[0], tuple) else states[0]
    (slope,) = torch.autograd.grad(output[0] - output[1], state)
    wanted = (slope * state).norm(dim=-1)[0]
    found = adaptive.importance_by_gradient(deep, text, 1)
    assert torch.allclose(found, wanted.detach(), rtol=1e-4)


def test_a_scorer_ranks_words_of_new_texts_as_their_gradients_do():
    clf, data = answering("bert", 240)
    scorer = adaptive.token_scorer(clf, data.texts[:200], [0])
    agreements = []
    for text in data.texts[200:]:
        words = slice(1, -1)
        matters = adaptive.importance_by_gradient(clf, text, 0)[words]
        inputs = clf.encode([text]).batch([0])
        with torch.no_grad():
            hidden = clf.model(**inputs, output_hidden_states=True).hidden_states[1][0, words]
        agreements.append(stats.spearmanr(matters, scorer.scores(hidden, 0)).statistic)
    assert np.nanmean(agreements) > 0.5


def test_a_scorer_is_for_the_layers_it_was_fitted_to(deep):
    scorer = adaptive.token_scorer(deep, TEXTS, [0])
    few = adaptive.drop_tokens(deep, {1: 0.5}, scorer)
    with pytest.raises(SettingsError, match=r"knows the layers \[0\].*layers=\[1\]"):
        few.logits(few.encode(TEXTS))


# ── by input, and retraining ───────────────────────────────────────────────────────────────────


def test_easy_texts_go_on_with_their_share_and_others_with_the_schedules(deep):
    scorer = adaptive.token_scorer(deep, TEXTS, [1])
    few = adaptive.tokens_by_input(deep, DATA, 1, scorer, easy=0.3, hard=1.0, mean=0.6)
    table = adaptive.spent(few, TEXTS)
    assert set(table["share"]) == {0.3, 1.0}
    assert (table["share"] == np.where(table["signal"] < few.easy.threshold, 0.3, 1.0)).all()
    explicit = adaptive.drop_tokens(deep, {1: 1.0}, scorer)
    given = explicit.logits(explicit.encode(TEXTS), shares=table["share"].to_numpy())
    assert torch.allclose(few.logits(few.encode(TEXTS)), given, atol=1e-5)


def test_what_is_kept_counts_easy_texts_too(deep):
    scorer = adaptive.token_scorer(deep, TEXTS, [1])
    few = adaptive.tokens_by_input(deep, DATA, 1, scorer, easy=0.3, hard=1.0, mean=0.6)
    sizes = few.encode(TEXTS).lengths
    shares = adaptive.spent(few, TEXTS)["share"].to_numpy()
    after = np.maximum(np.ceil(np.round(sizes * shares, 6)), 2).sum()
    assert few.kept(TEXTS) == pytest.approx((sizes.sum() + after) / (2 * sizes.sum()))


def test_short_texts_are_the_easy_ones_by_length(deep):
    rule = Easy("length", 5.0, 0.5, torch.zeros(3, 32), torch.zeros(3))
    assert rule.shares(None, np.array([4, 5, 9]), 0.9).tolist() == [0.5, 0.9, 0.9]


def test_retraining_helps_with_fewer_tokens_and_leaves_the_first_as_it_is():
    clf, data = answering("bert", 240)
    few = adaptive.drop_tokens(clf, {0: 0.3}, "first")
    held = few.encode(data.texts[160:])
    labels = torch.tensor(data.labels[160:])
    before = {name: tensor.clone() for name, tensor in clf.model.state_dict().items()}
    trained = adaptive.retrain(
        few,
        data.select(range(160)),
        data.select(range(160, 240)),
        epochs=4,
        learning_rate=1e-3,
    )

    def loss(model):
        return float(torch.nn.functional.cross_entropy(model.logits(held), labels))

    assert loss(trained) < loss(few)
    assert all(torch.equal(before[name], now) for name, now in clf.model.state_dict().items())
    assert trained.clf.history.best["dev_loss"] == pytest.approx(loss(trained), abs=0.02)


# ── what cannot be ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ({3: 0.5}, "Tokens cannot go after layer 3: of 4 layers these are 0 to 2"),
        ({-1: 0.5}, "Tokens cannot go after layer -1"),
        ({0: 0}, "share after layer 0 is 0;"),
        ({0: 1.5}, "share after layer 0 is 1.5"),
        ({0: 0.5, 1: 0.7}, "share after layer 1 is 0.7.*at most 0.5"),
        ({}, "expected a layer and the share"),
        (0.5, "expected a layer and the share"),
    ],
)
def test_a_schedule_without_sense_is_refused(deep, schedule, told):
    with pytest.raises(SettingsError, match=told):
        adaptive.drop_tokens(deep, schedule)


def test_what_else_cannot_be_is_refused(deep):
    with pytest.raises(SettingsError, match=r"no guide 'clss'.*'cls'"):
        adaptive.drop_tokens(deep, {0: 0.5}, "clss")
    with pytest.raises(ModelError, match="reads no texts"):
        adaptive.drop_tokens(al.load_image_classifier("mnist-5k"), {0: 0.5})
    few = adaptive.drop_tokens(deep, {0: 0.5})
    with pytest.raises(DataError, match="labelled texts in dev"):
        adaptive.retrain(few, DATA, DATA.select([]))
    with pytest.raises(SettingsError, match="merged tokens"):
        adaptive.retrain(adaptive.merge_tokens(deep, {0: 0.5}), DATA, DATA)
    with pytest.raises(SettingsError, match="same share"):
        adaptive.spent(few, TEXTS)
    scorer = adaptive.token_scorer(deep, TEXTS, [0])
    with pytest.raises(SettingsError, match="in this order"):
        adaptive.tokens_by_input(deep, DATA, 0, scorer, easy=0.5, hard=0.4, mean=0.45)
    with pytest.raises(SettingsError, match="no signal 'size'"):
        adaptive.tokens_by_input(deep, DATA, 0, scorer, easy=0.1, hard=1, mean=0.5, signal="size")
