"""Models as people bring them: parts that do not belong together, damaged files, reports."""

import json
import shutil
import socket

import numpy as np
import pytest
import torch
from each_step import EachStep
from safetensors.torch import load_file, save_file
from tiny_models import tiny
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertTokenizerFast,
    RobertaConfig,
    RobertaTokenizerFast,
)

import attnlab as al
from attnlab import classification, heads
from attnlab.classification.loading import load_base
from attnlab.datasets.splits import Splits
from attnlab.datasets.texts import TextDataset
from attnlab.errors import AttnlabWarning, DataError, ModelError
from attnlab.training import checkpoint

TEXTS = ["good film", "bad film a b", "a b c d e f"]
NAMES = ["LABEL_0", "LABEL_1", "LABEL_2"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, "good", "bad", "film"]
PIECES = [*PIECES, *(f"##{letter}" for letter in LETTERS)]  # 60
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 126516\n"


def word_pieces(pieces=PIECES):
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return BertTokenizerFast(vocab=vocabulary, model_max_length=40)


def of_bytes(pad=1):
    """A tokenizer of single bytes, as RoBERTa's, with this id for padding."""
    signs = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in signs]
    alphabet = [chr(byte) for byte in signs] + [chr(256 + index) for index in range(len(rest))]
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    names[1], names[pad] = names[pad], names[1]
    vocabulary = {piece: index for index, piece in enumerate([*names, *alphabet, "sc", "sch"])}
    merges = [("s", "c"), ("sc", "h")]
    return RobertaTokenizerFast(vocab=vocabulary, merges=merges, model_max_length=36)


