"""What is measured on attention maps: each number against a slow computation, text by text."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tiny_classifiers import LITTLE, TEXTS, random_settings, tiny_classifier
from tiny_models import CONFIGS

import attnlab as al
from attnlab import evaluation, heads
from attnlab.errors import AttnlabError, DataError, ModelError, SettingsError
from attnlab.evaluation import explaining

families = pytest.mark.parametrize("family", list(CONFIGS))


def slow_profiles(clf, texts, settings=None):
    """The oracle: maps of one text at a time, one row of weights at a time."""
    rows = {name: [] for name in ("per token", "previous", "next", "reads", "special", "all")}
    for text in texts:
        maps = clf.attend(text, settings)
        weights, added = maps.weights.double().numpy(), maps.contributions.double().numpy()
        special, size = maps.special.numpy(), len(maps.tokens)
        for at in range(size):
            row, own = weights[:, :, at], added[:, :, at]  # (L, H, T)
            spread = stats.entropy(row, axis=-1)
            measured = {
                "entropy": spread,
                "entropy_share": spread / np.log(size),
                "largest": row.max(-1),
                "cls": row[..., 0],
                "sep": row[..., size - 1],
                "special": row[..., special].sum(-1),
                "self": row[..., at],
                "contribution": own.sum(-1),
            }
            rows["per token"].append(measured)
            rows["special"].append(own[..., special].sum(-1))
            rows["all"].append(own.sum(-1))
            if at > 0:
                rows["previous"].append(row[..., at - 1])
            if at < size - 1:
                rows["next"].append(row[..., at + 1])
        rows["reads"].append(weights[:, :, 0, ~special].sum(-1))
    table = {
        name: np.mean([one[name] for one in rows["per token"]], 0) for name in rows["per token"][0]
    }
    table |= {name: np.mean(rows[name], 0) for name in ("previous", "next", "reads")}
    with np.errstate(invalid="ignore"):  # a silent head adds nothing
        table["contribution_special"] = np.sum(rows["special"], 0) / np.sum(rows["all"], 0)
    return table


def assert_equal_profiles(table, oracle, rows=slice(None)):
    assert set(table.columns) == {"layer", "head", *oracle}
    for name, values in oracle.items():
        np.testing.assert_allclose(
            table[name].to_numpy()[rows], values.ravel()[rows], rtol=2e-4, atol=2e-6, err_msg=name
        )


# ── profiles ───────────────────────────────────────────────────────────────────────────────────


@families
def test_batches_measure_what_one_text_at_a_time_does(family):
    clf = tiny_classifier(family)
    settings = random_settings(clf)
    assert_equal_profiles(evaluation.profiles(clf, LITTLE), slow_profiles(clf, LITTLE))
    assert_equal_profiles(
        evaluation.profiles(clf, LITTLE, settings), slow_profiles(clf, LITTLE, settings)
    )


def test_profiles_of_the_bundled_classifier_are_those_of_its_maps(clf):
    table = evaluation.profiles(clf, TEXTS)
    assert_equal_profiles(table, slow_profiles(clf, TEXTS))
    assert table[["layer", "head"]].to_numpy().tolist() == [
        [i, j] for i in range(6) for j in range(12)
    ]
    lengths = np.array([len(clf.attend(text).tokens) for text in TEXTS])
    assert (table.attrs["texts"], table.attrs["tokens"]) == (4, lengths.sum())
    uniform = np.average(np.log(lengths), weights=lengths)
    assert table.attrs["uniform_entropy"] == pytest.approx(uniform)


def test_very_flat_heads_come_to_uniform_attention(clf):
    settings = clf.settings()
    settings.temperature[2, 3] = 1e6
    head = evaluation.profiles(clf, TEXTS[:1], settings).query("layer == 2 and head == 3").iloc[0]
    size = len(clf.attend(TEXTS[0]).tokens)
    assert head["entropy_share"] == pytest.approx(1, abs=1e-6)
    assert head["entropy"] == pytest.approx(np.log(size), abs=1e-5)
    for name in ("cls", "sep", "self", "previous", "next", "largest"):
        assert head[name] == pytest.approx(1 / size, abs=1e-5), name
    assert head["special"] == pytest.approx(2 / size, abs=1e-5)
    assert head["reads"] == pytest.approx(1 - 2 / size, abs=1e-5)


def test_heads_removed_for_good_have_no_profile_and_the_others_have_that_of_silence(clf):
    gone = [(1, 4), *((3, head) for head in range(12))]
    silent = clf.settings()
    for place in gone:
        silent.scale[place] = 0
    table = evaluation.profiles(heads.prune(clf, gone), TEXTS)
    missing = table["entropy"].isna().to_numpy()
    assert [tuple(place) for place in table.loc[missing, ["layer", "head"]].to_numpy()] == gone
    assert table[missing].drop(columns=["layer", "head"]).isna().all(axis=None)
    assert not table[~missing].isna().any(axis=None)
    assert_equal_profiles(table, slow_profiles(clf, TEXTS, silent), rows=~missing)


def test_a_silent_head_still_looks_but_adds_nothing(clf):
    settings = clf.settings()
    settings.scale[2, 5] = 0
    neutral, table = evaluation.profiles(clf, TEXTS), evaluation.profiles(clf, TEXTS, settings)
    head = 2 * 12 + 5
    assert table["contribution"][head] == 0
    assert np.isnan(table["contribution_special"][head])
    assert table["entropy"][head] == pytest.approx(neutral["entropy"][head])
    assert table["contribution_special"].isna().sum() == 1


def test_settings_of_a_block_hold_as_they_do_for_maps(clf):
    settings = random_settings(clf)
    with al.heads.applied(clf, settings):
        inside = evaluation.profiles(clf, TEXTS)
        frame = evaluation.explanations(clf, TEXTS[0])
        maps = clf.attend(TEXTS[0])
    pd.testing.assert_frame_equal(inside, evaluation.profiles(clf, TEXTS, settings))
    expected = evaluation.raw_attention(maps).numpy()[~maps.special.numpy()]
    np.testing.assert_allclose(frame["attention"], expected, rtol=1e-4)
    assert frame.attrs["label"] == clf.predict(TEXTS[:1], settings).labels[0]


def test_pairs_can_be_measured_and_both_separators_count(clf):
    pair = ("A slow start.", "What an ending!")
    table, maps = evaluation.profiles(clf, [pair]), clf.attend(pair)
    separators = torch.tensor([token == "[SEP]" for token in maps.tokens])
    assert separators.sum() == 2
    expected = maps.weights[..., separators].sum(-1).mean(-1).flatten()
    np.testing.assert_allclose(table["sep"], expected, rtol=1e-4)


def test_a_word_the_tokenizer_does_not_know_is_text():
    clf = tiny_classifier("bert")
    assert evaluation.explanations(clf, "a zebra film")["token"].tolist() == ["a", "[UNK]", "film"]
    table, maps = evaluation.profiles(clf, ["a zebra film"]), clf.attend("a zebra film")
    np.testing.assert_allclose(
        table["reads"], maps.weights[:, :, 0, 1:4].sum(-1).flatten(), rtol=1e-4
    )


def test_measuring_leaves_nothing_behind(clf):
    before = clf.predict(TEXTS).probabilities
    evaluation.profiles(clf, TEXTS, random_settings(clf))
    evaluation.agreement(clf, TEXTS, draws=10)
    assert np.array_equal(clf.predict(TEXTS).probabilities, before)
    assert all(parameter.grad is None for parameter in clf.model.parameters())
    assert not clf.model.training


# ── rollout and raw attention ──────────────────────────────────────────────────────────────────


def test_rollout_of_two_layers_by_hand():
    """Half the weights, half the token itself; the lower layer comes first."""
    low = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    high = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # low mixed: [[.5, .5], [.25, .75]]; high mixed: [[1, 0], [.5, .5]]
    expected = torch.tensor([[0.5, 0.5], [0.375, 0.625]])
    assert torch.allclose(evaluation.rollout(torch.stack([low, high])[:, None]), expected)
    swapped = evaluation.rollout(torch.stack([high, low])[:, None])
    assert not torch.allclose(swapped, expected)


def test_heads_that_look_at_themselves_keep_every_token_where_it_is():
    itself = torch.eye(5).expand(4, 3, 5, 5)
    assert torch.allclose(evaluation.rollout(itself), torch.eye(5))


@given(
    layers=st.integers(1, 5),
    count=st.integers(1, 4),
    size=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_rollout_hands_on_shares_that_sum_to_one(layers, count, size, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(layers, count, size, size, generator=generator).softmax(-1)
    flow = evaluation.rollout(weights)
    assert flow.shape == (size, size)
    assert torch.allclose(flow.sum(-1), torch.ones(size), atol=1e-5)
    assert (flow.diagonal() >= 0.5**layers - 1e-6).all()  # the residual connection's own part


def test_maps_roll_out_like_their_weights_and_a_head_counts_by_its_scale(clf):
    maps = clf.attend(TEXTS[0])
    assert torch.allclose(evaluation.rollout(maps), evaluation.rollout(maps.weights), atol=1e-6)
    settings = clf.settings()
    settings.scale[:] = 0
    settings.scale[:, 7] = 2
    only = clf.attend(TEXTS[0], settings)
    assert torch.allclose(
        evaluation.rollout(only), evaluation.rollout(only.weights[:, 7:8]), atol=1e-5
    )
    assert torch.allclose(evaluation.raw_attention(only, 2), only.weights[2, 7, 0], atol=1e-6)


def test_removed_heads_and_layers_do_not_look(clf):
    smaller = heads.prune(clf, [(5, 0), *((2, head) for head in range(12))])
    maps = smaller.attend(TEXTS[0])
    assert torch.allclose(evaluation.raw_attention(maps), maps.weights[5, 1:, 0].mean(0), atol=1e-6)
    assert (evaluation.raw_attention(maps, 2) == 0).all()
    others = evaluation.rollout(maps.weights[[0, 1, 3, 4]][:, 1:])
    five = evaluation.rollout(maps.weights[[0, 1, 3, 4, 5]][:, 1:])
    assert not torch.allclose(five, others, atol=1e-3)
    whole = evaluation.rollout(maps)
    assert torch.allclose(whole.sum(-1), torch.ones(len(maps.tokens)), atol=1e-5)
    without = torch.cat([maps.weights[:2], maps.weights[3:]])
    assert torch.allclose(whole, evaluation.rollout(without), atol=1e-6)


def test_raw_attention_is_the_last_layers_first_row(clf):
    maps = clf.attend(TEXTS[0])
    assert torch.allclose(evaluation.raw_attention(maps), maps.weights[5, :, 0].mean(0), atol=1e-6)
    assert torch.allclose(
        evaluation.raw_attention(maps, 1), maps.weights[1, :, 0].mean(0), atol=1e-6
    )
    assert evaluation.raw_attention(maps).sum() == pytest.approx(1, abs=1e-5)


# ── gradients and ablation ─────────────────────────────────────────────────────────────────────


@families
def test_gradients_say_how_the_margin_grows_with_a_token(family):
    """The oracle: make one token's embedding a little longer, and look at the margin."""
    clf, text = tiny_classifier(family), LITTLE[1]
    found = evaluation.token_gradients(clf, text)
    exact = copy.deepcopy(clf.model).double()
    ids = torch.tensor([clf.encode([text]).ids(0)])
    words = exact.get_input_embeddings()(ids).detach()

    def margin(at, step):
        moved = words.clone()
        moved[0, at] *= 1 + step
        with torch.no_grad():
            first, second = exact(inputs_embeds=moved).logits[0].topk(2).values
        return float(first - second)

    slopes = [(margin(at, 1e-4) - margin(at, -1e-4)) / 2e-4 for at in range(ids.shape[1])]
    assert np.abs(slopes).max() > 1e-3
    np.testing.assert_allclose(found, slopes, rtol=1e-2, atol=1e-3 * np.abs(slopes).max())


