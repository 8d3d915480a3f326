"""The balance meter against a computation written out, row by row; and what its figures mean."""

import copy
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_classifiers import LITTLE, TEXTS, random_settings, tiny_classifier
from tiny_models import CONFIGS

import attnlab as al
from attnlab import heads
from attnlab.balance import measure, relative_difference, similarity
from attnlab.balance.meter import Meter
from attnlab.balance.reading import VARIANTS
from attnlab.errors import AttnlabError, DataError, ModelError, SettingsError

LONG = [
    "A slow start, yet the ending is worth every minute, and then it stays with you for days.",
    "Clumsy, loud and far too long; nobody in it seems to know why they came, nor do we.",
]


def entropy(row):
    return -sum(p * math.log(p) for p in row if p > 0)


def js(p, q):
    return (entropy((p + q) / 2) - entropy(p) / 2 - entropy(q) / 2) / math.log(2)


def gini(received):
    n = len(received)
    pairs = sum(abs(a - b) for a, b in itertools.product(received, repeat=2))
    return pairs / (2 * n * n * received.mean()) * n / (n - 1)


def of_one_text(clf, text, settings=None, against=None):
    """Every measure of every head on one text: {(measure, tokens, by): (L, H)}, in plain loops."""
    maps = clf.attend(text, settings)
    other = None if against is None else against.attend(text).weights.double().numpy()
    ids = clf.encode([text]).ids(0)
    special = maps.special.numpy()
    marks = {
        "cls": [one == clf.tokenizer.cls_token_id for one in ids],
        "sep": [one == clf.tokenizer.sep_token_id for one in ids],
        "punctuation": [
            not odd and all(c in ".,;:!?'" for c in token)
            for token, odd in zip(maps.tokens, special, strict=True)
        ],
    }
    scale = maps.settings.scale.numpy()
    found = {}
    for tokens, by in VARIANTS:
        at = [i for i in range(len(ids)) if tokens == "all" or not special[i]]
        for layer, head in itertools.product(range(clf.layers), range(clf.heads)):
            source = maps.contributions if by == "contributions" else maps.weights
            whole = source[layer, head].double().numpy()[np.ix_(at, at)]
            rows = whole / whole.sum(1, keepdims=True)
            n = len(at)
            here = {
                "entropy": np.mean([entropy(row) for row in rows]) / math.log(n),
                "keys": np.mean([math.exp(entropy(row)) for row in rows]),
                "largest": rows.max(1).mean(),
                "gini": gini(rows.sum(0)),
                "punctuation": rows[
                    :, [j for j, i in enumerate(at) if marks["punctuation"][i]]
                ].sum()
                / n,
                "self": rows.diagonal().mean(),
                "distance": np.mean(
                    [
                        sum(row[j] * abs(at[i] - at[j]) for j in range(n))
                        for i, row in enumerate(rows)
                    ]
                ),
            }
            for name, step in (("previous", -1), ("next", 1)):
                pairs = [(i, at.index(k + step)) for i, k in enumerate(at) if k + step in at]
                here[name] = np.mean([rows[pair] for pair in pairs])
            if tokens == "all":
                for name in ("cls", "sep"):
                    here[name] = rows[:, marks[name]].sum() / n
            if by == "weights":
                here["js_uniform"] = np.mean([js(row, np.full(n, 1 / n)) for row in rows])
                if other is not None:
                    before = other[layer, head][np.ix_(at, at)]
                    before = before / before.sum(1, keepdims=True)
                    here["js_before"] = np.mean(
                        [js(a, b) for a, b in zip(rows, before, strict=True)]
                    )
            else:
                here["contribution"] = whole.sum(1).mean()
            for name, value in here.items():
                table = found.setdefault((name, tokens, by), np.full(scale.shape, np.nan))
                table[layer, head] = value
    return found


def compared(balance, each):
    """Raise unless means and deviations over texts are those of the plain computation."""
    names = set(zip(*(balance.table[one] for one in ("measure", "tokens", "by")), strict=True))
    assert names == each[0].keys()
    for name in names:
        values = np.stack([one[name] for one in each])
        assert balance.map(*name) == pytest.approx(values.mean(0), rel=1e-4, abs=1e-5), name
        assert balance.map(*name, "std") == pytest.approx(values.std(0, ddof=1), rel=1e-3, abs=1e-5)


def test_every_measure_of_the_real_model_equals_the_plain_computation(clf):
    before = al.classification.fresh_classifier(label_names=clf.label_names)
    balance = measure(clf, [*TEXTS[:3], *LONG], against=before)
    compared(balance, [of_one_text(clf, text, against=before) for text in [*TEXTS[:3], *LONG]])


@pytest.mark.parametrize("family", list(CONFIGS))
def test_every_family_and_setting_is_measured_as_it_is(family):
    clf = tiny_classifier(family)
    settings = random_settings(clf)
    compared(
        measure(clf, LITTLE[:3], settings), [of_one_text(clf, one, settings) for one in LITTLE[:3]]
    )
    with al.heads.applied(clf, settings):
        inside = measure(clf, LITTLE[:3])
    pd.testing.assert_frame_equal(inside.table, measure(clf, LITTLE[:3], settings).table)