def roberta():
    config = tiny("roberta").config
    config.vocab_size = len(of_bytes())
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a whole small BERT."""
    folder = tmp_path_factory.mktemp("whole")
    tiny("bert").save_pretrained(folder)
    word_pieces().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(whole, tmp_path / "model")


def reconfigured(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def reweighted(folder, change):
    path = folder / "model.safetensors"
    tensors = change(load_file(path))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"a": "b"})
    return folder


def probabilities(source):
    clf = source if isinstance(source, al.Classifier) else al.load_classifier(source)
    return clf.predict(TEXTS).probabilities


def few(labels=3, texts=TEXTS):
    texts = [f"{text} {letter}" for letter in LETTERS[:4] for text in texts]
    names = [f"LABEL_{index}" for index in range(labels)]
    data = TextDataset(texts, [index % labels for index in range(len(texts))], names, "few")
    return Splits(data, data, data)


# ── damaged files ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: LFS, "Git LFS pointer.*git lfs pull"),
        (lambda content: b"", "is empty"),
        (lambda content: b"<!DOCTYPE html><html>404</html>", "web page"),
        (lambda content: content[: len(content) // 2], "valid JSON|should hold"),
        (lambda content: content[:40], "valid JSON|cut off"),
    ],
)
def test_a_damaged_file_is_named_with_what_became_of_it(folder, file, damage, words):
    path = folder / file
    path.write_bytes(damage(path.read_bytes()))
    for load in (al.load_classifier, al.load_tagger, lambda base: load_base(base, 2)):
        with pytest.raises(ModelError, match=f"{file} .*({words})"):
            load(folder)


def test_a_vocabulary_that_is_a_pointer_is_no_vocabulary(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_bytes(LFS)
    with pytest.raises(ModelError, match=r"vocab\.txt is a Git LFS pointer"):
        al.load_classifier(folder)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("config.json", r"has no config\.json"),
        ("model.safetensors", r"has no model\.safetensors"),
        ("tokenizer.json", "has no vocabulary: .*every word would be unknown"),
    ],
)
def test_a_file_that_is_missing_is_named_wherever_models_are_loaded(folder, file, words):
    (folder / file).unlink()
    ways = (
        al.load_classifier,
        al.load_tagger,
        classification.fresh_classifier,
        lambda base: al.finetune(base, few(), "full"),
        lambda base: al.finetune_tagger(base, al.datasets.news.splits(8, 8, 8)),
    )
    for load in ways:
        with pytest.raises(ModelError, match=words):
            load(folder)


def test_a_configuration_is_enough_for_a_model_that_begins_at_random(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    assert classification.fresh_classifier(folder, pretrained=False).predict(TEXTS).labels
    with pytest.raises(
        ModelError, match=r"no config\.json\. There are models in its folders model"
    ):
        al.load_classifier(tmp_path)


def test_a_tokenizer_of_nonsense_is_named(folder):
    (folder / "tokenizer.json").write_text('{"a": 1}')
    with pytest.raises(ModelError, match=r"The tokenizer of .* cannot be read.*Save it again"):
        al.load_classifier(folder)


def test_weights_in_parts_load_and_a_part_that_is_missing_is_named(folder):
    expected = probabilities(folder)
    (folder / "model.safetensors").unlink()
    tiny("bert").save_pretrained(folder, max_shard_size="40KB")
    assert np.array_equal(probabilities(folder), expected)
    part = sorted(folder.glob("model-*.safetensors"))[1]
    part.write_bytes(part.read_bytes()[:-8])
    with pytest.raises(ModelError, match=f"{part.name} holds"):
        al.load_classifier(folder)
    part.unlink()
    with pytest.raises(ModelError, match=part.name):
        al.load_classifier(folder)


# ── model and tokenizer ────────────────────────────────────────────────────────────────────────


def test_a_token_without_a_row_is_refused_with_both_numbers(folder):
    tokenizer = word_pieces()
    tokenizer.add_tokens(["filmic", "goodish"])
    words = r"62 tokens and the model 60 rows .*resize_token_embeddings"
    with pytest.raises(ModelError, match=words):
        al.Classifier(tiny("bert"), tokenizer, NAMES)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=words):
        al.load_classifier(folder)
    with pytest.raises(ModelError, match=words):
        al.finetune(folder, few())
    model = tiny("bert")
    model.resize_token_embeddings(62)
    assert al.Classifier(model, tokenizer, NAMES).predict(["a filmic film"]).labels


def test_rows_without_a_token_are_refused_unless_they_fill_up():
    model = tiny("bert")
    model.resize_token_embeddings(64)
    assert al.Classifier(model, word_pieces(), NAMES)
    model.resize_token_embeddings(400)
    with pytest.raises(ModelError, match="400 rows of word embeddings and the tokenizer only 60"):
        al.Classifier(model, word_pieces(), NAMES)
    model.resize_token_embeddings(512)  # filled up to a multiple
    assert al.Classifier(model, word_pieces(), NAMES)


def test_a_tokenizer_without_words_is_refused():
    with pytest.raises(ModelError, match="knows no words"):
        al.Classifier(tiny("bert"), word_pieces(PIECES[:5]), NAMES)


def test_a_tokenizer_that_pads_with_another_token_is_of_another_model():
    swapped = word_pieces([PIECES[1], PIECES[0], *PIECES[2:]])
    with pytest.raises(ModelError, match=r"pads with token 1 .*configuration says 0"):
        al.Classifier(tiny("bert"), swapped, NAMES)
    with pytest.raises(ModelError, match=r"pads with token 0 .*configuration says 1"):
        al.Classifier(roberta(), of_bytes(pad=0), NAMES)
    without = word_pieces()
    without.pad_token = None
    with pytest.raises(ModelError, match="no token for padding"):
        al.Classifier(tiny("bert"), without, NAMES)


def test_a_second_text_that_the_model_cannot_tell_apart_is_refused():
    model = AutoModelForSequenceClassification.from_config(
        RobertaConfig(**tiny("roberta").config.to_diff_dict() | {"type_vocab_size": 1})
    )
    tokenizer = word_pieces([PIECES[2], PIECES[0], *PIECES[3:], PIECES[1]])
    clf = al.Classifier(model, tokenizer, NAMES)
    assert clf.predict(TEXTS).labels
    with pytest.raises(ModelError, match=r"type_vocab_size.*model_input_names"):
        clf.predict([("good film", "bad")])
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    assert clf.predict([("good film", "bad")]).labels


@pytest.mark.parametrize("nothing", [None, "bert", 3])
def test_what_is_no_model_or_no_tokenizer_is_named(nothing):
    with pytest.raises(ModelError, match=type(nothing).__name__):
        al.Classifier(nothing, word_pieces(), NAMES)
    with pytest.raises(ModelError, match=f"tokenizer.*{type(nothing).__name__}"):
        al.Classifier(tiny("bert"), nothing, NAMES)


# ── what the configuration says ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem_type": "multi_label_classification"}, "yes or no to each label"),
        ({"problem_type": "regression"}, "regression"),
        ({"id2label": {"0": "stars"}}, "regression"),
        ({"id2label": {"0": "a", "2": "b", "3": "c"}}, r"\[0, 2, 3\].*0 to 2 without a gap"),
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, r"same name \(a\)"),
        (
            {
                "id2label": {"0": "a", "1": "b", "2": "c"},
                "label2id": {"a": 1, "b": 0, "c": 2},
            },
            "contradict each other",
        ),
        ({"id2label": {"0": "a", "1": "b"}}, r"classifier.* has shape \(3,\).*\(2,\)"),
    ],
)
def test_answers_that_mean_something_else_are_refused(folder, changes, words):
    with pytest.raises(ModelError, match=words):
        al.load_classifier(reconfigured(folder, **changes))


def test_a_model_in_memory_is_refused_like_one_in_a_folder():
    model = tiny("bert")
    model.config.problem_type = "multi_label_classification"
    with pytest.raises(ModelError, match="yes or no to each label"):
        al.Classifier(model, word_pieces(), NAMES)
    with pytest.raises(ModelError, match=r"2 names of labels .* 3 outputs"):
        al.Classifier(tiny("bert"), word_pieces(), NAMES[:2])
    clf = al.Classifier(tiny("bert"), word_pieces(), NAMES)
    # as training with such labels sets it
    clf.model.config.problem_type = "multi_label_classification"
    with pytest.raises(ModelError, match="yes or no to each label"):
        clf.predict(TEXTS)


def test_a_multi_label_model_is_a_base_like_any_other(folder):
    reconfigured(folder, problem_type="multi_label_classification")
    clf = al.finetune(folder, few(), "full", epochs=1)
    assert clf.model.config.problem_type != "multi_label_classification"
    assert np.allclose(clf.predict(TEXTS).probabilities.sum(1), 1)


@pytest.mark.parametrize("kind", [AutoModel, AutoModelForMaskedLM])
def test_a_model_without_a_trained_layer_on_top_is_no_classifier(folder, kind):
    other = kind.from_pretrained(folder)
    other.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"no finished classifier.*Fine-tune"):
        al.load_classifier(folder)
    with pytest.raises(ModelError, match=f"got {type(other).__name__}"):
        al.Classifier(other, word_pieces(), NAMES)
    assert classification.fresh_classifier(folder).predict(TEXTS).labels


# ── what Transformers reports ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 2}, "hold 16 that have no place in it"),
        ({"num_hidden_layers": 4}, "lack 16 that its config.json asks for"),
        ({"vocab_size": 70}, r"\(60, 32\).*\(70, 32\)"),
        ({"model_type": "roberta"}, "lack 53"),
    ],
)
def test_weights_of_another_configuration_are_refused_for_use_and_as_a_base(folder, changes, words):
    reconfigured(folder, **changes)
    for load in (al.load_classifier, classification.fresh_classifier):
        with pytest.raises(ModelError, match=words):
            load(folder)


def test_an_adapter_within_the_weights_is_not_left_out_in_silence(folder):
    name = "bert.encoder.layer.0.attention.self.query.lora_A.weight"
    reweighted(folder, lambda tensors: tensors | {name: torch.ones(2, 32)})
    with pytest.raises(ModelError, match=r"hold an adapter.*merge_and_unload"):
        al.load_classifier(folder)


def test_layers_for_other_tasks_are_no_trouble_and_unknown_ones_are_told(folder, recwarn):
    expected = probabilities(folder)
    other = {"cls.predictions.bias": torch.ones(60), "bert.embeddings.position_ids": torch.ones(1)}
    assert np.array_equal(probabilities(reweighted(folder, lambda kept: kept | other)), expected)
    assert not [entry for entry in recwarn if issubclass(entry.category, AttnlabWarning)]
    reweighted(folder, lambda tensors: tensors | {"extra.weight": torch.ones(2)})
    with pytest.warns(AttnlabWarning, match="extra.weight"):
        assert np.array_equal(probabilities(folder), expected)


@pytest.mark.parametrize("max_shard_size", ["1GB", "40KB"])
def test_heads_that_version_4_removed_stay_removed(whole, tmp_path, max_shard_size):
    smaller = heads.prune(al.load_classifier(whole), [(0, 1), (2, 0), (2, 3)])
    expected = probabilities(smaller)
    smaller.model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    smaller.tokenizer.save_pretrained(tmp_path)
    removed = {"0": [1], "1": [], "2": [0, 3]}
    reconfigured(tmp_path, **{heads.PRUNED: None, "pruned_heads": removed})
    again = al.load_classifier(tmp_path)
    assert heads.removed(again) == [(0, 1), (2, 0), (2, 3)]
    assert np.array_equal(probabilities(again), expected)
    reconfigured(tmp_path, pruned_heads={"0": [1, 2]})
    with pytest.raises(ModelError, match=r"layer\.0\.attention.* has shape"):
        al.load_classifier(tmp_path)
    reconfigured(tmp_path, pruned_heads={"7": [1]})
    with pytest.raises(ModelError, match=r"no head \(7, 1\)"):
        al.load_classifier(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("gone", [[], [(0, 1), *((1, head) for head in range(4))]])
def test_a_model_saved_in_half_precision_loads_in_one_number_format(whole, tmp_path, dtype, gone):
    clf = al.load_classifier(whole)
    smaller = heads.prune(clf, gone)
    expected = probabilities(smaller)
    clf.model.to(dtype)
    half = heads.prune(clf, gone)
    assert {parameter.dtype for parameter in half.model.parameters()} == {dtype}
    again = al.load_classifier(half.save(tmp_path / "half"))
    assert {parameter.dtype for parameter in again.model.parameters()} == {torch.float32}
    assert np.allclose(probabilities(again), expected, atol=1e-2)


# ── adapters of peft ───────────────────────────────────────────────────────────────────────────


def adapted(whole, kind, **options):
    """A classifier around a model with adapters of this kind, which change its answers."""
    import peft

    model = AutoModelForSequenceClassification.from_pretrained(whole)
    wrapped = peft.get_peft_model(model, getattr(peft, kind)(task_type="SEQ_CLS", **options))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) / 3)
    return al.Classifier(wrapped, word_pieces(), NAMES)


ADAPTERS = {
    "lora": ("LoraConfig", {"target_modules": ["query", "value"]}),
    "lora and pooler": ("LoraConfig", {"target_modules": ["key"], "modules_to_save": ["pooler"]}),
    "dora": ("LoraConfig", {"target_modules": ["query"], "use_dora": True}),
    "lora of words": ("LoraConfig", {"target_modules": ["word_embeddings", "query"]}),
    "ia3": (
        "IA3Config",
        {"target_modules": ["key", "output.dense"], "feedforward_modules": ["output.dense"]},
    ),
    "prefix": ("PrefixTuningConfig", {"num_virtual_tokens": 4}),
}


@pytest.mark.parametrize("kind", list(ADAPTERS))
def test_a_model_with_adapters_loads_as_it_was_saved_and_stays_as_it_is(whole, tmp_path, kind):
    name, options = ADAPTERS[kind]
    clf = adapted(whole, name, **options)
    expected = probabilities(clf)
    assert not np.allclose(expected, probabilities(whole), atol=1e-2)
    again = al.load_classifier(clf.save(tmp_path / "saved"))
    assert np.allclose(probabilities(again), expected, atol=1e-5)
    assert np.array_equal(probabilities(clf), expected)


def test_adapters_that_are_disabled_or_merged_are_saved_as_they_answer(whole, tmp_path):
    clf = adapted(whole, "LoraConfig", target_modules=["query"])
    with clf.model.disable_adapter():
        expected = probabilities(clf)
        again = al.load_classifier(clf.save(tmp_path / "disabled"))
    assert np.allclose(probabilities(again), expected, atol=1e-6)
    expected = probabilities(clf)
    clf.model.merge_adapter()
    again = al.load_classifier(clf.save(tmp_path / "merged"))
    assert np.allclose(probabilities(again), expected, atol=1e-5)


def test_an_adapter_within_a_plain_model_is_saved_too(whole, tmp_path):
    from peft import LoraConfig

    model = AutoModelForSequenceClassification.from_pretrained(whole)
    model.add_adapter(LoraConfig(target_modules=["query", "value"], init_lora_weights=False))
    clf = al.Classifier(model, word_pieces(), NAMES)
    again = al.load_classifier(clf.save(tmp_path / "saved"))
    assert np.allclose(probabilities(again), probabilities(clf), atol=1e-5)
    assert not np.allclose(probabilities(again), probabilities(whole), atol=1e-3)


def test_a_folder_that_only_peft_wrote_says_how_to_bring_it_here(whole, tmp_path):
    clf = adapted(whole, "LoraConfig", target_modules=["query"])
    clf.model.save_pretrained(tmp_path / "peft")
    with pytest.raises(ModelError, match=r"without attnlab\.json.*al\.Classifier\(PeftModel"):
        al.load_classifier(tmp_path / "peft")


def test_a_prefix_whose_base_is_in_no_folder_is_not_saved_alone(whole, tmp_path):
    clf = adapted(whole, "PrefixTuningConfig", num_virtual_tokens=4)
    clf.model.active_peft_config.base_model_name_or_path = None
    with pytest.raises(ModelError, match="Save the base"):
        clf.save(tmp_path / "saved")


# ── an adapter and its base ────────────────────────────────────────────────────────────────────


@pytest.fixture
def adapter(folder, tmp_path):
    """The folder of an adapter, whose base is in ``folder``."""
    al.finetune(folder, few(), "lora", tmp_path / "adapter", epochs=1)
    return tmp_path / "adapter"


def test_an_adapter_is_refused_on_another_base(adapter, folder):
    expected = probabilities(adapter)
    reweighted(folder, lambda tensors: tensors | {"classifier.bias": torch.ones(3)})
    assert np.allclose(probabilities(adapter), expected)  # it brings its own
    name = "bert.embeddings.word_embeddings.weight"
    reweighted(folder, lambda tensors: tensors | {name: tensors[name] + 0.01})
    with pytest.raises(ModelError, match=r"was trained on .*model' with encoder .*now has encoder"):
        al.load_classifier(adapter)


def test_an_adapter_is_refused_with_another_tokenizer(adapter, folder):
    word_pieces([*PIECES[:5], *PIECES[:4:-1]]).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"with tokenizer .*now has tokenizer"):
        al.load_classifier(adapter)


def test_an_adapter_whose_base_is_gone_or_pruned_names_both(adapter, folder):
    clf = heads.prune(al.load_classifier(folder), [(0, 0)])
    clf.save(folder)
    with pytest.raises(ModelError, match=r"adapter in .*trained on .*heads removed for good"):
        al.load_classifier(adapter)
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"adapter in .*trained on .*no folder of that name"):
        al.load_classifier(adapter)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("attnlab.json", lambda text: text[:30], "attnlab.json is no valid JSON"),
        ("attnlab.json", lambda text: "{}", "does not name the base and the labels"),
        ("adapter_config.json", lambda text: "", "adapter_config.json is empty"),
        ("adapter_model.safetensors", lambda text: LFS.decode(), "Git LFS pointer"),
    ],
)
def test_a_damaged_adapter_is_named(adapter, file, change, words):
    path = adapter / file
    path.write_text(change(path.read_text(errors="replace")))
    with pytest.raises(ModelError, match=words):
        al.load_classifier(adapter)


def test_an_adapter_without_its_classification_layer_would_answer_at_random(adapter, folder):
    AutoModel.from_pretrained(folder).save_pretrained(folder)  # the base has none either
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name: tensors[name] for name in tensors if "classifier" not in name}, path)
    with pytest.raises(ModelError, match=r"lacks classifier.*would be random"):
        al.load_classifier(adapter)


def test_an_adapter_that_is_not_whole_is_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    gone = "base_model.model.bert.encoder.layer.1.attention.self.key.lora_"
    save_file({name: tensors[name] for name in tensors if not name.startswith(gone)}, path)
    with pytest.raises(ModelError, match=r"no update for bert\.encoder\.layer\.1.*self\.key"):
        al.load_classifier(adapter)
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_rslora": True}))
    with pytest.raises(ModelError, match="missing adapter keys"):
        al.load_classifier(adapter)


def test_an_adapter_of_a_larger_model_is_refused(adapter):
    record = json.loads((adapter / "attnlab.json").read_text())
    del record["base_fingerprint"]  # as an older version wrote it
    (adapter / "attnlab.json").write_text(json.dumps(record))
    path = adapter / "adapter_model.safetensors"
    tensors = {name: torch.cat([tensor, tensor]) for name, tensor in load_file(path).items()}
    save_file(tensors, path)
    with pytest.raises(ModelError, match="does not fit this base"):
        al.load_classifier(adapter)


def test_a_run_does_not_go_on_from_another_base(folder, tmp_path, monkeypatch):
    def stop(run):
        if run.step == 2:
            raise RuntimeError("stopped")

    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    options = {"epochs": 2, "batch_size": 4}
    with pytest.raises(RuntimeError, match="stopped"):
        al.finetune(folder, few(), "full", tmp_path / "run", callbacks=[EachStep(stop)], **options)
    other = tiny("bert")
    other.resize_token_embeddings(60)
    with torch.no_grad():
        other.get_input_embeddings().weight.add_(0.1)
    other.save_pretrained(folder)
    with pytest.raises(al.AttnlabError, match="was another one: base_encoder"):
        al.finetune(folder, few(), "full", tmp_path / "run", resume=True, **options)
    (tmp_path / "run" / checkpoint.CHECKPOINT).write_bytes(LFS)
    with pytest.raises(al.AttnlabError, match="Git LFS pointer"):
        al.finetune(folder, few(), "full", tmp_path / "run", resume=True, **options)


# ── names ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["runs/none", "runs/none/", "./none", "~/none", "/none", "a/b/c", "a\\b", "none", "a b"]
)
def test_what_looks_like_a_folder_is_not_asked_for_elsewhere(monkeypatch, name):
    def refuse(*_, **__):
        pytest.fail("asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    ways = (al.load_classifier, al.load_tagger, lambda base: al.finetune(base, few()))
    for load in (*ways, classification.fresh_classifier):
        with pytest.raises(ModelError, match="no folder of that name here"):
            load(name)


def test_a_name_in_a_folder_that_is_here_is_a_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ModelError, match="no folder of that name here"):
        al.load_classifier("mine/first")


@pytest.mark.parametrize("name", [None, 3, "", " "])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ModelError, match="Expected the name or the folder of a model"):
        al.load_classifier(name)


# ── tokens as people read them ─────────────────────────────────────────────────────────────────


def test_tokens_of_bytes_are_shown_as_the_characters_they_stand_for():
    clf = al.Classifier(roberta(), of_bytes(), NAMES)
    maps = clf.attend("schön 😂")
    assert maps.tokens[:5] == ["<s>", "sch", "ö", "ö", "n"]
    assert set(maps.tokens[6:-1]) == {"😂"}
    assert maps.tokens[-1] == "</s>"
    pair = clf.attend(("ö", "€"))
    assert pair.tokens == ["<s>", "ö", "ö", "</s>", "</s>", "€", "€", "€", "</s>"]
    assert pair.tokens[pair.second_start] == "€"


def test_explanations_name_the_same_tokens():
    from attnlab.evaluation import explanations

    clf = al.Classifier(roberta(), of_bytes(), NAMES)
    maps = clf.attend("schön 😂")
    kept = [token for token, gone in zip(maps.tokens, maps.special, strict=True) if not gone]
    assert explanations(clf, "schön 😂")["token"].tolist() == kept


def test_an_unknown_word_and_a_mask_are_text_and_not_special():
    from attnlab.evaluation.inputs import is_special

    clf = al.Classifier(tiny("bert"), word_pieces(), NAMES)
    clf.tokenizer.add_special_tokens({"additional_special_tokens": ["film"]})
    text = "a 🫠 film [MASK]"
    maps = clf.attend(text)
    assert maps.tokens == ["[CLS]", "a", "[UNK]", "film", "[MASK]", "[SEP]"]
    assert maps.special.tolist() == [True, False, False, False, False, True]
    assert is_special(clf, np.array(clf.encode([text]).ids(0))).tolist() == maps.special.tolist()


# ── labels of another kind ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("labels", [[["x", "y"], ["x"]], [("x",), ("y",)], [{"x"}, {"y"}]])
def test_lists_of_labels_are_refused(labels):
    import pandas as pd

    frame = pd.DataFrame({"text": ["good", "bad"], "label": labels})
    with pytest.raises(DataError, match="several labels"):
        al.datasets.from_frame(frame)
    with pytest.raises(DataError, match="several labels"):
        TextDataset(["good", "bad"], labels, ["x", "y"], "lists")


def test_lists_of_labels_in_a_file_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\ngood,\"['x', 'y']\"\nbad,\"['x']\"\n")
    with pytest.raises(DataError, match="several labels"):
        al.datasets.from_csv(tmp_path / "a.csv")
