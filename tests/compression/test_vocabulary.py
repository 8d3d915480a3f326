"""A trimmed vocabulary: the same pieces and answers for its texts, smaller pieces for others."""

import json

import pytest
import torch
from tiny_classifiers import LITTLE, tiny_classifier
from tiny_tokenizers import CORPUS, MAKE, pieces, subword_classifier
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertTokenizer

import attnlab as al
from attnlab.classification.classifier import Classifier
from attnlab.compression.describing import describe
from attnlab.compression.vocabulary import trim_vocabulary
from attnlab.errors import DataError, ModelError, SettingsError

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut:attnlab.errors.AttnlabWarning")
USED = CORPUS[:3]
OTHERS = [*CORPUS[3:8], "Unfilmable ☃ dullness, 98765 wonderworks!", "zzz 日本 naïve"]


def cut(clf, texts):
    """Pieces as they are written, so that their numbers do not matter."""
    return [
        clf.tokenizer.convert_ids_to_tokens(ids)
        for ids in clf.tokenizer(list(texts), verbose=False)["input_ids"]
    ]


def logits(clf, texts):
    return clf.logits(clf.encode(texts))


@pytest.fixture(scope="module", params=MAKE)
def both(request):
    clf = subword_classifier(request.param)
    return clf, trim_vocabulary(clf, USED)


def test_texts_are_cut_into_the_same_pieces_and_get_the_same_logits(both):
    clf, smaller = both
    assert cut(smaller, USED) == cut(clf, USED)
    assert torch.equal(logits(smaller, USED), logits(clf, USED))
    assert len(smaller.tokenizer) < 0.8 * len(clf.tokenizer)
    rows = smaller.model.get_input_embeddings().weight
    assert len(rows) == len(smaller.tokenizer) == smaller.model.config.vocab_size
    assert clf.parameters() - smaller.parameters() == rows.shape[1] * (
        len(clf.tokenizer) - len(smaller.tokenizer)
    )


def test_rare_pieces_can_go_as_well_and_texts_without_them_stay_as_they_are(both):
    clf, _ = both
    texts = [*USED, *USED[:2], USED[0]]
    common = trim_vocabulary(clf, texts, at_least=3)
    numbers = [set(trim_vocabulary(clf, texts, at_least=n).tokenizer.get_vocab()) for n in (1, 2)]
    assert set(common.tokenizer.get_vocab()) < numbers[1] < numbers[0]
    assert cut(common, USED[:1]) == cut(clf, USED[:1])
    assert torch.equal(logits(common, USED[:1]), logits(clf, USED[:1]))
    assert sum(map(len, cut(common, USED))) > sum(map(len, cut(clf, USED)))
    for before, after in zip(cut(clf, USED), cut(common, USED), strict=True):
        assert after.count(clf.tokenizer.unk_token) == before.count(clf.tokenizer.unk_token)


@pytest.mark.parametrize("number", [0, -1, 1.5, None])
def test_a_number_of_texts_that_is_none_is_refused(number):
    with pytest.raises(SettingsError, match="at_least"):
        trim_vocabulary(subword_classifier("bert"), USED, at_least=number)


def test_every_row_belongs_to_the_piece_it_belonged_to(both):
    clf, smaller = both
    old, new = (one.model.get_input_embeddings().weight for one in both)
    numbers = clf.tokenizer.get_vocab()
    for piece, number in smaller.tokenizer.get_vocab().items():
        assert torch.equal(new[number], old[numbers[piece]]), piece


def test_other_texts_are_cut_into_smaller_pieces_and_none_is_newly_unknown(both):
    clf, smaller = both
    for before, after in zip(cut(clf, OTHERS), cut(smaller, OTHERS), strict=True):
        unknown = clf.tokenizer.unk_token
        assert after.count(unknown) == before.count(unknown)
    assert sum(map(len, cut(smaller, OTHERS))) > sum(map(len, cut(clf, OTHERS)))
    assert len(smaller.predict(OTHERS).labels) == len(OTHERS)


