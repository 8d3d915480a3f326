"""What lesson 00 says of predictions: beside the measured numbers, and never a stopped notebook."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import attnlab as al
from attnlab.course import feedback
from attnlab.course.feedback.own_numbers import own_numbers
from attnlab.datasets import TextDataset
from attnlab.languages import speaking
from attnlab.show.widgets import first_order
from attnlab.statistics import paired_interval

WORDS = ["Two", "of", "life", "two"]
CHANGES = [14.0, -10.0, -46.2, 3.0]


def told(capsys, function, *given):
    """What is printed; a result would be shown below it."""
    assert function(*given) is None
    return capsys.readouterr().out


OURS = "Two hours of my life that I would like to have back."


@pytest.fixture(scope="module")
def effects(clf):
    """Change of “positive” without each head, in points."""
    before = clf.predict([OURS]).probabilities[0, 1]
    found = {}
    for place in np.ndindex(6, 12):
        settings = clf.settings()
        settings.scale[place] = 0
        without = clf.predict([OURS], settings).probabilities[0, 1]
        found[f"L{place[0]}H{place[1]}"] = 100 * (without - before)
    return found


@pytest.fixture(scope="module")
def desk(clf, movies):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_order, "_ESTIMATED_ON", 8)
        desk = al.HeadMixer(clf, movies.dev.sample(40), "A warm, funny film.").wait()
        yield desk
    desk.close()


def test_a_word_is_ranked_by_the_size_of_its_change(capsys):
    said = told(capsys, feedback.word, "two", WORDS, CHANGES)  # the larger of two that are alike
    assert "“Two”: +14 points, number 2 of 4" in said
    assert "“life”: −46 points" in said
    assert "number 1 of 4" in told(capsys, feedback.word, " LIFE ", WORDS, CHANGES)


@pytest.mark.parametrize(
    ("said", "cure"),
    [("", "have not said"), ("live", "Did you mean 'life'"), (7, "in quotation marks")],
)
def test_what_is_no_word_is_told_with_its_cure(capsys, said, cure):
    assert cure in told(capsys, feedback.word, said, WORDS, CHANGES)


def test_the_diagonal_of_a_head_is_named_by_where_its_weights_lie(clf, capsys):
    maps = clf.attend("Two hours of my life that I would like to have back.")
    before = maps.weights[0, 2].diagonal(-1).mean()
    said = told(capsys, feedback.diagonal, maps, "L0H2")
    assert f"the token before {before:.2f}" in said
    assert "goes to the token before" in said
    assert "goes to the next token" in told(capsys, feedback.diagonal, maps, "L1H8")
    assert "no clear diagonal" in told(capsys, feedback.diagonal, maps, "L5H9")
    assert "Name a head above" in told(capsys, feedback.diagonal, maps, "")
    assert "whole layer" in told(capsys, feedback.diagonal, maps, "3")


def test_a_silent_head_and_a_silent_layer_cost_what_the_evaluator_measures(
    desk, clf, movies, capsys
):
    lines = told(capsys, feedback.silenced, desk, {"5": -50, "L5H9": 0, "0": None}).splitlines()
    evaluator = al.Evaluator(clf, movies.dev.sample(40))
    for line, places in zip(lines, (5, (5, 9)), strict=False):
        settings = clf.settings()
        settings.scale[places] = 0
        delta = 100 * evaluator.compare(clf.settings(), settings).delta
        assert f": {delta:+.1f} points".replace("-", "−").replace("+0.0", "0.0") in line
    assert "You said −50.0: outside" in lines[0]
    assert "You said 0.0: inside" in lines[1]
    assert "place of None" in lines[2]


def test_a_repair_is_told_with_the_sum_of_the_map_and_what_it_costs(desk, clf, capsys):
    desk.reset()
    alone = np.zeros((6, 12))
    alone[5, 0], alone[1, 11] = -4.0, 3.0
    said = told(capsys, feedback.repair, desk, {"L5H0": 0, "L1H11": 2}, -1, alone)
    settings = clf.settings()
    settings.scale[5, 0], settings.scale[1, 11] = 0, 2
    assert desk.settings == settings
    after = clf.predict([desk.text], settings).probabilities[0].max()
    before = clf.predict([desk.text]).probabilities[0].max()
    share, sum_of_map, measured = (f"{value:.0%}"[:-1] for value in (before, before - 0.07, after))
    assert f"from {share}\u00a0% to {sum_of_map}\u00a0%; measured: {measured}\u00a0%" in said
    assert "still “positive”" in said
    assert "Held-out reviews: " in said
    assert "You said −1.0" in said


def test_an_answer_that_turns_is_said_to_turn(desk, clf, capsys):
    desk.text = "Two hours of my life that I would like to have back."
    said = told(
        capsys,
        feedback.repair,
        desk,
        {"L3H2": 0, "L4H3": 0, "L1H11": 2},
        None,
        np.zeros((6, 12)),
    )
    assert clf.predict([desk.text]).labels == ["positive"]
    assert clf.predict([desk.text], desk.settings).labels == ["negative"]
    assert "turns to “negative”, with head L3H9 as it was" in said
    assert "You said" not in said


def test_heads_ranked_by_the_size_of_their_effect_are_right(clf, effects, capsys):
    ranked = sorted(effects, key=lambda name: -abs(effects[name]))
    said = told(capsys, feedback.ranking, clf, OURS, ranked)
    assert "All 72 heads are there" in said
    assert f"in points: L3H9 ({effects['L3H9']:+.1f}), ".replace("-", "−") in said
    assert "turn the answer alone: 1." in said


@pytest.mark.parametrize(
    ("key", "reverse", "diagnosis"),
    [
        (lambda effect: abs(effect), False, "smallest effect is first"),
        (lambda effect: effect, False, "order of their signs"),
        (lambda effect: 0, False, "order of layers and heads"),
        (lambda effect: abs(effect) > 9, True, "Number 1 is L3H2 (−10.3 points), but L3H9 moves"),
    ],
)
def test_heads_in_a_wrong_order_are_told_what_is_wrong(
    clf, effects, capsys, key, reverse, diagnosis
):
    ranked = sorted(effects, key=lambda name: key(effects[name]), reverse=reverse)
    said = told(capsys, feedback.ranking, clf, OURS, ranked)
    assert diagnosis in said
    assert "All 72" not in said


@pytest.mark.parametrize(
    ("ranked", "cure"),
    [
        ([], "list is empty"),
        ("L3H9", "list of names"),
        ([(3, 9)], "in quotation marks"),
        (["L3H9", "L0H2"], "2 of 72 heads are in the list; head L0H0 is missing"),
        (["L3H9", "L3H9"], "more than once"),
        (["3"], "whole layer"),
    ],
)
def test_a_list_that_is_no_ranking_is_told_with_its_cure(clf, capsys, ranked, cure):
    assert cure in told(capsys, feedback.ranking, clf, OURS, ranked)
    assert "quotation marks" in told(capsys, feedback.ranking, clf, " ", ["L3H9"])


def test_a_sentence_that_fools_the_model_is_told_with_its_words(clf, capsys):
    said = told(capsys, feedback.designed, clf, OURS, "negative", "positive")
    assert "answers “positive” (75\u00a0%). As you said." in said
    assert "it is fooled" in said
    assert "turns: “life”, “I”." in said
    praise = "The best part of the evening was the walk home."
    said = told(capsys, feedback.designed, clf, praise, "negative", "negative")
    assert "You said “negative”." in said
    assert "No single word turns its answer. Without “best”" in said


@pytest.mark.parametrize(
    ("text", "meant", "said", "cure"),
    [
        ("", "negative", "positive", "Write a sentence"),
        (None, "negative", "positive", "Write a sentence"),
        ("A bad film.", "negative", "", "Say first what the model will answer: 'negative'"),
        ("A bad film.", "negativ", "negative", "Did you mean 'negative'"),
        ("A bad film.", "negative", "positive", "it is not fooled"),
    ],
)
def test_a_sentence_that_does_not_fool_or_is_none_is_told(clf, capsys, text, meant, said, cure):
    out = told(capsys, feedback.designed, clf, text, meant, said)
    assert cure in out
    assert "it is fooled" not in out


@pytest.mark.parametrize(
    ("faders", "expected", "cure"),
    [
        ({}, None, "Fill in at least one fader"),
        ("L1H11", None, "between braces"),
        ({"L3H9": 0}, None, "do without it"),
        ({"L9H1": 0}, None, "from 'L0H0' to 'L5H11'"),
        ({"L1H12": 0}, None, "from 'L0H0' to 'L5H11'"),
        ({1.11: 0}, None, "in quotation marks"),
        ({"1": 0}, None, "whole layer"),
        ({"L1H11": "2"}, None, "number from 0 to 2"),
        ({"L1H11": 3}, None, "number from 0 to 2"),
        ({"L1H11": 2}, "-2", "without quotation marks"),
        ({"L1H11": 2}, float("nan"), "no change in points"),
    ],
)
def test_faders_that_make_no_sense_move_nothing_and_are_told(desk, capsys, faders, expected, cure):
    desk.reset()
    assert cure in told(capsys, feedback.repair, desk, faders, expected, np.zeros((6, 12)))
    assert desk.settings.is_neutral()


def test_names_and_points_that_make_no_sense_are_told(desk, capsys):
    for expected, cure in (
        ({"6": -1}, "There is no head '6'"),
        ({"-1": -1}, "There is no head '-1'"),
        ({5: -1}, "in quotation marks"),
        ({"5": "much"}, "without quotation marks"),
        ("L5H9", "between braces"),
    ):
        assert cure in told(capsys, feedback.silenced, desk, expected)


def test_feedback_speaks_chinese(capsys):
    with speaking("zh_CN"):
        assert "你选的是“life”" in told(capsys, feedback.word, "life", WORDS, CHANGES)


def by_formula(queries, keys, values):
    return torch.softmax(queries @ keys.T / 32**0.5, dim=1) @ values


def by_loops(queries, keys, values):
    mixtures = []
    for query in queries:
        powers = [math.exp(sum(query * key) / 32**0.5) for key in keys]
        mixtures.append(sum(p / sum(powers) * v for p, v in zip(powers, values, strict=True)))
    return torch.stack(mixtures)


@pytest.mark.parametrize("function", [by_formula, by_loops])
@pytest.mark.parametrize("head", ["L3H9", "L0H2"])
def test_a_right_mixture_is_that_of_the_head_for_every_token(clf, capsys, function, head):
    said = told(capsys, feedback.mixture, clf, OURS, function, head)
    assert f"Right: head {head} makes the same 32 numbers for each of the 15 tokens" in said


@pytest.mark.parametrize("place", [(3, 9), (0, 0), (5, 11)])
def test_what_a_mixture_is_compared_with_is_that_heads_own(clf, place):
    layer, head = place
    queries, keys, values, mixtures = own_numbers(clf, OURS, layer, head)
    noted = al.heads.record(clf, clf.encode([OURS]).batch([0]), clf.settings())[layer]
    weights, offered = noted.weights[0, head], noted.values[0, head]
    assert torch.allclose(values, offered, atol=1e-5)
    assert torch.allclose(mixtures, weights @ offered, atol=1e-5)
    assert torch.allclose((queries @ keys.T / 32**0.5).softmax(1), weights, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda q, k, v: torch.softmax(q @ k.T / 32**0.5, 1), "These are the weights"),
        (lambda q, k, v: torch.softmax(q @ k.T, 1) @ v, "Divide the scores by √32"),
        (lambda q, k, v: torch.softmax(q @ k.T / 32, 1) @ v, "the root of 32"),
        (lambda q, k, v: q @ k.T / 32**0.5 @ v, "take their softmax"),
        (lambda q, k, v: torch.softmax(q @ k.T / 32**0.5, 0) @ v, "softmax with dim=1"),
        (lambda q, k, v: torch.softmax(k @ q.T / 32**0.5, 1) @ v, "belongs to query i"),
        (lambda q, k, v: torch.softmax(q @ k.T / 32**0.5, 1) @ k, "Mix the values"),
        (lambda q, k, v: v.mean(0), "the shape (32,); mixtures have that of the values, (15, 32)"),
        (lambda q, k, v: v, "These are not the head's numbers"),
        (lambda q, k, v: None, "Fill in what it returns"),
        (lambda q, k, v: "0.32", "mixture(...) fails: TypeError"),
        (lambda q, k, v: q @ v, "mixture(...) fails: RuntimeError"),
        (None, "mixture(...) fails: TypeError"),
    ],
)
def test_a_wrong_mixture_is_told_what_it_is(clf, capsys, function, said):
    out = told(capsys, feedback.mixture, clf, OURS, function)
    assert said in out
    assert "Right" not in out


def test_a_loss_that_is_written_without_its_minus_is_told_to_be_a_gain(desk, capsys):
    gain = "That is a gain. A loss has a minus"
    assert gain in told(capsys, feedback.silenced, desk, {"5": 10})
    assert gain not in told(capsys, feedback.silenced, desk, {"5": -10})


def test_a_repair_says_what_each_fader_does_alone(desk, clf, capsys):
    desk.text = OURS
    faders = {"L3H2": 0, "L1H11": 2}
    said = told(capsys, feedback.repair, desk, faders, None, np.zeros((6, 12)))
    before = clf.predict([OURS]).probabilities[0, 1]
    for name, scale in faders.items():
        settings = clf.settings()
        settings.scale[tuple(map(int, name[1:].split("H")))] = scale
        alone = 100 * (clf.predict([OURS], settings).probabilities[0, 1] - before)
        assert f"{name} −{abs(alone):.1f}" in said
    assert "By their sum: " in said


TWIN = OURS.replace("life", "salary")


def patch_by_hooks(clf, *, source=None, target=None, what="change", heads=None, leave=False):
    """A learner's function, right unless something else is asked for."""

    def patched(text, twin, layer, head):
        attention = clf.model.bert.encoder.layer[layer].attention.self
        columns = heads or slice(32 * head, 32 * (head + 1))
        kept, before = [], clf.predict([text]).probabilities[0, 1]
        one, other = (twin, text) if source is None else (text, twin)
        handle = attention.register_forward_hook(lambda *told: kept.append(told[2][0].clone()))
        clf.predict([one])
        handle.remove()

        def put(module, inputs, output):
            rows = slice(None) if target is None else target
            output[0][:, rows, columns] = kept[0][:, rows, columns]

        handle = attention.register_forward_hook(put)
        after = clf.predict([other]).probabilities[0, 1]
        if not leave:
            handle.remove()
        if source is not None:
            before = clf.predict([other]).probabilities[0, 1]
        told = {"change": 100 * (after - before), "share": after - before, "new": after}
        return told.get(what, 100 * (before - after))

    return patched


