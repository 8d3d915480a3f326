"""What a model costs, in all and by part; energy where a processor says it."""

import itertools
import math
import time
import warnings

import numpy as np
import pytest
import torch
from tiny_classifiers import LITTLE, tiny_classifier
from tiny_models import CONFIGS
from torch.nn.attention import SDPBackend, sdpa_kernel

import attnlab as al
from attnlab import compression, transformer
from attnlab.economics import costs as costs_module
from attnlab.economics import timing
from attnlab.economics.costs import activations, cost
from attnlab.economics.energy import energy
from attnlab.economics.flops import flops, flops_by_part
from attnlab.economics.passes import forward_pass
from attnlab.economics.shapes import PARTS, parameters, parameters_by_part, shape_of
from attnlab.economics.timing import interleaved, latency
from attnlab.errors import AttnlabError, AttnlabWarning, ModelError
from attnlab.transformer import Subwords
from attnlab.translation.translator import Translator

pytestmark = pytest.mark.filterwarnings("ignore:A forward pass took")  # machines may be busy


def translator():
    words = Subwords.train(LITTLE, 40)
    model = al.Seq2SeqTransformer(len(words), len(words), d_model=16, heads=2, feed_forward=20)
    return Translator(model, words, words)


@pytest.mark.parametrize("family", CONFIGS)
def test_what_is_counted_in_a_model_is_what_its_shape_says(family):
    clf = tiny_classifier(family)
    found, shape = cost(clf, 7, 2, measured=False), shape_of(clf)
    assert list(found.parts["part"]) == list(PARTS)
    assert dict(zip(PARTS, found.parts["parameters"], strict=True)) == parameters_by_part(shape)
    assert dict(zip(PARTS, found.parts["flops"], strict=True)) == flops_by_part(shape, 7, 2)
    assert found.parameters == clf.parameters() == parameters(shape)
    assert found.flops == flops(shape, 7, 2)
    assert found.megabytes == pytest.approx(4 * clf.parameters() / 1e6)
    flat = torch.cat([weight.detach().flatten().double() for weight in clf.model.parameters()])
    assert found.l2 == pytest.approx(float(flat.norm()))
    assert found.nonzero == int(flat.count_nonzero())
    assert math.isnan(found.peak_mb)
    assert math.isnan(found.latency_ms)


def test_a_cost_reads_in_one_line_and_leaves_out_what_was_not_measured():
    clf = tiny_classifier("bert")
    found = repr(cost(clf, 7, 2, measured=False))
    assert found.startswith(f"Cost({clf.parameters():,} parameters, ")
    assert found.endswith("MB, for 2 texts of 7 tokens)")
    assert "nan" not in found
    assert " ms, for 1 text of 7 tokens)" in repr(cost(clf, 7, rounds=1, seconds=1e-6))


def test_zeros_lower_the_count_of_nonzeros_and_nothing_else():
    clf = tiny_classifier("bert")
    sparse = cost(compression.prune_weights(clf, 0.5), measured=False)
    whole = cost(clf, measured=False)
    assert sparse.nonzero < whole.nonzero
    assert sparse.l2 < whole.l2
    same = ("parameters", "flops", "megabytes")
    assert [getattr(sparse, name) for name in same] == [getattr(whole, name) for name in same]


def test_a_short_number_format_takes_fewer_bytes():
    clf = tiny_classifier("bert")
    whole = cost(clf, measured=False).megabytes
    clf.model.bfloat16()
    assert cost(clf, measured=False).megabytes == pytest.approx(whole / 2)


@pytest.mark.parametrize(
    "removed", [[], [("cross", 0, 1), ("encoder", 1, 0), ("encoder", 1, 1), ("decoder", 0, 0)]]
)
def test_a_translator_is_counted_by_part(removed):
    made = translator()
    made = made.with_model(transformer.prune(made.model, removed))
    found = cost(made, 5, 2, target_tokens=4, measured=False)
    expected = parameters_by_part(made.model.size)
    assert dict(zip(PARTS, found.parts["parameters"], strict=True)) == expected
    assert found.flops == flops(made.model.size, 5, 2, target_tokens=4)
    assert found.parameters == sum(one.numel() for one in made.model.parameters())
    assert cost(made.model, 5, 2, measured=False).flops == flops(made.model.size, 5, 2)