def test_special_tokens_stay_where_they_are_and_the_configuration_follows(both):
    clf, smaller = both
    before, after = clf.tokenizer, smaller.tokenizer
    for name in ("pad", "cls", "sep", "unk"):
        token = getattr(before, f"{name}_token")
        assert getattr(after, f"{name}_token") == token
        if before.convert_tokens_to_ids(token) < len(after):
            assert after.convert_tokens_to_ids(token) == before.convert_tokens_to_ids(token)
    assert after.mask_token == before.mask_token
    assert smaller.model.config.pad_token_id == after.pad_token_id
    assert smaller.model.get_input_embeddings().padding_idx == after.pad_token_id
    assert smaller.max_length == clf.max_length


def test_the_one_given_stays_as_it_is_and_the_step_is_noted(both):
    clf, smaller = both
    assert len(clf.tokenizer) == clf.model.config.vocab_size
    assert al.compression.steps(clf) == []
    (step,) = al.compression.steps(smaller)
    assert step == {
        "step": "trim_vocabulary",
        "pieces": len(smaller.tokenizer),
        "before": len(clf.tokenizer),
        "at_least": 1,
    }
    shared = {p.data_ptr() for p in clf.model.parameters()} & {
        p.data_ptr() for p in smaller.model.parameters()
    }
    assert not shared


def test_it_is_saved_and_loaded_by_us_and_by_plain_transformers(both, tmp_path):
    clf, smaller = both
    smaller.save(tmp_path / "small")
    loaded = al.load_classifier(tmp_path / "small", device="cpu")
    assert torch.equal(logits(loaded, USED + OTHERS), logits(smaller, USED + OTHERS))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "small")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "small").eval()
    inputs = tokenizer(USED, padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, logits(clf, USED), rtol=1e-5, atol=1e-5)
    assert json.loads((tmp_path / "small" / "config.json").read_text())["vocab_size"] == len(
        tokenizer
    )


def test_it_can_be_trimmed_again_and_nothing_more_goes(both):
    _, smaller = both
    again = trim_vocabulary(smaller, USED)
    assert again.tokenizer.get_vocab() == smaller.tokenizer.get_vocab()
    assert [step["step"] for step in al.compression.steps(again)] == ["trim_vocabulary"] * 2


@pytest.mark.parametrize("family", MAKE)
def test_words_to_keep_are_not_cut_into_smaller_pieces(family):
    clf = subword_classifier(family)
    kept = trim_vocabulary(clf, USED, keep=["wonderful", "music"])
    assert cut(kept, ["a wonderful music"]) == cut(clf, ["a wonderful music"])
    piece = next(
        piece for piece in clf.tokenizer.get_vocab() if piece not in kept.tokenizer.get_vocab()
    )
    assert piece in trim_vocabulary(clf, USED, keep=[piece]).tokenizer.get_vocab()


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_pairs_of_texts_keep_the_pieces_of_both(family):
    clf = subword_classifier(family)
    if family == "roberta":
        clf.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    pairs = [("A slow start", "Clumsy and loud"), ("Dull", "never false")]
    smaller = trim_vocabulary(clf, pairs)
    assert torch.equal(logits(smaller, pairs), logits(clf, pairs))


def test_a_word_that_was_unknown_stays_unknown():
    # greedy: "abc" takes "ab", and "##c" is not there; without "ab" it could be spelled
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##bc", "ab", "b", "c", "##b"]
    tokenizer = BertTokenizer(
        vocab={piece: number for number, piece in enumerate(vocabulary)}, model_max_length=40
    )
    clf = subword_classifier("bert")
    clf.model.resize_token_embeddings(len(tokenizer))
    clf = Classifier(clf.model, tokenizer, clf.label_names)
    assert cut(clf, ["abc"])[0][1:-1] == ["[UNK]"]
    smaller = trim_vocabulary(clf, ["abc", "a"])
    assert cut(smaller, ["abc"]) == cut(clf, ["abc"])


def test_a_piece_that_letters_could_not_spell_stays():
    vocabulary = pieces()
    vocabulary |= {"##☃☂": len(vocabulary)}  # without "##☃" and "##☂"
    tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=40)
    clf = subword_classifier("bert")
    clf.model.resize_token_embeddings(len(tokenizer))
    smaller = trim_vocabulary(Classifier(clf.model, tokenizer, clf.label_names), USED)
    assert smaller.tokenizer.tokenize("a☃☂")[-1] == "##☃☂"