def patch_by_columns(clf):
    """The same written otherwise: on the input of the matrix that mixes the heads."""

    def patched(text, twin, layer, head):
        dense, kept = clf.model.bert.encoder.layer[layer].attention.output.dense, {}

        def hook(module, inputs):
            if "twin" not in kept:
                kept["twin"] = inputs[0][0, :, 32 * head : 32 * head + 32].clone()
                return None
            changed = inputs[0].clone()
            changed[0, :, 32 * head : 32 * head + 32] = kept["twin"]
            return (changed,)

        before = clf.predict([text]).probabilities
        handle = dense.register_forward_pre_hook(hook)
        clf.predict([twin])
        after = clf.predict([text]).probabilities
        handle.remove()
        return torch.tensor(100 * (after - before)[0, 1])

    return patched


@pytest.mark.parametrize("write", [patch_by_hooks, patch_by_columns])
def test_a_right_patch_is_right_and_its_map_is_drawn_with_it(clf, capsys, write):
    said = told(capsys, feedback.patched, clf, OURS, TWIN, write(clf))
    assert said.startswith("Right for 3 heads (points): L3H9 −")
    calls = []

    def counted(*given):
        calls.append(given[2:])
        return write(clf)(*given)

    grid = feedback.patches(clf, OURS, TWIN, counted)
    assert len(calls) == 74  # two to try it, one for each head
    assert "ours" not in capsys.readouterr().out
    assert grid.shape == (6, 12)
    assert f"{grid[3, 9]:.1f}".replace("-", "−") in said
    ours = feedback.patches(clf, OURS, TWIN, lambda *given: None, told=False)
    assert capsys.readouterr().out == ""
    assert np.abs(ours - grid).max() < 1e-3