@families
def test_ablation_is_the_fall_of_the_answers_log_probability(family):
    clf, text = tiny_classifier(family), LITTLE[1]
    ids = clf.encode([text]).ids(0)

    def answer(numbers):
        with torch.no_grad():
            return clf.model(input_ids=torch.tensor([numbers])).logits[0].log_softmax(-1).numpy()

    whole = answer(ids)
    best = whole.argmax()
    masked, removed = (evaluation.token_ablation(clf, text, how) for how in ("mask", "remove"))
    for found in (masked, removed):
        assert np.isnan(found[[0, -1]]).all()
    for at in range(1, len(ids) - 1):
        without = answer([*ids[:at], clf.tokenizer.mask_token_id, *ids[at + 1 :]])
        assert masked[at] == pytest.approx(whole[best] - without[best], abs=1e-4)
        without = answer([*ids[:at], *ids[at + 1 :]])
        assert removed[at] == pytest.approx(whole[best] - without[best], abs=1e-4)
    assert np.abs(masked[1:-1] - removed[1:-1]).max() > 1e-3


def test_removing_a_word_is_leaving_it_out(clf):
    found = evaluation.token_ablation(clf, "A wonderful film.", "remove")
    with_it, without = clf.predict(["A wonderful film.", "A film."]).probabilities
    best = with_it.argmax()
    assert found[2] == pytest.approx(np.log(with_it[best] / without[best]), abs=1e-4)


