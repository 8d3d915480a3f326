"""Classifiers that are decoders: what can be measured is right, what cannot is refused by name."""

import numpy as np
import pytest
import torch
from tiny_classifiers import LITTLE, WORDS, words_to_ids
from tiny_decoders import HEADS, tiny_decoding_classifier

import attnlab as al
from attnlab import adaptive, balance, compression, economics, evaluation, heads
from attnlab.classification.classifier import Classifier
from attnlab.classification.loading import fresh_classifier
from attnlab.errors import AttnlabError, ModelError

pytestmark = pytest.mark.filterwarnings("ignore::attnlab.errors.AttnlabWarning")
decoders = pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
LABELS = ["bad", "fair", "good"]


def decoding(name):
    return Classifier(tiny_decoding_classifier(name), words_to_ids(0), LABELS)


def texts(count=24):
    generator = np.random.default_rng(0)
    made = [" ".join(generator.choice(WORDS, generator.integers(2, 12))) for _ in range(count)]
    return al.TextDataset(made, [number % 3 for number in range(count)], LABELS, "made up")


def silenced(clf, layer, chosen):
    settings = clf.settings()
    settings.scale[layer, chosen] = 0
    return settings


# ── what works ─────────────────────────────────────────────────────────────────────────────────


@decoders
def test_answers_do_not_depend_on_what_else_is_in_the_batch(name):
    clf = decoding(name)
    together = clf.predict(LITTLE).probabilities
    for text, answer in zip(LITTLE, together, strict=True):
        assert np.allclose(clf.predict([text]).probabilities[0], answer, atol=1e-5)


@decoders
def test_maps_are_lower_triangular_and_their_rows_sum_to_1(name):
    maps = decoding(name).attend(LITTLE[1])
    assert torch.equal(maps.weights, maps.weights.tril())
    assert torch.allclose(maps.weights.sum(-1), torch.ones(()), atol=1e-5)
    flow = evaluation.rollout(maps)
    assert torch.equal(flow, flow.tril())
    assert torch.allclose(flow.sum(-1), torch.ones(()), atol=1e-5)


@decoders
@pytest.mark.parametrize("target", ["head", "layer", "all_but_one"])
def test_ablation_is_that_of_the_model_with_the_heads_cut_off(name, target):
    clf, data = decoding(name), texts()
    evaluator = al.Evaluator(clf, data)
    table = al.ablate(evaluator, target)
    assert evaluator.current_engine() is None
    assert "is for encoders" in evaluator.why_no_engine
    assert repr(clf.model.config.model_type) in evaluator.why_no_engine
    for row in table.itertuples():
        cut = list(range(HEADS))
        if target != "layer":
            cut = [head for head in cut if (head == row.head) == (target == "head")]
        site = heads.sites(clf.model)[row.layer]
        width = site.head_width

        def zeroed(module, args, cut=cut, width=width):
            context = args[0].clone()
            for head in cut:
                context[..., head * width : (head + 1) * width] = 0
            return (context,)

        handle = site.output.register_forward_pre_hook(zeroed)
        wanted = clf.logits(evaluator.encoded).log_softmax(-1)
        handle.remove()
        loss = -wanted[torch.arange(len(data)), torch.tensor(data.labels)].mean()
        assert row.loss == pytest.approx(float(loss), abs=1e-4)


@decoders
def test_ablation_by_scale_and_by_temperature_is_the_score_with_these_settings(name):
    evaluator = al.Evaluator(decoding(name), texts())
    for method, value in (("scale", 0.5), ("scale", 1.5), ("temperature", 3.0)):
        table = al.ablate(evaluator, method=method, value=value)
        assert not np.allclose(table["loss_delta"], 0)
        for layer, head in ((0, 1), (2, 3)):
            settings = evaluator.clf.settings()
            getattr(settings, method)[layer, head] = value
            found = table[(table["layer"] == layer) & (table["head"] == head)]
            assert found["loss"].item() == pytest.approx(evaluator.score(settings).loss, abs=1e-5)