def test_a_sentence_patched_with_itself_does_not_change(clf, capsys):
    hooked = patch_by_hooks(clf, leave=True)  # whose hooks are taken out of the model again
    assert np.abs(feedback.patches(clf, OURS, OURS, hooked)).max() < 1e-3
    assert "Drawn with our function" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda clf: lambda *given: None, "Fill in what it returns"),
        (lambda clf: lambda *given: 0.0, "Nothing changes"),
        (lambda clf: patch_by_hooks(clf, what="share"), "multiply by 100"),
        (lambda clf: patch_by_hooks(clf, what="new"), "Subtract the one before"),
        (lambda clf: patch_by_hooks(clf, what="before"), "after minus before"),
        (lambda clf: patch_by_hooks(clf, source="text"), "changed places"),
        (lambda clf: patch_by_hooks(clf, heads=slice(None)), "Replace only the columns"),
        (lambda clf: patch_by_hooks(clf, heads=slice(288, 320)), "That is head L0H9. Do layer"),
        (lambda clf: lambda a, b, c, d: patch_by_hooks(clf)(a, b, 3, d), "That is head L3H2."),
        (lambda clf: lambda a, b, c, d: patch_by_hooks(clf)(a, b, 3, 9), "That is head L3H9."),
        (lambda clf: patch_by_hooks(clf, target=slice(1)), "Replace them for all tokens"),
        (lambda clf: patch_by_hooks(clf, leave=True), "A hook is still in the model"),
        (lambda clf: lambda *given: "0.3 points", "has to return one number"),
        (lambda clf: lambda *given: torch.ones(3), "has to return one number"),
        (lambda clf: lambda *given: float("nan"), "has to return one number"),
        (lambda clf: lambda text: 3.0, "patched(...) fails: TypeError"),
        (lambda clf: lambda *given: 123.4, "Does the hook sit on"),
        (lambda clf: None, "patched(...) fails: TypeError"),
    ],
)
def test_a_wrong_patch_is_told_what_it_is(clf, capsys, function, said):
    before = clf.predict([OURS]).probabilities
    wrong = function(clf)
    out = told(capsys, feedback.patched, clf, OURS, TWIN, wrong)
    assert said in out
    assert "Right" not in out
    assert np.array_equal(clf.predict([OURS]).probabilities, before)  # no hook stays behind