# ── what the figures mean ──────────────────────────────────────────────────────────────────────


def with_weights(clf, change):
    """A copy of a classifier with other query matrices: what a head looks at follows them."""
    model = copy.deepcopy(clf.model)
    for site in heads.sites(model):
        with torch.no_grad():
            change(getattr(site.module, site.query))
    return clf.with_model(model)


def test_a_model_that_looks_everywhere_alike_is_uniform_by_every_measure(clf):
    def no_query(linear):
        linear.weight.zero_()
        linear.bias.zero_()

    balance = measure(with_weights(clf, no_query), TEXTS)
    assert balance.map("entropy") == pytest.approx(1, abs=1e-5)
    assert balance.map("gini") == pytest.approx(0, abs=1e-5)
    assert balance.map("js_uniform") == pytest.approx(0, abs=1e-5)
    lengths = [len(clf.encode([text]).ids(0)) for text in TEXTS]
    assert balance.map("keys", "all") == pytest.approx(np.mean(lengths), rel=1e-4)
    assert balance.map("largest", "all") == pytest.approx(
        np.mean([1 / n for n in lengths]), rel=1e-4
    )


def test_sharp_heads_are_far_from_uniform_and_lower_the_overall_figure(clf):
    settings = clf.settings()
    settings.temperature[:] = 0.01
    sharp, neutral = measure(clf, TEXTS, settings), measure(clf, TEXTS)
    for name, there in (("entropy", 0.1), ("js_uniform", 0.7), ("largest", 0.95)):
        assert (sharp.map(name, "all").mean() > there) == (name != "entropy")
        assert (sharp.map(name, "all").mean() > neutral.map(name, "all").mean()) == (
            name != "entropy"
        )
    assert sharp.parts["tokens"] < 0.5 * neutral.parts["tokens"] and sharp.overall < neutral.overall


def test_one_loud_head_a_layer_lowers_the_part_of_the_heads_and_silence_is_no_evenness(clf):
    settings = clf.settings()
    settings.scale[:, 1:] = 0
    alone = measure(clf, TEXTS, settings)
    assert alone.parts["heads"] == pytest.approx(1 / clf.heads, abs=1e-6)
    settings.scale[:] = 0
    silent = measure(clf, TEXTS, settings)
    assert silent.overall == 0 and silent.parts == {"tokens": 0.0, "heads": 0.0}
    assert silent.map("contribution", by="contributions") == pytest.approx(0)
    assert np.isfinite(silent.map("entropy")).all()  # they still look somewhere


def test_a_head_whose_values_are_0_adds_nothing_and_still_looks_somewhere(clf):
    model = copy.deepcopy(clf.model)
    value = model.bert.encoder.layer[2].attention.self.value
    with torch.no_grad():
        value.weight[:32] = 0
        value.bias[:32] = 0
    broken, whole = measure(clf.with_model(model), TEXTS), measure(clf, TEXTS)
    added = broken.map("contribution", by="contributions")
    assert added[2, 0] == 0 and np.isfinite(added).all()
    assert added[:2] == pytest.approx(whole.map("contribution", by="contributions")[:2])
    assert np.isnan(broken.map("entropy", by="contributions")[2, 0])  # of nothing
    assert np.isfinite(broken.map("entropy")).all()


def test_heads_removed_for_good_are_blank_and_do_not_count(clf):
    smaller = al.heads.prune(clf, [(0, head) for head in range(12)] + [(3, 5)])
    balance = measure(smaller, TEXTS)
    assert np.isnan(balance.map("entropy")[0]).all() and np.isnan(balance.map("entropy")[3, 5])
    assert np.isfinite(balance.map("entropy")[1:]).sum() == 59
    silent = clf.settings()
    silent.scale[0], silent.scale[3, 5] = 0, 0
    same = measure(clf, TEXTS, silent)
    assert balance.parts["tokens"] == pytest.approx(same.parts["tokens"], abs=1e-5)
    assert np.isnan(similarity(smaller, TEXTS).js[5]).all()


def test_what_belongs_to_the_length_of_texts_can_be_taken_off(clf, movies):
    """The same sentences cropped at lengths dealt out one way and, shuffled, another."""
    words = [text.split() for text in movies.dev.texts if len(text.split()) > 24][:120]
    generator = np.random.default_rng(0)
    short, long = generator.integers(5, 17, len(words)), generator.integers(9, 25, len(words))
    either = [
        measure(clf, [" ".join(one[:n]) for one, n in zip(words, lengths, strict=True)])
        for lengths in (short, long)
    ]
    for name in ("keys", "entropy", "distance", "largest"):
        raw, adjusted = (
            np.abs(either[1].map(name, value=value) - either[0].map(name, value=value)).mean()
            for value in ("mean", "adjusted")
        )
        assert adjusted < raw / 2, name
    assert (either[0].map("keys", value="slope") > 0).mean() > 0.9


def test_lengths_all_alike_leave_nothing_to_take_off(clf):
    balance = measure(clf, ["A slow start.", "A good film."])
    assert np.isnan(balance.map("keys", value="slope")).all()
    assert np.isnan(balance.map("keys", value="adjusted")).all()


