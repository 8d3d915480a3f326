"""Early exit: each text gets what a loop over its layers by hand gives it, alone or in a batch."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tiny_classifiers import LITTLE, WORDS, answering, tiny_classifier
from tiny_models import CONFIGS

import attnlab as al
from attnlab.classification.saving import EXIT_HEADS, EXIT_RECORD
from attnlab.compression import (
    EarlyExit,
    early_exit,
    early_exits,
    factorize,
    prune_heads,
)
from attnlab.compression.exit_rules import exit_layers
from attnlab.compression.layer_by_layer import features_of
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabError, AttnlabWarning, DataError, ModelError, SettingsError

FAMILIES = list(CONFIGS)
TEXTS = [*LITTLE, "it is an ending and never slow but dull it is", "film", "loud and slow"]
TEXTS += ["never a dull ending", "what a film and what a start it is", "slow slow slow", "worth it"]
DEEP = {"distilbert": {"n_layers": 5}}


def deep(family="bert", pooling="mean"):
    """A tiny classifier of five layers, with early answers at random that differ between texts."""
    clf = tiny_classifier(family, **DEEP.get(family, {"num_hidden_layers": 5}))
    features = features_of(clf, clf.encode(TEXTS), pooling)  # (L - 1, N, E)
    weights = torch.randn(4, 3, 32, generator=torch.Generator().manual_seed(0)) / 3
    weights = weights / features.std(1)[:, None]
    return clf, weights, -(weights @ features.mean(1)[:, :, None])[..., 0]


def by_hand(small, text):
    """Logits and layer of one text, from the hidden states of the plain model."""
    inputs = small.clf.encode([text]).batch([0])
    with torch.no_grad():
        outputs = small.clf.model(**inputs, output_hidden_states=True)
    before, agreed = None, 0
    for layer in range(small.clf.layers - 1):
        states = outputs.hidden_states[layer + 1][0]
        vector = states.sum(0) / len(states) if small.pooling == "mean" else states[0]
        logits = [
            float(vector @ weight + bias)
            for weight, bias in zip(small.weights[layer], small.biases[layer], strict=True)
        ]
        shares = [math.exp(value - max(logits)) for value in logits]
        shares = [share / sum(shares) for share in shares]
        label = shares.index(max(shares))
        agreed, before = agreed + 1 if label == before else 0, label
        entropy = -sum(share * math.log(share) for share in shares if share)
        if entropy < small.threshold if small.by == "entropy" else agreed >= small.threshold:
            return logits, layer
    return outputs.logits[0].tolist(), small.clf.layers - 1


@pytest.fixture(scope="module")
def made_up():
    clf, data = answering("bert", 120)
    return clf, Splits(data.select(range(80)), data.select(range(80, 120)), data.select([0]))


# --- Answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("by", ["entropy", "patience"])
def test_where_no_text_leaves_the_answers_are_the_classifiers(family, by):
    small = EarlyExit(*deep(family), by)
    encoded = small.encode(TEXTS)
    torch.testing.assert_close(
        small.logits(encoded), small.clf.logits(encoded), atol=1e-5, rtol=1e-5
    )
    answers = small.predict(TEXTS)
    assert answers.exits.tolist() == [4] * len(TEXTS)
    assert answers.labels == small.clf.predict(TEXTS).labels


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("by", ["entropy", "patience"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_in_a_batch_each_text_gets_what_it_gets_alone_by_hand(family, by, pooling):
    left_at = set()
    for threshold in (0.3, 0.6, 0.8, 0.95) if by == "entropy" else (1, 2, 3):
        small = EarlyExit(*deep(family, pooling), by, pooling, threshold)
        wanted = [by_hand(small, text) for text in TEXTS]
        answers = small.predict(TEXTS)
        assert answers.exits.tolist() == [layer for _, layer in wanted]
        logits = small.logits(small.encode(TEXTS))
        torch.testing.assert_close(
            logits, torch.tensor([row for row, _ in wanted]), atol=1e-4, rtol=1e-4
        )
        assert np.allclose(answers.probabilities, logits.softmax(-1))
        left_at |= set(answers.exits)
    assert len(left_at) >= 3, "texts leave after several layers, else nothing is shown"


def test_texts_that_left_are_computed_no_further_and_padding_never_is(monkeypatch):
    small = EarlyExit(*deep(), threshold=0.8)
    encoded = small.encode([*TEXTS, *TEXTS])
    small.logits(encoded)  # builds the layers
    steps, seen = small._steps(encoded), []
    plain = steps.packed_layer

    def noted(layer, packed, settings):
        seen.append((layer, len(packed.lengths), len(packed.hidden)))
        return plain(layer, packed, settings)

    monkeypatch.setattr(steps, "packed_layer", noted)
    exits = small.predict([*TEXTS, *TEXTS]).exits
    assert len(set(exits)) >= 3
    assert seen == [
        (layer, int((exits >= layer).sum()), int(encoded.lengths[exits >= layer].sum()))
        for layer in range(5)
        if (exits >= layer).any()
    ]


def test_indices_and_an_empty_list_are_answered():
    small = EarlyExit(*deep(), threshold=0.8)
    encoded = small.encode(TEXTS)
    torch.testing.assert_close(
        small.logits(encoded, [3, 0, 3]), small.logits(encoded)[[3, 0, 3]], atol=1e-5, rtol=1e-5
    )
    assert small.predict([]).exits.shape == (0,)


@pytest.mark.parametrize("by", ["entropy", "patience"])
def test_answers_of_all_layers_say_when_a_text_would_leave(by):
    small = EarlyExit(*deep(), by)
    answers = small.every_layer(small.encode(TEXTS))
    torch.testing.assert_close(
        answers[-1], small.clf.logits(small.encode(TEXTS)), atol=1e-5, rtol=1e-5
    )
    for threshold in (0.5, 0.8, 0.95) if by == "entropy" else (1, 2, 3):
        small.threshold = threshold
        exits = exit_layers(answers, by, threshold)
        assert exits.tolist() == small.predict(TEXTS).exits.tolist()
        torch.testing.assert_close(
            small.logits(small.encode(TEXTS)),
            answers[torch.from_numpy(exits), torch.arange(len(TEXTS))],
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert", "albert-shared"])
def test_a_classifier_whose_matrices_are_products_leaves_early_too(family):
    clf, weights, biases = deep(family)
    small = EarlyExit(factorize(clf, 8), weights, biases, threshold=0.8)
    wanted = [by_hand(small, text) for text in TEXTS]
    assert small.predict(TEXTS).exits.tolist() == [layer for _, layer in wanted]
    torch.testing.assert_close(
        small.logits(small.encode(TEXTS)),
        torch.tensor([row for row, _ in wanted]),
        atol=1e-4,
        rtol=1e-4,
    )
    with (
        al.heads.applied(small.clf, small.clf.settings()),
        pytest.raises(ModelError, match="plain"),
    ):
        small.predict(TEXTS)


def test_head_settings_of_a_block_hold():
    clf, weights, biases = deep()
    small = EarlyExit(clf, weights, biases, threshold=0.8)
    settings = clf.settings()
    settings.scale[1, 2] = settings.scale[4, 0] = 0
    pruned = EarlyExit(
        prune_heads(clf, heads_gone=[(1, 2), (4, 0)]), weights, biases, threshold=0.8
    )
    with al.heads.applied(clf, settings):
        found = small.predict(TEXTS)
    wanted = pruned.predict(TEXTS)
    assert found.exits.tolist() == wanted.exits.tolist()
    assert np.allclose(found.probabilities, wanted.probabilities, atol=1e-5)
    assert not np.allclose(found.probabilities, small.predict(TEXTS).probabilities, atol=1e-3)


# --- Fitting and choosing ------------------------------------------------------------------------


def test_early_answers_are_logistic_regressions_on_standardised_features(made_up):
    clf, splits = made_up
    small = early_exit(clf, splits, threshold=0.5)
    features = features_of(clf, clf.encode(splits.train.texts), "mean").double().numpy()
    new = features_of(clf, clf.encode(splits.dev.texts), "mean").numpy()
    answers = small.every_layer(clf.encode(splits.dev.texts)).softmax(-1)
    for layer in range(2):
        mean, spread = features[layer].mean(0), features[layer].std(0)
        fitted = LogisticRegression(C=10 / 80, tol=1e-6, max_iter=1000)
        fitted.fit((features[layer] - mean) / spread, splits.train.labels)
        expected = fitted.predict_proba((new[layer] - mean) / spread)
        assert np.allclose(answers[layer], expected, atol=1e-4)
    assert small.threshold == 0.5
    assert small.parameters() == clf.parameters() + 2 * 3 * (32 + 1)


def test_of_two_labels_the_answers_are_probabilities_as_well(clf, movies):
    splits = movies.sample(train=48, dev=24)
    small = early_exit(clf, splits, by="patience", pooling="cls", threshold=1)
    features = features_of(clf, clf.encode(splits.train.texts), "cls")[2].double().numpy()
    mean, spread = features.mean(0), features.std(0)
    assert (spread < 1e-5 * abs(mean)).any()  # one is constant but for its rounding
    spread[spread < 1e-5 * abs(mean)] = 1
    fitted = LogisticRegression(C=10 / 48, tol=1e-6, max_iter=1000)
    fitted.fit((features - mean) / spread, splits.train.labels)
    encoded = clf.encode(splits.train.texts)
    found = small.every_layer(encoded)[2].softmax(-1)
    assert np.allclose(found, fitted.predict_proba((features - mean) / spread), atol=1e-4)
    small.threshold = small.never
    torch.testing.assert_close(small.logits(encoded), clf.logits(encoded), atol=1e-4, rtol=1e-4)


def test_a_label_without_training_texts_is_never_answered_early(made_up):
    clf, splits = made_up
    labels = np.array(splits.train.labels)
    some = splits.train.select(np.flatnonzero(labels != 1))
    with pytest.warns(AttnlabWarning, match="cannot be learned"):
        small = early_exit(clf, Splits(some, splits.dev, splits.test), threshold=0.5)
    early = small.every_layer(clf.encode(splits.dev.texts))[:-1].softmax(-1)
    assert early[..., 1].max() == 0
    assert early[..., [0, 2]].sum(-1).min() > 0.999
    assert np.isfinite(small.predict(splits.dev.texts).probabilities).all()


def test_the_draw_of_training_texts_is_seeded(made_up):
    clf, splits = made_up
    one, two, other = (
        early_exit(clf, splits, threshold=0.5, most_texts=40, seed=seed).weights
        for seed in (1, 1, 2)
    )
    assert one.equal(two)
    assert not one.allclose(other)


def test_the_threshold_is_the_fastest_that_surely_loses_little(made_up):
    clf, splits = made_up
    small = early_exit(clf, splits, threshold=0.5)
    for most_lost in (5.0, 30.0, 100.0):
        table = small.choose(splits.dev, most_lost)
        assert table["chosen"].sum() == 1
        chosen = table[table["chosen"]].iloc[0]
        assert chosen["threshold"] == small.threshold
        assert chosen["low"] >= -most_lost / 100
        faster = table[table["layers"] < chosen["layers"]]
        assert (faster["low"] < -most_lost / 100).all()
        answers = small.predict(splits.dev.texts)
        assert answers.exits.mean() + 1 == pytest.approx(chosen["layers"])
        right = [small.label_names[label] for label in splits.dev.labels]
        assert np.mean(np.array(answers.labels) == right) == pytest.approx(chosen["accuracy"])
    assert chosen["layers"] == table["layers"].min()


def test_few_texts_prove_nothing_so_that_nothing_leaves(made_up):
    clf, splits = made_up
    first = [splits.dev.labels.index(label) for label in range(3)]
    few = Splits(splits.train, splits.dev.select([*first, first[0] + 1]), splits.test)
    with pytest.warns(AttnlabWarning, match="on these 4 texts, so nothing leaves early"):
        small = early_exit(clf, few)
    assert small.threshold == small.never == 0
    with pytest.warns(AttnlabWarning, match="nothing leaves early"):
        patient = early_exit(clf, few, by="patience")
    assert patient.threshold == patient.never == 3
    assert patient.predict(TEXTS).exits.tolist() == [2] * len(TEXTS)


def test_labels_are_matched_by_name(made_up):
    clf, splits = made_up
    names = ["good", "bad", "fair"]

    def turned(data):
        return al.TextDataset(data.texts, data.labels_in(names), names, data.name)

    other = Splits(turned(splits.train), turned(splits.dev), splits.test)
    one, two = (early_exit(clf, each, most_lost=30) for each in (splits, other))
    assert one.weights.equal(two.weights)
    assert one.threshold == two.threshold


# --- Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["entropy", "patience"])
def test_what_was_saved_answers_the_same(by, tmp_path):
    small = EarlyExit(*deep(pooling="cls"), by, "cls", 0.8 if by == "entropy" else 2)
    again = EarlyExit.load(small.save(tmp_path / "small"))
    assert (again.by, again.pooling, again.threshold) == (by, "cls", small.threshold)
    one, two = small.predict(TEXTS), again.predict(TEXTS)
    assert one.exits.tolist() == two.exits.tolist()
    assert np.array_equal(one.probabilities, two.probabilities)
    whole = al.load_classifier(tmp_path / "small")
    assert np.array_equal(
        whole.predict(TEXTS).probabilities, small.clf.predict(TEXTS).probabilities
    )


def test_a_folder_that_was_changed_is_not_believed(tmp_path):
    clf, weights, biases = deep()
    folder = EarlyExit(clf, weights, biases, threshold=0.8).save(tmp_path / "small")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    prune_heads(clf, heads_gone=[(0, 0)]).save(tmp_path / "other")
    for name, change, words in (
        ("model.safetensors", (tmp_path / "other" / "model.safetensors").read_bytes(), "Fit them"),
        (EXIT_HEADS, files[EXIT_HEADS][:-8], "should hold"),
        (EXIT_HEADS, None, "holds no early_exit.safetensors"),
        (EXIT_RECORD, None, "holds no early_exit.json.*load_classifier"),
        (EXIT_RECORD, b"{", "no valid JSON"),
        (EXIT_RECORD, files[EXIT_RECORD].replace(b'"by"', b'"why"'), "lacks something"),
    ):
        (folder / name).unlink()
        if change is not None:
            (folder / name).write_bytes(change)
        with pytest.raises(ModelError, match=words):
            EarlyExit.load(folder)
        (folder / name).write_bytes(files[name])
    EarlyExit.load(folder)
    clf.save(folder)
    assert not (folder / EXIT_HEADS).exists(), "of another classifier"
    assert not (folder / EXIT_RECORD).exists()


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    clf, weights, biases = deep()
    folder = EarlyExit(clf, weights, biases, threshold=0.8).save(tmp_path / "small")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(early_exits, "save_file", full)
    with pytest.raises(ModelError, match="No space"):
        EarlyExit(clf, weights * 2, biases, threshold=0.1).save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


# --- What cannot be ------------------------------------------------------------------------------


def test_what_cannot_be_is_refused_before_the_work(made_up):
    clf, splits = made_up
    for wish, words in (
        ({"by": "entropi"}, "Did you mean 'entropy'"),
        ({"pooling": "max"}, "There is no 'max'"),
        ({"threshold": -0.1}, "threshold is -0.1; by entropy it is a number of nats"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"by": "patience", "threshold": 0}, "layers in a row, from 1"),
        ({"most_lost": -1}, "most_lost is -1"),
    ):
        with pytest.raises(SettingsError, match=words):
            early_exit(clf, splits, **wish)
    with pytest.raises(DataError, match="early_exit needs texts"):
        early_exit(clf, None)
    with pytest.raises(DataError, match="choose a threshold on"):
        EarlyExit(*deep()).choose(splits.dev.select([]))
    alike = splits.train.select(np.flatnonzero(np.array(splits.train.labels) == 0))
    with pytest.raises(DataError, match="nothing to tell apart"):
        early_exit(clf, Splits(alike, splits.dev, splits.test))
    single = tiny_classifier("bert", num_hidden_layers=1)
    with pytest.raises(ModelError, match="one layer"):
        early_exit(single, splits)
    with pytest.raises(ModelError, match=r"\(2, 3, 32\)"):
        EarlyExit(clf, torch.zeros(3, 3, 32), torch.zeros(3, 3))
    assert issubclass(SettingsError, AttnlabError)


def test_a_model_with_a_prefix_is_refused(tiny_base, movies):
    splits = movies.sample(train=24, dev=24, test=8)
    clf = al.finetune(tiny_base, splits, "prefix", epochs=1, virtual_tokens=2)
    with pytest.raises(ModelError, match="prefix"):
        early_exit(clf, splits)


def test_words_are_known():
    """The texts of these tests are of the words that the tiny classifiers know."""
    assert {word for text in TEXTS for word in text.split()} <= set(WORDS)