def test_sentences_of_unequal_length_are_refused(clf, capsys):
    said = told(capsys, feedback.patched, clf, OURS, "Too long.", patch_by_hooks(clf))
    assert "15 and 5 tokens" in said
    with pytest.raises(al.AttnlabError, match="15 and 5 tokens"):
        feedback.patches(clf, OURS, "Too long.", patch_by_hooks(clf))


def test_a_map_is_not_drawn_with_a_patch_that_is_right_for_one_layer_only(clf, capsys):
    right = patch_by_hooks(clf)
    grid = feedback.patches(clf, OURS, TWIN, lambda text, twin, _, head: right(text, twin, 3, head))
    assert "Drawn with our function" in capsys.readouterr().out
    assert abs(grid[0, 9] - right(OURS, TWIN, 0, 9)) < 1e-3


# ── folded results ─────────────────────────────────────────────────────────────────────────────


def test_a_folded_result_is_closed_and_whole_for_screens_and_for_readers(clf):
    picture = al.plots.show(plt.figure(), "A figure with <nothing> in it.")
    page = feedback.folded(picture)._repr_html_()
    assert page.startswith("<details><summary>Your guess first. Then click here")
    assert picture._repr_html_() in page
    assert repr(feedback.folded(picture)) == "Picture(A figure with <nothing> in it.)"
    lines = feedback.folded("A: <1\nB: 2")
    assert "<pre>A: &lt;1\nB: 2</pre></details>" in lines._repr_html_()
    assert repr(lines) == "A: <1\nB: 2"