@decoders
def test_gradients_estimates_and_curves_are_measured(name):
    evaluator = al.Evaluator(decoding(name), texts())
    slopes = evaluator.gradients()
    settings = evaluator.clf.settings()
    settings.scale[1, 2] = 1 + 1e-2
    above = evaluator.score(settings).losses.mean()
    settings.scale[1, 2] = 1 - 1e-2
    below = evaluator.score(settings).losses.mean()
    assert -(above - below) / 2e-2 == pytest.approx(slopes[1, 2], rel=0.05, abs=1e-4)
    for order in ("use", "weights", "random"):
        curve = al.pruning_curve(evaluator, order, steps=3)
        everything_off = silenced(evaluator.clf, slice(None), slice(None))
        assert curve["loss"].iloc[-1] == pytest.approx(evaluator.score(everything_off).loss)


@decoders
def test_sizes_of_heads_are_those_of_their_matrices_multiplied(name):
    clf = decoding(name)
    found = evaluation.pruning_curves.weight_sizes(clf)
    base = clf.model.base_model
    if name == "gpt2":
        attention = base.h[1].attn
        value = attention.c_attn.weight[:, 64:].T.unflatten(0, (HEADS, -1))  # (h, D, E)
        output = attention.c_proj.weight.T.unflatten(1, (HEADS, -1))
    else:  # heads 0 and 1 have the first values, 2 and 3 the second
        attention = base.layers[1].self_attn
        value = attention.v_proj.weight.unflatten(0, (2, -1))[[0, 0, 1, 1]]
        output = attention.o_proj.weight.unflatten(1, (HEADS, -1))
    for head in range(HEADS):
        size = float((output[:, head] @ value[head]).detach().norm())
        assert found[1, head] == pytest.approx(size, rel=1e-4)


@decoders
def test_a_pruned_classifier_is_saved_and_loaded(name, tmp_path):
    clf, gone = decoding(name), [(0, 0), (0, 3), *((1, head) for head in range(HEADS))]
    smaller = al.heads.prune(clf, gone)
    smaller.save(tmp_path / "small")
    again = al.load_classifier(tmp_path / "small", "cpu")
    assert heads.removed(again) == gone
    assert again.parameters() == smaller.parameters() < clf.parameters()
    silent = clf.settings()
    for head_id in gone:
        silent.scale[head_id] = 0
    wanted = clf.predict(LITTLE, silent).probabilities
    for model in (smaller, again):
        assert np.allclose(model.predict(LITTLE).probabilities, wanted, atol=1e-5)


@decoders
def test_patching_puts_what_a_head_said_about_one_text_into_another(name):
    clf, (clean, disturbed) = decoding(name), ("a slow film", "a dull film")
    found = adaptive.patch_heads(clf, clean, disturbed)
    before, after = clf.logits(clf.encode([clean])), clf.logits(clf.encode([disturbed]))
    label = before.argmax()

    def margin(logits):
        others = logits[0].clone()
        others[label] = -torch.inf
        return float(logits[0, label] - others.max())

    site = heads.sites(clf.model)[1]
    columns, said = slice(2 * site.head_width, 3 * site.head_width), []
    note = site.output.register_forward_pre_hook(lambda module, args: said.append(args[0]))
    clf.logits(clf.encode([clean]))
    note.remove()

    def replaced(module, args):
        context = args[0].clone()
        context[..., columns] = said[0][..., columns]
        return (context,)

    with site.output.register_forward_pre_hook(replaced):
        patched = clf.logits(clf.encode([disturbed]))
    wanted = (margin(patched) - margin(after)) / (margin(before) - margin(after))
    row = found[(found["layer"] == 1) & (found["head"] == 2)]
    assert row["restored"].item() == pytest.approx(wanted, abs=1e-3)


# ── what does not ──────────────────────────────────────────────────────────────────────────────