def test_a_head_that_always_looks_alike_is_near_its_average(clf):
    balance = measure(clf, [*TEXTS, *LONG], average=True)
    far = balance.map("js_average", "all")
    assert (far >= 0).all() and (far < 1).all()
    sharpest = np.unravel_index(balance.map("previous", "all").argmax(), far.shape)
    assert balance.map("previous", "all")[sharpest] > 0.9  # MiniLM has one that looks back
    assert far[sharpest] < np.median(far)
    again = measure(clf, [TEXTS[0]] * 3, average=True)
    assert again.map("js_average", "all") == pytest.approx(0, abs=1e-6)


def test_nothing_grows_with_the_number_of_texts_but_sums(clf, some):
    machine = Meter(clf, clf.settings())
    encoded, sizes = clf.encode(some.texts), []
    for _ in machine.feed(encoded):
        sizes.append(sum(one.numel() for one in machine._sums.values()))
    assert len(sizes) > 3 and len(set(sizes)) == 1
    pd.testing.assert_frame_equal(machine.read().table, measure(clf, some.texts).table)


def test_texts_in_one_batch_or_alone_measure_the_same(clf):
    together = measure(clf, [*TEXTS, *LONG]).map("gini", value="mean")
    alone = [measure(clf, [text]).map("gini") for text in [*TEXTS, *LONG]]
    assert together == pytest.approx(np.nanmean(alone, axis=0), abs=1e-5)


# ── between heads ──────────────────────────────────────────────────────────────────────────────


def test_doubles_show(clf):
    model = copy.deepcopy(clf.model)
    site = heads.sites(model)[2]
    with torch.no_grad():
        for name in (site.query, site.key, site.value):
            for one in (getattr(site.module, name).weight, getattr(site.module, name).bias):
                one[7 * 32 : 8 * 32] = one[4 * 32 : 5 * 32]
    found = similarity(clf.with_model(model), TEXTS)
    one, other = 2 * 12 + 4, 2 * 12 + 7
    assert found.js[one, other] == pytest.approx(0, abs=1e-6)
    assert found.cka[one, other] == pytest.approx(1, abs=1e-5)
    first = found.doubles(1).iloc[0]
    assert (first["first"], first["second"]) == ((2, 4), (2, 7))


def test_similarity_is_that_of_the_maps_and_contexts(clf):
    found = similarity(clf, TEXTS)
    assert found.js == pytest.approx(found.js.T, abs=1e-6) and found.cka == pytest.approx(
        found.cka.T
    )
    maps = [clf.attend(text).weights.double().numpy() for text in TEXTS]
    for one, other in (((0, 1), (3, 2)), ((5, 5), (5, 6))):
        rows = [js(p, q) for m in maps for p, q in zip(m[one], m[other], strict=True)]
        assert found.js[found.heads.index(one), found.heads.index(other)] == pytest.approx(
            np.mean(rows), abs=1e-5
        )
    encoded = clf.encode(TEXTS)
    contexts = {one: [] for one in ((0, 1), (3, 2))}
    for place in range(len(TEXTS)):
        inputs = encoded.batch([place])
        records = heads.record(clf, inputs, clf.settings())
        for layer, head in contexts:
            one = records[layer]
            contexts[layer, head].append((one.weights @ one.values)[0, head].double())
    a, b = (torch.cat(one) for one in contexts.values())
    a, b = a - a.mean(0), b - b.mean(0)
    wanted = (a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
    assert found.cka[1, 3 * 12 + 2] == pytest.approx(float(wanted), rel=1e-3)


def test_the_relative_difference_explodes_where_a_divergence_stays_bounded():
    assert relative_difference(np.array([0.1]), np.array([1e-9]))[0] > 1e7
    assert np.isinf(relative_difference(np.array([0.1]), np.array([0.0])))[0]


# ── what cannot be measured ────────────────────────────────────────────────────────────────────


def test_what_cannot_be_measured_is_said(clf):
    with pytest.raises(DataError, match="no texts"):
        measure(clf, [])
    with pytest.raises(SettingsError, match="stack"):
        measure(clf, TEXTS, al.HeadSettings.stack([clf.settings()] * 4))
    with pytest.raises(ModelError, match="one size"):
        measure(clf, LITTLE, against=tiny_classifier("bert"))
    balance = measure(clf, TEXTS)
    for wrong in (
        {"measure": "entropi"},
        {"tokens": "words"},
        {"by": "norms"},
        {"value": "median"},
    ):
        with pytest.raises(AttnlabError, match="There is no"):
            balance.map(**wrong)
    with pytest.raises(AttnlabError, match="js_before"):
        balance.map("js_before")


def test_a_text_of_one_word_has_no_entropy_among_words_but_does_not_spoil_the_others(clf):
    together = measure(clf, [TEXTS[0], "Dull"])
    assert together.map("entropy") == pytest.approx(
        measure(clf, [TEXTS[0]]).map("entropy"), abs=1e-5
    )
    assert (together.map("entropy", value="n") == 1).all()
    assert (together.map("entropy", "all", value="n") == 2).all()