@pytest.mark.parametrize(("guess", "told"), [("L3 & L5", "L3 &amp; L5"), (3, "3"), (0, "0")])
def test_a_folded_result_repeats_the_guess(guess, told):
    page = feedback.folded("A", guess=guess)._repr_html_()
    assert f"<summary>Your guess: “{told}”. Click here for the result.</summary>" in page
    assert "Your guess first" in feedback.folded("A", guess="  ")._repr_html_()


def test_a_folded_result_says_what_was_measured_beside_the_guess():
    known = feedback.folded("A", "3 < 4", measured="0 & none")
    assert "<p>You guessed “3 &lt; 4”. Measured: 0 &amp; none.</p><pre>A</pre>" in (
        known._repr_html_()
    )
    assert repr(known) == "You guessed “3 < 4”. Measured: 0 & none.\nA"
    assert "<p>Measured: 0.</p>" in feedback.folded("A", measured="0")._repr_html_()


# ── what is left after cuts ────────────────────────────────────────────────────────────────────


def test_what_is_left_after_a_cut_is_counted_on_the_same_reviews():
    reviews = TextDataset(list("abcde"), [1, 1, 0, 0, 0], ["negative", "positive"], "toy")
    answers = {  # of “positive”: two lost and one gained, where the last cut is made
        (): {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.1, "e": 0.2},
        (5,): {"a": 0.3, "b": 0.4, "c": 0.2, "d": 0.1, "e": 0.2},
    }
    left = feedback.left_over(
        lambda texts, layers: np.array([answers[tuple(layers)][text] for text in texts]),
        {"ours": "c"},
        reviews,
        {"no layer": (), "layer 5": [5]},
    )
    assert left.index.tolist() == ["no layer", "layer 5"]
    assert left["ours, %"].tolist() == pytest.approx([70, 20])
    assert left["right of 5"].tolist() == [4, 3]
    low, high = (100 * end for end in paired_interval(1, 2, 5))
    told = f"-20.0 ({low:+.1f} to {high:+.1f})".replace("-", "−")
    assert left["change, points (95 %)"].tolist() == ["–", told]
    assert left["how sure, %"].tolist() == pytest.approx([82, 76])  # of what is answered