def test_added_tokens_stay_behind_the_vocabulary():
    clf = subword_classifier("bert")
    clf.tokenizer.add_tokens(["<film>"])
    clf.tokenizer.add_special_tokens({"additional_special_tokens": ["[USER]"]})
    clf.model.resize_token_embeddings(len(clf.tokenizer))
    texts = [*USED, "[USER] says <film> is dull"]
    smaller = trim_vocabulary(clf, texts)
    assert torch.equal(logits(smaller, texts), logits(clf, texts))
    assert cut(smaller, ["<film> [USER]"]) == cut(clf, ["<film> [USER]"])


def test_the_bundled_classifier_loses_most_of_its_words_and_no_answer(clf, some, tmp_path):
    smaller = trim_vocabulary(clf, some.texts)
    assert torch.equal(logits(smaller, some.texts), logits(clf, some.texts))
    assert len(smaller.tokenizer) < 3000
    assert smaller.tokenizer.cls_token_id == clf.tokenizer.cls_token_id == 101
    smaller.save(tmp_path / "small")
    size = (tmp_path / "small" / "model.safetensors").stat().st_size
    assert size == pytest.approx(4 * smaller.parameters(), rel=0.01)
    assert "[UNK]" not in smaller.tokenizer.tokenize("floccinaucinihilipilification")


@pytest.mark.parametrize("make", ["quantize", "share_weights", "share_layers"])
def test_it_goes_together_with_other_ways_to_be_small(make, tmp_path):
    options = {"groups": [[0, 1]]} if make == "share_layers" else {"bits": 4}
    clf = getattr(al.compression, make)(subword_classifier("bert"), **options)
    smaller = trim_vocabulary(clf, USED)
    assert torch.equal(logits(smaller, USED), logits(clf, USED))
    clf.save(tmp_path / "whole")
    smaller.save(tmp_path / "small")
    loaded = al.load_classifier(tmp_path / "small", device="cpu")
    assert torch.equal(logits(loaded, USED), logits(smaller, USED))
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "whole")]
    assert sizes[0] < sizes[1]
    assert [step["step"] for step in al.compression.steps(loaded)] == [make, "trim_vocabulary"]
    assert describe(smaller)["parameters"].sum() == smaller.parameters()


# ── what is refused ────────────────────────────────────────────────────────────────────────────


def test_a_tokenizer_of_whole_words_is_refused_by_name():
    with pytest.raises(ModelError, match="WordLevel tokenizer, which does not cut unknown words"):
        trim_vocabulary(tiny_classifier("bert"), LITTLE)


def test_a_tokenizer_that_is_not_of_the_tokenizers_library_is_refused_by_name():
    clf = subword_classifier("bert")

    class Homemade:
        """Behaves as the tokenizer, without what could be trimmed."""

        def __getattr__(self, name):
            if name == "backend_tokenizer":
                raise AttributeError(name)
            return getattr(clf.tokenizer, name)

        def __call__(self, *texts, **options):
            return clf.tokenizer(*texts, **options)

    homemade = Classifier(clf.model, Homemade(), clf.label_names)
    with pytest.raises(ModelError, match="vocabulary of a Homemade cannot be trimmed"):
        trim_vocabulary(homemade, USED)


def test_word_embeddings_that_are_no_plain_matrix_are_refused():
    clf = subword_classifier("bert")
    words = clf.model.get_input_embeddings()

    class Scaled(torch.nn.Embedding):
        pass

    clf.model.set_input_embeddings(Scaled(words.num_embeddings, words.embedding_dim))
    with pytest.raises(ModelError, match=r"Scaled, and rows can be taken out of a plain matrix"):
        trim_vocabulary(clf, USED)


@pytest.mark.parametrize(
    ("texts", "keep", "message"),
    [
        ([], (), "There are no texts"),
        (["fine", " "], (), "Text 1 is empty"),
        ("a text", (), "Expected a list of texts"),
        (USED, "wonderful", "expected a list of words"),
        (USED, [3], "expected a list of words"),
    ],
)
def test_texts_and_words_that_are_none_are_refused(texts, keep, message):
    with pytest.raises(DataError, match=message):
        trim_vocabulary(subword_classifier("bert"), texts, keep)