@pytest.mark.parametrize("make", [lambda: tiny_classifier("bert"), translator])
def test_what_is_measured_is_there_and_says_how(make):
    found = cost(make(), 6, 2, rounds=3, seconds=0.01)
    assert found.peak_mb > found.megabytes
    assert found.latency_quiet_ms > 0
    assert 0 < found.latency_ms <= found.latency_p95_ms
    assert (found.tokens, found.batch, found.threads) == (6, 2, 1)


class TwoSteps(torch.nn.Module):
    """Holds 400 numbers, makes 1,000 more from them, and lets the first ones go."""

    def forward(self, x):
        y = x[:, :2] * 2  # 200 float32
        z = y.repeat(1, 5)  # 1,000 more
        del y
        return (z.view(-1) + 1).sum()  # z twice, for a moment


def test_activations_are_the_tensors_that_are_held_at_once(monkeypatch):
    module, x = TwoSteps(), torch.ones(100, 4)
    monkeypatch.setattr(costs_module, "forward_pass", lambda *_: lambda: module(x))
    assert activations(None) == 4 * (1000 + 1000 + 1)  # the sum is made while both are held


def test_scores_that_are_held_grow_with_the_square_and_fused_attention_holds_none():
    clf = tiny_classifier("bert", max_position_embeddings=600)

    def growth():
        short, double, fourfold = (activations(clf, tokens) for tokens in (128, 256, 512))
        return (fourfold - double) / (double - short)

    assert growth() == 2
    with sdpa_kernel(SDPBackend.MATH):
        assert 3.5 < growth() < 4


def test_activations_are_the_same_each_time_and_grow_with_the_batch():
    clf = tiny_classifier("electra")
    assert activations(clf, 9, 2) == activations(clf, 9, 2) < activations(clf, 9, 4)
    assert activations(translator(), 6, 2) > 0


def test_models_answer_in_turn_each_warm_and_on_the_threads_that_were_asked_for():
    seen, before = [], torch.get_num_threads()

    def call(name):
        return lambda: seen.append((name, torch.get_num_threads()))

    times = interleaved({name: call(name) for name in "abc"}, rounds=3, seconds=60, threads=2)
    names = "".join(name for name, _ in seen)
    assert names[:21] == "abc" + "aabbcc" + "bbccaa" + "ccaabb"
    assert {threads for _, threads in seen} == {2}
    assert torch.get_num_threads() == before
    assert list(times.wall.columns) == list("abc")
    assert len(times.wall) >= 3


class Clock:
    """A machine's clock, on which other work takes as long as is said, in turn."""

    def __init__(self, waits):
        self.wall, self.worked, self.waits = 0.0, 0.0, itertools.cycle(waits)

    def work(self):
        self.worked += 0.001
        self.wall += 0.001 + next(self.waits)

    def perf_counter(self):
        return self.wall

    def thread_time(self):
        return self.worked