@pytest.mark.parametrize("name", ["L1H8", "l1h8", " L1H8 ", "1.8"])
def test_a_head_is_named_as_in_the_lessons_or_by_two_numbers(capsys, clf, name):
    maps = clf.attend(OURS)
    assert told(capsys, feedback.diagonal, maps, name).startswith("Head L1H8, mean weight")


@pytest.mark.parametrize("name", ["L1", "1", "L1H", "L1H12", "L6H0", "1,8", "LH", "L1H8 x", "½.1"])
def test_what_names_no_head_is_told_how_to_write_one(capsys, clf, name):
    maps = clf.attend(OURS)
    said = told(capsys, feedback.diagonal, maps, name)
    assert "L1H0" in said if name in ("L1", "1") else "from 'L0H0' to 'L5H11'" in said


# ── weights by hand ────────────────────────────────────────────────────────────────────────────

BY_HAND = {"query": [1, 2], "keys": [[1, 1], [0, 1], [1, 0]]}


@pytest.mark.parametrize("said", [[0.58, 0.28, 0.14], (0.576, 0.284, 0.14), [0.575, 0.284, 0.141]])
def test_weights_that_were_worked_out_by_hand_are_right(capsys, said):
    powers = [math.exp(dot / math.sqrt(2)) for dot in (3, 2, 1)]
    right = ", ".join(f"{power / sum(powers):.2f}" for power in powers)
    assert f"Right: {right}." in told(capsys, feedback.weights, said, *BY_HAND.values())


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([], "Write your 3 weights"),
        ([3, 2, 1], "dot products: divide them by √2"),
        ([2.12, 1.41, 0.71], "now the softmax"),
        ([0.67, 0.24, 0.09], "by √2 first"),
        ([8.34, 4.11, 2.03], "divide each by their sum"),
        ([0.5, 0.33, 0.17], "Raise e to the power"),
        ([0.58, 0.28, 0.28], "yours sum to 1.14"),
        ([0.58, 0.14, 0.28], "dot products again"),
        ([0.58, 0.28], "Write 3 numbers between brackets"),
        ("0.58", "Write 3 numbers between brackets"),
        (None, "Write 3 numbers between brackets"),
    ],
)
def test_weights_by_hand_that_are_others_are_told_why(capsys, said, why):
    assert why in told(capsys, feedback.weights, said, *BY_HAND.values())
