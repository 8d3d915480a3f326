"""The flow desk without a browser: what is read off the model, what is drawn, what is refused."""

import dataclasses
import itertools
import json
import threading

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch
from tiny_classifiers import LITTLE, tiny_classifier, words_to_ids
from tiny_decoders import tiny_decoding_classifier

import attnlab as al
from attnlab import heads
from attnlab.classification.classifier import Classifier
from attnlab.errors import AttnlabError, ModelError, SettingsError
from attnlab.show.plots.picture import ROLES
from attnlab.show.widgets.flow_reading import SHOWN, every_so_many, read_flow
from attnlab.show.widgets.flow_report import MOST_TOKENS, STEPS, flow_report, telling_token

FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert"]
TEXT = LITTLE[1]


@pytest.fixture(scope="module")
def clf():
    return tiny_classifier("bert")


@pytest.fixture
def desk(clf):
    made = al.FlowDesk(clf, TEXT)
    yield made
    made.close()


def report(clf, text=TEXT, **settings):
    chosen = {"text": text, "layer": 0, "head": 0, "token": 0, "step": "tokens"}
    chosen |= {"lines": "weights"} | settings
    return flow_report(read_flow(clf, text), chosen)


# ── the numbers ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", FAMILIES)
def test_queries_and_keys_give_the_weights_that_the_model_used(family):
    clf = tiny_classifier(family)
    used = clf.attend(TEXT).weights
    for layer in range(clf.layers):
        for head in range(clf.heads):
            shown = torch.tensor(report(clf, layer=layer, head=head)["weights"])
            torch.testing.assert_close(shown, used[layer, head], rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_after_the_last_layer_is_the_models_own(family):
    clf = tiny_classifier(family)
    flow = read_flow(clf, TEXT)
    own = torch.tensor(clf.predict([TEXT]).probabilities[0])
    torch.testing.assert_close(flow.answers[-1], own, rtol=0, atol=1e-5)
    assert flow.answers.shape == (clf.layers + 1, 3)
    assert flow.hidden.shape[0] == clf.layers + 1


def test_hidden_states_are_those_of_transformers(clf):
    batch = clf.encode([TEXT]).batch([0])
    with torch.no_grad():
        own = clf.model.eval()(**batch, output_hidden_states=True).hidden_states
    torch.testing.assert_close(read_flow(clf, TEXT).hidden, torch.cat(own), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_vectors_are_those_that_enter_the_layer(clf, layer):
    shown = torch.tensor(report(clf, layer=layer)["vectors"])
    hidden = read_flow(clf, TEXT).hidden[layer]
    columns = report(clf, layer=layer)["columns"]
    torch.testing.assert_close(shown, hidden[:, columns], rtol=0, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_times_the_matrices_that_are_drawn_gives_query_key_and_value(family):
    clf = tiny_classifier(family)  # its vectors have fewer numbers than are drawn at most: all are
    flow = read_flow(clf, TEXT)
    for layer, (site, columns) in enumerate(zip(heads.sites(clf.model), flow.columns, strict=True)):
        assert columns == list(range(flow.hidden.shape[-1]))
        for part, name in enumerate((site.query, site.key, site.value)):
            bias = getattr(site.module, name).bias.detach().reshape(clf.heads, 1, -1)
            made = flow.hidden[layer] @ flow.matrices[part, layer] + bias  # (H, T, D)
            own = (flow.query, flow.key, flow.value)[part][layer]
            torch.testing.assert_close(made, own, rtol=0, atol=1e-5)


def test_lines_between_layers_are_the_mean_of_the_weights_of_heads_that_are_there():
    whole = tiny_classifier("bert")
    flow = read_flow(heads.prune(whole, [(1, 0)]), TEXT)
    settings = {"text": TEXT, "layer": 0, "head": 0, "token": 0, "step": "model"}
    settings["lines"] = "weights"
    between = torch.tensor(flow_report(flow, settings)["between"]["weights"])
    used = whole.attend(TEXT).weights
    torch.testing.assert_close(between[0], used[0].mean(0), rtol=0, atol=1e-3)
    torch.testing.assert_close(between[1], used[1, 1:].mean(0), rtol=0, atol=1e-3)


def test_the_whole_model_says_where_a_token_looks_most_at_others(clf):
    shown = report(clf, token=2)
    weights = clf.attend(TEXT).weights.mean(1)
    others = 1 - weights[:, 2, 2]
    told = shown["words"]["model"][2]
    assert f"In layer {int(others.argmax())} “{shown['tokens'][2]}” gives" in told
    assert f"gives {float(others.max()):.2f} of its weight to other tokens" in told
    flow = read_flow(clf, TEXT)
    within = report(clf, layer=1, head=1)
    lengths = [float(flow.added[1, head, 2].norm()) for head in range(clf.heads)]
    assert within["by_head"][2] == pytest.approx(lengths, abs=0.01)
    for part, matrix in zip(("query", "key", "value"), flow.matrices[:, 1, 1], strict=True):
        drawn = torch.tensor(within["matrices"][part])
        torch.testing.assert_close(drawn, matrix, rtol=0, atol=1e-3)
    states = torch.tensor(shown["states"])
    assert states.shape[:2] == flow.hidden.shape[:2]
    for column in states.unbind(-1):
        assert any(column.allclose(own, atol=1e-3) for own in flow.hidden.unbind(-1))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lines_carry_is_each_weight_times_the_length_of_its_value(family):
    clf = tiny_classifier(family)
    flow = read_flow(clf, TEXT)
    weights = clf.attend(TEXT).weights
    shown = torch.tensor(report(clf, lines="carried")["between"]["carried"])
    assert float(shown.sum(-1).max()) == pytest.approx(1, abs=0.01)
    scales = []
    for layer, site in enumerate(heads.sites(clf.model)):
        matrix = site.output.weight.detach().T.reshape(clf.heads, -1, flow.hidden.shape[-1])
        lengths = (flow.value[layer] @ matrix).norm(dim=-1)  # (H, T)
        torch.testing.assert_close(flow.offered[layer], lengths, rtol=0, atol=1e-5)
        carried = (weights[layer] * lengths[:, None]).sum(0)
        scale = shown[layer].sum() / carried.sum()
        torch.testing.assert_close(shown[layer], carried * scale, rtol=0, atol=1e-3)
        scales.append(float(scale))
    assert scales == pytest.approx([scales[0]] * len(scales), rel=0.02)  # one for all layers


def test_words_of_the_whole_model_say_what_the_lines_are(clf):
    shown = report(clf, lines="carried")
    told = shown["words"]["model"][2]
    others = [sum(layer[2]) - layer[2][2] for layer in shown["between"]["carried"]]
    assert "the weight times the length of value × W_O" in told
    assert f"in layer {others.index(max(others))}: {max(others):.2f}" in told
    second = sorted(others)[-2]
    assert f"Next: layer {others.index(second)}, {second:.2f}." in told
    assert "weight times" not in report(clf)["words"]["model"][2]


def test_mixtures_are_what_goes_into_the_output_projection(clf):
    (site, *_), given = heads.sites(clf.model), []
    hook = site.output.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    clf.predict([TEXT])
    hook.remove()
    shown = [torch.tensor(report(clf, head=head)["mixtures"]) for head in range(clf.heads)]
    torch.testing.assert_close(torch.cat(shown, -1), given[0][0], rtol=0, atol=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tokens_row_and_what_its_position_adds_make_the_vector_that_enters_layer_0(family):
    clf = tiny_classifier(family)
    flow = read_flow(clf, f"{TEXT} {TEXT}")
    base = clf.model.base_model.eval()
    with torch.no_grad():
        kinds = getattr(base.embeddings, "token_type_embeddings", None)
        of_the_text = 0 if kinds is None else kinds.weight[0]
        made = base.embeddings.LayerNorm(flow.looked_up + flow.positions + of_the_text)
        if family == "albert":
            made = base.encoder.embedding_hidden_mapping_in(made)
        elif hasattr(base, "embeddings_project"):
            made = base.embeddings_project(made)
    torch.testing.assert_close(made, flow.hidden[0], rtol=0, atol=1e-5)
    other = read_flow(clf, f"{TEXT} {TEXT}".replace(TEXT.split()[0], "dull"))
    torch.testing.assert_close(other.positions, flow.positions, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_adds_its_heads_and_its_feed_forward_network_and_normalises_each_sum(family):
    clf = tiny_classifier(family)
    flow = read_flow(clf, TEXT)
    blocks = heads.feed_forwards(clf.model.eval())
    biases = torch.stack([site.output.bias for site in heads.sites(clf.model)]).detach()
    torch.testing.assert_close(flow.added.sum(1) + biases[:, None], flow.attention)
    for layer, block in enumerate(blocks):
        with torch.no_grad():
            attended = block.attention_norm(flow.hidden[layer] + flow.attention[layer])
            neurons = block.activation(block.up(attended))
            fed = block.down(neurons)
            torch.testing.assert_close(flow.neurons[layer], neurons, rtol=0, atol=1e-4)
            new = block.norm(attended + fed)
        for mine, own in ((flow.attended, attended), (flow.fed, fed), (flow.hidden[1:], new)):
            torch.testing.assert_close(mine[layer], own, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_head_adds_is_missing_when_it_is_silent(family):
    clf = tiny_classifier(family)
    flow, settings, given = read_flow(clf, TEXT), clf.settings(), []
    settings.scale[0, 1] = 0
    norm = heads.feed_forwards(clf.model)[0].attention_norm
    hook = norm.register_forward_hook(lambda _module, args, _out: given.append(args[0][0]))
    clf.predict([TEXT])
    clf.predict([TEXT], settings)
    hook.remove()
    layers = len(given) // 2  # ALBERT's layers share their norm
    torch.testing.assert_close(given[0] - given[layers], flow.added[0, 1], rtol=0, atol=1e-5)


def test_positions_first_vectors_and_what_is_read_are_the_models_own(clf):
    shown, flow = report(clf, layer=1), read_flow(clf, TEXT)
    columns = shown["columns"]
    for name, own in (
        ("positions", flow.positions[:, columns]),
        ("starts", flow.hidden[0][:, columns]),
        ("read", flow.hidden[:, 0, columns]),
    ):
        torch.testing.assert_close(torch.tensor(shown[name]), own, rtol=0, atol=1e-3)


def test_the_new_vector_is_drawn_as_the_sum_that_makes_it(clf):
    shown, flow = report(clf, head=1), read_flow(clf, TEXT)
    parts = {part["name"]: torch.tensor(part["values"]) for part in shown["update"]}
    before, mine, others, attended, neurons, fed, after = parts.values()
    columns = shown["columns"]
    torch.testing.assert_close(before, torch.tensor(shown["vectors"]))
    torch.testing.assert_close(mine, flow.added[0, 1][:, columns], rtol=0, atol=1e-3)
    torch.testing.assert_close(mine + others, flow.attention[0][:, columns], rtol=0, atol=2e-3)
    torch.testing.assert_close(
        attended + fed, (flow.attended + flow.fed)[0][:, columns], atol=2e-3, rtol=0
    )
    torch.testing.assert_close(after, flow.hidden[1][:, columns], rtol=0, atol=1e-3)
    assert "".join(part["sign"] for part in shown["update"]) == "++=→+="
    many = flow.neurons.shape[-1]  # as many of them, for their number, as of a vector
    step = -(-many // (SHOWN * many // flow.hidden.shape[-1]))
    inside = [flow.neurons[0][:, first::step] for first in range(step)]
    assert any(neurons.shape == one.shape and neurons.allclose(one, atol=1e-3) for one in inside)
    lengths = torch.tensor(shown["update"][1]["lengths"])
    torch.testing.assert_close(lengths, flow.added[0, 1].norm(dim=1), rtol=0, atol=1e-2)


def test_what_other_threads_ask_meanwhile_is_not_noted(clf):
    alone, stop = read_flow(clf, TEXT), threading.Event()

    def ask():
        while not stop.is_set():
            clf.predict(LITTLE)

    other = threading.Thread(target=ask)
    other.start()
    try:
        for _ in range(5):
            assert torch.equal(read_flow(clf, TEXT).query, alone.query)
    finally:
        stop.set()
        other.join()


def test_settings_around_the_call_do_not_hold_and_no_hook_stays(clf):
    hooks = [len(module._forward_hooks) for module in clf.model.modules()]
    before = read_flow(clf, TEXT)
    silent = clf.settings()
    silent.scale[:] = 0
    with heads.applied(clf, silent):
        inside = read_flow(clf, TEXT)
    assert torch.equal(inside.answers, before.answers)
    assert [len(module._forward_hooks) for module in clf.model.modules()] == hooks


def test_a_removed_head_is_zeros_cannot_be_chosen_and_another_is_shown_first():
    whole = tiny_classifier("bert")
    clf = heads.prune(whole, [(1, 0)])
    flow = read_flow(clf, TEXT)
    assert flow.removed == [[1, 0]]
    assert not flow.added[1, 0].any()
    torch.testing.assert_close(flow.added[0], read_flow(whole, TEXT).added[0])
    assert not flow.query[1, 0].any()
    assert flow.query[1, 1].any()
    desk = al.FlowDesk(clf, TEXT, layer=1)
    assert desk.settings["head"] == 1
    with pytest.raises(SettingsError, match="Head 0 of layer 1 was removed"):
        desk.set(head=0)


def test_the_token_that_looks_at_first_gives_most_to_another_word(clf):
    desk = al.FlowDesk(clf, TEXT, layer=1, head=1)
    weights = clf.attend(TEXT).weights[1, 1].clone()
    weights[[0, -1]] = weights[:, [0, -1]] = 0
    weights.fill_diagonal_(0)
    assert desk.settings["token"] == int(weights.amax(-1).argmax())


# ── what is drawn and said ─────────────────────────────────────────────────────────────────────


def test_a_token_that_looks_at_itself_does_not_look_first(clf):
    flow = read_flow(clf, TEXT)
    key = torch.eye(len(flow.tokens))  # scores are the queries
    query = 9 * torch.eye(len(flow.tokens))
    query[3, 2] = 5.0
    alone = dataclasses.replace(flow, query=query[None, None], key=key[None, None])
    assert telling_token(alone, 0, 0) == 3


def test_a_report_is_plain_and_holds_every_step_for_every_token(clf):
    shown = report(clf)
    json.dumps(shown, allow_nan=False)
    count = len(shown["tokens"])
    assert list(shown["words"]) == list(STEPS)
    assert {len(words) for words in shown["words"].values()} == {count}
    assert {len(row) for row in shown["weights"]} == {count}
    assert shown["notes"][0] == "marks the beginning"
    assert shown["names"][:2] == ["before layer 0", "after layer 0"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tokens_row_is_that_of_the_models_table_wherever_it_stands(family):
    clf = tiny_classifier(family)
    shown = report(clf, text=f"{TEXT} {TEXT}", layer=1)
    table = clf.model.get_input_embeddings().weight
    for number, row in zip(shown["ids"], shown["rows"], strict=True):
        assert row == pytest.approx(table[number, : len(row)].tolist(), abs=1e-3)


def test_parts_of_the_mixture_have_their_full_colour_within_what_is_drawn(clf):
    shown = report(clf)
    values = torch.tensor(shown["values"])
    for token, limit in enumerate(shown["limits"]["parts"]):
        parts = torch.tensor(shown["weights"][token])[:, None] * values
        largest = float(parts.abs().max())
        assert largest / 3 < limit <= largest + 1e-3
        times = shown["limits"]["values"] / limit
        assert f"in colours {times:.1f} times as strong" in shown["words"]["mixture"][token]


def test_words_name_the_tokens_that_are_looked_at_most(clf):
    shown = report(clf, layer=1, head=1)
    for token, words in enumerate(shown["words"]["weights"]):
        weights = shown["weights"][token]
        best = weights.index(max(weights))
        assert f"Most weight: “{shown['tokens'][best]}” {max(weights):.2f}" in words


@pytest.mark.parametrize("lines", ["weights", "carried"])
def test_each_step_asks_what_its_words_tell(clf, lines):
    made = report(clf, lines=lines)
    for step in STEPS:
        for said, (shown, question, found) in zip(
            made["words"][step], made["asked"][step], strict=True
        ):
            assert said.startswith(shown)
            assert question.endswith("?")
            told = shown if step in ("tokens", "mixture", "update") else f"{shown} {found}"
            assert said == told
            assert found not in shown


def test_what_is_found_is_the_longest_of_what_is_drawn(clf):
    made = report(clf, step="mixture")
    flow = read_flow(clf, TEXT)
    for token, name in enumerate(made["tokens"]):
        parts = np.array(made["weights"][token]) * flow.value[0, 0].norm(dim=-1).numpy()
        best = made["tokens"][int(parts.argmax())]
        assert f"Longest parts: “{best}” {parts.max():.1f}," in made["asked"]["mixture"][token][2]
        added = {
            part["name"]: part["lengths"][token] for part in made["update"] if part["sign"] == "+"
        }
        longest = max(added, key=added.get)
        assert f"Longest: {longest}, {added[longest]:.1f}." in made["asked"]["update"][token][2]
        assert f"“{name}”" in made["asked"]["update"][token][1]


def test_words_say_from_which_layer_on_the_answer_leads(clf):
    flow = read_flow(clf, TEXT)
    for answers, words in (
        ([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.1, 0.8, 0.1]], "the lead for good after layer 0"),
        ([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]], "the lead for good after layer 1"),
        ([[0.1, 0.8, 0.1]] * 3, "leads throughout"),
    ):
        object.__setattr__(flow, "answers", torch.tensor(answers))
        for part in ("query", "key", "offered"):
            object.__setattr__(flow, part, getattr(flow, part)[:2])
        settings = {
            "text": TEXT,
            "layer": 0,
            "head": 0,
            "token": 0,
            "step": "answer",
            "lines": "weights",
        }
        told = flow_report(flow, settings)["words"]["answer"][0]
        assert words in told
        assert "The answer, “fair” (80\u00a0%)" in told
        assert "trained for the last layer only" in told


def test_the_picture_has_the_flow_in_words(desk):
    picture = desk.picture()
    assert "Most weight:" in picture.alt
    assert "after layer 0" in picture.alt
    assert "layer 2, head 0" in picture.alt


def test_in_the_picture_the_query_goes_to_every_key_alike(desk):
    lines = [one for one in desk.picture().figure.artists if isinstance(one, PathPatch)]
    assert len(lines) == len(desk.report["tokens"])
    assert len({line.get_linewidth() for line in lines}) == 1
    assert {line.get_edgecolor()[:3] for line in lines} == {to_rgb(ROLES["query"])}


def test_in_the_picture_the_sum_has_the_colours_of_the_values(desk):
    shown, figure = desk.report, desk.picture().figure
    (mixed,) = [axes for axes in figure.axes if "weight × value" in axes.get_title(loc="left")]
    (image,) = mixed.images
    token, limit = shown["settings"]["token"], shown["limits"]["values"]
    shares = np.array(shown["mixtures"][token]) / limit
    np.testing.assert_allclose(image.get_array()[-1] / image.get_clim()[1], shares, rtol=1e-3)


def test_the_picture_has_the_whole_model_with_a_line_for_each_weight_of_the_token(desk):
    shown = desk.report
    token = shown["settings"]["token"]
    whole = desk.picture().figure.axes[0]
    lines = [one for one in whole.patches if isinstance(one, PathPatch) and one.get_alpha() == 0.8]
    weights = [
        layer[token][seen] for layer in shown["between"]["weights"] for seen in range(len(layer))
    ]
    wide = [(line.get_linewidth() - 0.2) / 6 for line in lines]
    assert wide == pytest.approx([weight for weight in weights if weight >= 0.005])
    told = [text.get_text() for text in whole.texts]
    assert all(answer["text"] in told for answer in shown["answers"])


def test_the_picture_writes_the_score_of_each_key(desk):
    scores = desk.report["scores"][desk.report["settings"]["token"]]
    axes = desk.picture().figure.axes
    (panel,) = (one for one in axes if "score" in one.get_title(loc="right"))
    told = [text.get_text().replace("−", "-") for text in panel.texts]
    assert [float(text) for text in told] == pytest.approx(scores, abs=0.051)


# ── the desk ───────────────────────────────────────────────────────────────────────────────────


def test_another_text_begins_with_its_first_token(desk):
    desk.set(token=4, step="weights")
    desk.set(text="dull")
    assert desk.settings["token"] == 0
    assert desk.settings["step"] == "weights"
    assert len(desk.report["tokens"]) == 3


def test_the_settings_as_code_bring_another_desk_to_the_same_place(clf, desk):
    desk.set(token=2, step="mixture", layer=0, head=1)
    other = al.FlowDesk(clf)
    exec(desk.code, {"desk": other})
    assert other.settings == desk.settings


def test_another_head_reads_nothing_anew(desk, monkeypatch):
    monkeypatch.setattr("attnlab.show.widgets.flow_desk.read_flow", lambda *_: 1 / 0)
    desk.set(layer=0, head=1)
    assert desk.report["settings"]["layer"] == 0


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"layer": 9}, "layer is 9; it is a whole number from 0 to"),
        ({"head": -1}, "head is -1"),
        ({"token": 99}, "token is 99"),
        ({"token": True}, "token is True"),
        ({"step": "weigths"}, "weights"),
        ({"text": "dull " * MOST_TOKENS}, f"the flow desk draws {MOST_TOKENS} at most"),
        ({"text": ""}, "empty"),
        ({"lines": "weight"}, "weights"),
    ],
)
def test_what_cannot_be_shown_is_refused_and_nothing_moves(desk, bad, words):
    before = desk.report
    with pytest.raises(AttnlabError, match=words):
        desk.set(**bad)
    assert desk.report == before
    desk.settings = desk.settings | bad  # as the view sends it
    assert words in desk.error
    assert desk.report == before


def test_other_models_are_refused_by_name():
    with pytest.raises(SettingsError, match="given a str"):
        al.FlowDesk("movie-sentiment")
    with pytest.raises(ModelError, match="Following a sentence"):
        al.FlowDesk(Classifier(tiny_decoding_classifier("gpt2"), words_to_ids(0), ["a", "b", "c"]))


def test_markup_in_a_token_stays_text():
    for markup in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert markup not in al.FlowDesk._esm.split("Flow desk")[1]


def test_zero_is_white_in_the_strips(desk):
    assert desk.palette[len(desk.palette) // 2] == "#ffffff"


@pytest.mark.parametrize("width", [1, SHOWN, SHOWN + 1, 312, 384, 768])
def test_numbers_are_drawn_in_equal_steps_the_largest_among_them(clf, width):
    flow = read_flow(clf, TEXT)
    torch.manual_seed(0)
    wide = torch.rand(*flow.hidden.shape[:2], width)
    wide[1, 0, -1] = -9.7
    columns = every_so_many(wide[1])
    assert columns[-1] == width - 1
    assert len(columns) <= SHOWN
    assert len(columns) > SHOWN / 2 or columns == list(range(width))
    assert len({second - first for first, second in itertools.pairwise(columns)}) <= 1
    assert columns[0] < (columns[-1] - columns[-2] if width > 1 else 1)
    every = [columns] * clf.layers
    of_this_width = dataclasses.replace(flow, hidden=wide, columns=every, **in_width(flow, width))
    settings = {"text": TEXT, "layer": 1, "head": 0, "token": 0, "step": "vectors"}
    settings["lines"] = "weights"
    words = flow_report(of_this_width, settings)["words"]["vectors"][0]
    assert "The largest number, −9.7, is in “[CLS]”" in words
    assert ("One number in" in words) == (width > SHOWN)


def in_width(flow, width):
    """Zeros for what each layer adds to vectors of another width."""
    layers, heads, count, _ = flow.added.shape
    zeros = torch.zeros(layers, heads, count, width)
    return {"added": zeros} | dict.fromkeys(("attention", "attended", "fed"), zeros[:, 0])