DATA = texts()
REFUSED = {
    "mean ablation": lambda clf: al.ablate(al.Evaluator(clf, DATA), method="mean"),
    "uniform ablation": lambda clf: al.ablate(al.Evaluator(clf, DATA), method="uniform"),
    "profiles": lambda clf: evaluation.profiles(clf, LITTLE),
    "token_gradients": lambda clf: evaluation.token_gradients(clf, LITTLE[0]),
    "token_ablation": lambda clf: evaluation.token_ablation(clf, LITTLE[0], "remove"),
    "explanations": lambda clf: evaluation.explanations(clf, LITTLE[0]),
    "agreement": lambda clf: evaluation.agreement(clf, LITTLE),
    "balance.measure": lambda clf: balance.measure(clf, LITTLE),
    "balance.similarity": lambda clf: balance.similarity(clf, LITTLE),
    "balance.Recorder": lambda clf: balance.Recorder(LITTLE)(clf, 0),
    "balance.faults": lambda clf: balance.faults(clf, LITTLE),
    "balance.adjust": lambda clf: balance.adjust(clf, DATA, "least-squares"),
    "narrow": lambda clf: heads.narrow(clf, heads.Narrow("window")),
    "drop_tokens": lambda clf: adaptive.drop_tokens(clf, {0: 0.5}),
    "token_scorer": lambda clf: adaptive.token_scorer(clf, LITTLE, layers=[0]),
    "integrated_gradients": lambda clf: adaptive.integrated_gradients(clf, LITTLE[0]),
    "patching at [CLS]": lambda clf: adaptive.patch_heads(
        clf, "a slow film", "a dull film", positions="cls"
    ),
    "cost": economics.cost,
    "shape_of": economics.shape_of,
    "describe": compression.describe,
    "quantize": compression.quantize,
    "prune_layers": lambda clf: compression.prune_layers(clf, keep=[0, 1]),
    "prune_neurons": lambda clf: compression.prune_neurons(clf, 0.5, data=DATA),
    "repair": lambda clf: compression.prune_heads(clf, heads_gone=[(0, 0), (0, 3)], repair=LITTLE),
    "factorize": lambda clf: compression.factorize(clf, 0.5),
    "trim_vocabulary": lambda clf: compression.trim_vocabulary(clf, LITTLE),
    "layer_list": lambda clf: heads.layer_list(clf.model),
}


@decoders
@pytest.mark.parametrize("ask", list(REFUSED))
def test_what_is_for_encoders_is_refused_with_the_family_and_the_cure(name, ask):
    clf = decoding(name)
    with pytest.raises(ModelError) as refused:
        REFUSED[ask](clf)
    message = str(refused.value)
    assert "for encoders" in message
    assert repr(clf.model.config.model_type) in message
    assert "al.heads.applied" in message
    assert "al.ablate" in message


def test_an_export_is_refused(tmp_path):
    with pytest.raises(ModelError, match="An export is for encoders"):
        decoding("gpt2").export(tmp_path / "small")


def test_what_cls_looks_at_is_not_read_off_maps_of_a_decoder():
    maps = decoding("gpt2").attend(LITTLE[1])
    with pytest.raises(AttnlabError, match="the first sees nothing but itself"):
        evaluation.raw_attention(maps)


def test_fine_tuning_starts_from_encoders(tmp_path):
    decoding("gpt2").save(tmp_path / "whole")
    with pytest.raises(ModelError, match=r"Fine-tuning is for encoders.*'gpt2'"):
        fresh_classifier(tmp_path / "whole", LABELS)


def test_a_decoder_that_does_not_know_its_padding_is_refused_with_the_cure():
    """It would answer from a token of padding."""
    model = tiny_decoding_classifier("gpt2", pad_token_id=None)
    with pytest.raises(ModelError, match=r"model\.config\.pad_token_id = 0"):
        Classifier(model, words_to_ids(0), LABELS)
    with pytest.raises(ModelError, match="3 outputs"):
        Classifier(tiny_decoding_classifier("gpt2"), words_to_ids(0), LABELS[:2])