@pytest.mark.parametrize(("waits", "rounds", "warned"), [([0], 8, False), ([0, 0.009], 24, True)])
def test_a_noisy_machine_is_asked_more_often_and_its_spread_is_said(
    monkeypatch, waits, rounds, warned
):
    clock = Clock([0, *waits])  # of two runs in a row the second counts
    monkeypatch.setattr(timing, "time", clock)
    times = interleaved({"one": clock.work}, rounds=8, seconds=60)
    assert len(times.wall) == rounds
    assert times.summary().loc["one", "ms_quiet"] == pytest.approx(1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        timing.warn_of_noise(times.spread)
    assert bool(seen) == warned and (times.spread > 1.5) == warned


def test_time_on_the_processor_leaves_out_waiting():
    times = interleaved({"sleeps": lambda: time.sleep(0.02)}, rounds=3, seconds=0.01)
    assert times.wall["sleeps"].min() >= 20
    assert times.quiet["sleeps"].max() < 10
    with pytest.warns(AttnlabWarning, match="doing something else"):
        costs_module.latency({"sleeps": Sleeps()}, rounds=3, seconds=0.01)


class Sleeps(al.Seq2SeqTransformer):
    """A model that waits more than it works."""

    def __init__(self):
        super().__init__(9, 9, d_model=8, heads=2, encoder_layers=1, decoder_layers=1)

    def forward(self, *args):
        time.sleep(0.05)
        return super().forward(*args)


def test_latency_is_a_row_for_each_model():
    models = {"whole": tiny_classifier("bert"), "other": tiny_classifier("distilbert")}
    table = latency(models, 6, 2, rounds=3, seconds=0.01)
    assert list(table["name"]) == ["whole", "other"]
    assert (table["ms"] <= table["ms_p95"]).all()
    assert table.attrs["threads"] == 1
    assert {"cpu", "torch", "tokens", "batch"} <= table.attrs.keys()


def test_a_forward_pass_is_what_predict_computes():
    clf = tiny_classifier("roberta")
    ids = {}
    hook = clf.model.register_forward_pre_hook(
        lambda module, args, kwargs: ids.update(kwargs), with_kwargs=True
    )
    logits = forward_pass(clf, 9, 3)()
    hook.remove()
    assert ids["input_ids"].shape == (3, 9)
    assert not (ids["input_ids"] == clf.config.pad_token_id).any()
    with torch.no_grad():
        expected = clf.model(input_ids=ids["input_ids"]).logits
    assert torch.allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"tokens": 0}, "tokens is 0"),
        ({"tokens": 41}, "41 tokens does not fit.*40"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"target_tokens": 3}, "encoder-decoder"),
        ({"rounds": 0}, "rounds is 0"),
        ({"seconds": math.nan}, "seconds is nan"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(ask, message):
    with pytest.raises(AttnlabError, match=message):
        cost(tiny_classifier("bert"), **ask)


def test_models_that_cannot_be_asked_are_refused():
    with pytest.raises(AttnlabError, match="no models"):
        latency({})
    with pytest.raises(ModelError, match="got int"):
        cost(3)
    with pytest.raises(AttnlabError, match=r"600 tokens does not fit.*512"):
        cost(translator(), 600)
    with pytest.raises(
        AttnlabError, match=r"39 tokens does not fit.*38"
    ):  # positions behind padding
        cost(tiny_classifier("roberta"), 39)


# --- energy ---------------------------------------------------------------------------------------


def counters(folder, *numbers, most=10**9):
    for which, number in enumerate(numbers):
        place = folder / f"intel-rapl:{which}"
        (folder / f"intel-rapl:{which}:0").mkdir(parents=True)  # a part of it: counted already
        place.mkdir(exist_ok=True)
        (place / "energy_uj").write_text(f"{number}\n")
        (place / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_energy_is_what_the_counters_say_also_where_they_begin_anew(tmp_path, monkeypatch):
    root = counters(tmp_path, 5_000_000, 999_999_000)
    passes = []

    def draw():
        """One pass draws 3 joules of each of two processors; the second counter runs over."""
        passes.append(1)
        for place in root.glob("intel-rapl:?"):
            file = place / "energy_uj"
            file.write_text(str((int(file.read_text()) + 3_000_000) % 10**9))

    monkeypatch.setattr("attnlab.economics.energy.forward_pass", lambda *_: draw)
    found = energy(None, seconds=0.05, root=root)
    assert found.joules == pytest.approx(6)
    assert found.passes == len(passes) - 1 > 0  # the first one is to warm up
    assert found.watts > 0
    assert found.idle_watts == 0
    assert "estimate" in found.about


def test_without_readable_counters_there_is_no_energy(tmp_path):
    clf = tiny_classifier("bert")
    assert energy(clf, root=tmp_path / "missing") is None
    assert energy(clf, root=tmp_path) is None
    (counters(tmp_path, 5) / "intel-rapl:0" / "energy_uj").unlink()  # as where it may not be read
    assert energy(clf, root=tmp_path) is None
    with pytest.raises(AttnlabError, match="seconds is -1"):
        energy(clf, seconds=-1)


def test_costs_of_an_exported_model_are_refused_in_its_own_words():
    class Exported:
        @property
        def model(self):
            raise ModelError("It has no weights here.")

    with pytest.raises(ModelError, match="no weights here"):
        cost(Exported())


def test_numbers_are_plain():
    found = cost(tiny_classifier("bert"), measured=False)
    assert type(found.parameters) is type(found.nonzero) is type(found.flops) is int
    assert type(found.l2) is type(found.megabytes) is float
    assert np.isfinite(found.parts.drop(columns="part").to_numpy(dtype=float)).all()