def test_the_only_word_can_be_left_out():
    clf = tiny_classifier("bert")
    assert np.isfinite(evaluation.token_ablation(clf, "dull", "remove")).tolist() == [
        False,
        True,
        False,
    ]


def test_a_word_that_carries_the_answer_stands_out(clf):
    frame = evaluation.explanations(clf, "The film was wonderful on a Tuesday.").set_index("token")
    assert frame["ablation"].idxmax() == "wonderful"
    assert frame.loc["wonderful", "ablation"] > 0


# ── explanations and how they agree ────────────────────────────────────────────────────────────


def test_explanations_are_the_four_measures_on_the_tokens_of_the_text(clf):
    frame, maps = evaluation.explanations(clf, TEXTS[0]), clf.attend(TEXTS[0])
    places = (~maps.special).nonzero().flatten()
    assert frame.index.tolist() == places.tolist()
    assert frame["token"].tolist() == [maps.tokens[place] for place in places]
    assert list(frame.columns[1:]) == list(explaining.EXPLANATIONS)
    expected = {
        "attention": evaluation.raw_attention(maps).numpy(),
        "rollout": evaluation.rollout(maps)[0].numpy(),
        "gradient": evaluation.token_gradients(clf, TEXTS[0]),
        "ablation": evaluation.token_ablation(clf, TEXTS[0]),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(frame[name], values[places], rtol=1e-3, atol=1e-5, err_msg=name)
    answer = clf.predict(TEXTS[:1])
    assert frame.attrs["label"] == answer.labels[0]
    assert frame.attrs["probability"] == pytest.approx(answer.probabilities.max(), abs=1e-5)


@families
def test_texts_explained_together_are_explained_as_alone(family):
    clf = tiny_classifier(family)
    together = list(explaining.explained(clf, clf.encode(LITTLE)))
    for text, frame in zip(LITTLE, together, strict=True):
        pd.testing.assert_frame_equal(
            frame, evaluation.explanations(clf, text), rtol=1e-3, atol=1e-4, obj=text
        )


def test_more_texts_than_fit_into_one_go_are_all_told(clf, monkeypatch):
    monkeypatch.setattr(explaining, "_TEXTS_AT_A_TIME", 2)
    falls, _ = explaining._ablation(clf, clf.encode(TEXTS), "mask")
    for text, fall in zip(TEXTS, falls, strict=True):
        np.testing.assert_allclose(fall, evaluation.token_ablation(clf, text), atol=1e-4)


def test_agreement_is_the_mean_of_scipys_correlations(clf):
    table = evaluation.agreement(clf, TEXTS)
    assert len(table) == 10
    frames = []
    for text in TEXTS[:3]:
        frame = evaluation.explanations(clf, text)
        removal = evaluation.token_ablation(clf, text, "remove")
        frames.append(frame.assign(removal=removal[frame.index]))
    for row in table.itertuples():
        each = [
            stats.spearmanr(frame[row.first].abs(), frame[row.second].abs()).statistic
            for frame in frames
        ]
        assert row.correlation == pytest.approx(np.mean(each), abs=1e-6), (row.first, row.second)
        ends = [min(each) - 1e-9, row.ci_low, row.correlation, row.ci_high, max(each) + 1e-9]
        assert ends == sorted(ends)
        assert row.texts == 3  # "Dull." has two tokens: too few to rank


def test_agreement_is_the_same_at_every_call_and_its_draws_follow_the_seed(clf):
    first, again = (evaluation.agreement(clf, TEXTS[:3], draws=20) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    other = evaluation.agreement(clf, TEXTS[:3], draws=20, seed=1)
    assert other["correlation"].equals(first["correlation"])
    assert not other["ci_low"].equals(first["ci_low"])


def test_two_ablations_agree_better_than_attention_agrees_with_either(clf, some):
    """The yardstick: what one may hope for, and what attention reaches."""
    table = evaluation.agreement(clf, some.texts[:20], draws=100)
    value = table.set_index(["first", "second"])["correlation"]
    assert value["ablation", "removal"] > value["attention", "ablation"] + 0.1


# ── what cannot be measured ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda clf: evaluation.profiles(clf, []), DataError, "no texts to measure"),
        (lambda clf: evaluation.profiles(clf, "one text"), DataError, "list of texts"),
        (lambda clf: evaluation.profiles(clf, ["a", " "]), DataError, "Text 1 is empty"),
        (
            lambda clf: evaluation.profiles(clf, ["a"], al.HeadSettings(2, 2)),
            SettingsError,
            "6 layers of 12 heads",
        ),
        (
            lambda clf: evaluation.profiles(
                clf, ["a"], al.HeadSettings.stack([clf.settings()] * 2)
            ),
            SettingsError,
            "not a stack of 2",
        ),
        (lambda clf: evaluation.agreement(clf, ["Dull."]), DataError, "has 3 tokens or more"),
        (lambda clf: evaluation.agreement(clf, []), DataError, "no texts"),
        (lambda clf: evaluation.rollout(torch.ones(3, 3)), AttnlabError, r"got \(3, 3\)"),
        (lambda clf: evaluation.rollout("text"), AttnlabError, "got str"),
        (lambda clf: evaluation.rollout(torch.ones(1, 1, 2, 3)), AttnlabError, r"\(1, 1, 2, 3\)"),
        (
            lambda clf: evaluation.raw_attention(clf.attend("a"), 6),
            AttnlabError,
            "no layer 6: layers are 0 to 5",
        ),
        (
            lambda clf: evaluation.token_ablation(clf, "a", "masks"),
            AttnlabError,
            "Did you mean 'mask'",
        ),
    ],
)
def test_what_cannot_be_measured_says_why(clf, ask, error, words):
    with pytest.raises(error, match=words):
        ask(clf)


def test_a_tokenizer_without_a_mask_says_what_else_there_is():
    clf = tiny_classifier("bert")
    clf.tokenizer.mask_token = None
    with pytest.raises(ModelError, match="method='remove'"):
        evaluation.token_ablation(clf, "a slow start")
    assert np.isfinite(evaluation.token_ablation(clf, "a slow start", "remove")[1:-1]).all()
