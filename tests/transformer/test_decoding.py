import itertools

import pytest
import torch

import attnlab as al
from attnlab.errors import AttnlabError
from attnlab.transformer import decoding

START, END = 2, 3


def small(words=9, seed=1, strength=4.0, **changes):
    """A model that ends its sentences at different lengths, none of them certain."""
    torch.manual_seed(seed)
    size = {"d_model": 16, "heads": 2, "feed_forward": 32, "dropout": 0.2, "max_length": 30}
    model = al.Seq2SeqTransformer(words, words, tie="none", **size | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(strength / 2)
        rare = model.output.weight[END]
        last = [one for one in model.decoder.modules() if isinstance(one, torch.nn.LayerNorm)][-1]
        last = model.decoder_norm if model.size["norm"] == "pre" else last
        last.bias.sub_(2 * rare / (rare @ rare))  # or most would end at once
    return model


def sources(rows=12, longest=8, words=9, seed=1):
    """Sources of different length, padded."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(4, words, (rows, longest), generator=generator)
    for row in range(rows):
        source[row, longest - row % 5 :] = 0 if row % 5 else source[row, longest:]
    return source


def log_probability(model, source, ids, finished=True):
    """Of a whole target, fed at once and without any cache."""
    model.eval()
    with torch.no_grad():
        logs = model(source[None], torch.tensor([[START, *ids]])).logits[0].log_softmax(-1)
    model.train()
    asked = [*ids, END] if finished else ids
    return sum(float(logs[place, token]) for place, token in enumerate(asked))


@pytest.fixture(params=[False, True], ids=["written", "fused"])
def model(request):
    return small(fused=request.param)


# --- Greedy and the cache ------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
@pytest.mark.parametrize("seed", range(1, 4))
def test_with_cache_and_without_the_same_tokens_are_written(norm, positions, seed):
    model = small(seed=seed, norm=norm, positions=positions)
    source = sources(rows=20)
    cached = decoding.greedy(model, source, START, END, max_length=25)
    assert cached == decoding.greedy(model, source, START, END, max_length=25, cache=False)


def test_the_sentences_of_these_tests_end_at_different_lengths(model):
    written = decoding.greedy(model, sources(30), START, END, max_length=25)
    assert len({len(ids) for ids in written}) > 3
    assert len({tuple(ids) for ids in written}) > 10


def test_cached_logits_are_those_of_the_whole_sentence_step_by_step_or_some_at_once(model):
    model.eval()
    source, target = sources(4), torch.randint(4, 9, (4, 20))
    with torch.no_grad():
        whole = model(source, target).logits
        for steps in ([1] * 20, [3, 1, 7, 9], [20]):
            memory, parts = model.encode(source).with_cache(), []
            for part in target.split(steps, dim=1):
                parts.append(model.decode(part, memory))
            assert (torch.cat(parts, 1) - whole).abs().max() < 1e-4
            assert memory.length == 20


def test_greedy_takes_the_likeliest_token_at_every_step(model):
    source = sources(6)
    model.eval()
    for row, ids in enumerate(decoding.greedy(model, source, START, END, max_length=12)):
        with torch.no_grad():
            logits = model(source[row : row + 1], torch.tensor([[START, *ids]])).logits[0]
        logits[:, [0, START]] = -torch.inf
        best = logits.argmax(-1).tolist()
        assert best[: len(ids)] == ids
        assert best[len(ids)] == END or len(ids) == 12


def test_a_batch_is_written_as_each_sentence_by_itself(model):
    source = sources(12)
    together = decoding.greedy(model, source, START, END, max_length=20)
    beams = decoding.beam(model, source, START, END, num_beams=3, max_length=20)
    for row in range(12):
        alone = source[row : row + 1]
        alone = alone[:, : int((alone != 0).sum())]  # without its padding
        assert decoding.greedy(model, alone, START, END, max_length=20) == [together[row]]
        hypotheses = decoding.beam(model, alone, START, END, num_beams=3, max_length=20)[0]
        assert [one.ids for one in hypotheses] == [one.ids for one in beams[row]]


def test_settings_apply_to_writing_and_may_differ_by_row(model):
    source = sources(12)
    neutral, deaf = model.neutral_settings(), model.neutral_settings()
    deaf.cross.scale[:] = 0
    heard = decoding.greedy(model, source, START, END)
    unheard = decoding.greedy(model, source, START, END, settings=deaf)
    assert len({tuple(ids) for ids in unheard}) == 1  # no source reaches them
    stack = al.Seq2SeqSettings.stack([neutral, deaf] * 6)
    mixed = [heard[row] if row % 2 == 0 else unheard[row] for row in range(12)]
    assert decoding.greedy(model, source, START, END, settings=stack) == mixed
    assert decoding.greedy(model, source, START, END, settings=stack, cache=False) == mixed
    beams = decoding.beam(model, source, START, END, num_beams=1, settings=stack)
    assert [one[0].ids for one in beams] == mixed
    stack.encoder = neutral.encoder  # one kind may be the same for all rows
    assert decoding.greedy(model, source, START, END, settings=stack) == mixed


def test_finished_rows_cost_nothing_and_the_source_is_read_once(model, monkeypatch):
    rows, reads = [], []
    decode, encode = model.decode, model.encode
    monkeypatch.setattr(
        model, "decode", lambda ids, *rest: rows.append(len(ids)) or decode(ids, *rest)
    )
    monkeypatch.setattr(model, "encode", lambda *given: reads.append(1) or encode(*given))
    written = decoding.greedy(model, sources(20), START, END, max_length=25)
    assert rows == [sum(len(ids) >= step for ids in written) for step in range(len(rows))]
    assert len(rows) == min(25, max(map(len, written)) + 1)
    rows.clear()
    decoding.beam(model, sources(20), START, END, num_beams=4, max_length=25)
    assert rows == sorted(rows, reverse=True)
    assert rows[0] == 80
    assert rows[-1] < 80
    assert len(reads) == 2


def test_dropout_is_off_while_writing_and_the_model_is_left_as_it_was(model):
    assert model.training
    source = sources(12)
    first = decoding.greedy(model, source, START, END)
    assert first == decoding.greedy(model, source, START, END)
    assert model.training
    model.eval()
    assert first == decoding.greedy(model, source, START, END)
    assert not model.training


WAYS = {
    "greedy": decoding.greedy,
    "sample": decoding.sample,
    "beam": lambda *given, **named: [one[0].ids for one in decoding.beam(*given, **named)],
}


@pytest.mark.parametrize("way", WAYS)
def test_neither_padding_nor_the_start_mark_is_written_however_likely(model, way, monkeypatch):
    decode = model.decode

    def tempted(*given):
        logits = decode(*given).clone()
        logits[..., [0, START]] += 50
        return logits

    monkeypatch.setattr(model, "decode", tempted)
    written = WAYS[way](model, sources(), START, END, max_length=8)
    assert any(written)
    assert not {0, START, END} & {token for ids in written for token in ids}


@pytest.mark.parametrize("way", WAYS)
def test_writing_stops_at_max_length_and_where_the_model_has_no_more_positions(way):
    model = small(max_length=10)
    source = sources(30)
    for longest, most in ((1, 1), (5, 5), (64, 10)):
        written = WAYS[way](model, source, START, END, max_length=longest)
        assert len(written) == 30
        assert max(map(len, written)) == most


@pytest.mark.parametrize("way", WAYS)
def test_nothing_to_translate_gives_nothing(model, way):
    assert WAYS[way](model, sources()[:0], START, END) == []


# --- Beams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_beam_of_one_is_greedy(seed):
    model, source = small(seed=seed), sources(20)
    beams = decoding.beam(model, source, START, END, num_beams=1, max_length=20)
    assert all(len(one) == 1 for one in beams)
    assert [one[0].ids for one in beams] == decoding.greedy(
        model, source, START, END, max_length=20
    )


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 3.0])
def test_a_beam_wide_enough_ranks_all_sentences_as_exhaustive_search_does(length_penalty):
    model = small(words=6)
    source = sources(2, words=6)
    words = (1, 4, 5)
    found = decoding.beam(
        model, source, START, END, num_beams=150, max_length=4, length_penalty=length_penalty
    )
    for row in range(2):
        every = [
            (log_probability(model, source[row], ids) / ((5 + len(ids)) / 6) ** length_penalty, ids)
            for length in range(4)
            for ids in itertools.product(words, repeat=length)
        ]
        every.sort(reverse=True)
        assert len(every) == 40
        finished = [one for one in found[row] if one.finished]
        assert [tuple(one.ids) for one in finished] == [ids for _, ids in every]
        for one, (score, _) in zip(finished, every, strict=True):
            assert one.score == pytest.approx(score, abs=1e-4)
        cut = [one for one in found[row] if not one.finished]
        assert {tuple(one.ids) for one in cut} == set(itertools.product(words, repeat=4))
        assert found[row][: len(finished)] == finished


def plain_beam(model, source, width, longest):
    """Beam search as one would write it down: one sentence, whole prefixes, plain lists."""
    live, found = [(0.0, [])], []
    for _ in range(longest):
        with torch.no_grad():
            fed = torch.tensor([[START, *ids] for _, ids in live])
            logs = model(source.expand(len(live), -1), fed).logits[:, -1].log_softmax(-1).tolist()
        longer = [
            (log + logs[place][token], [*ids, token])
            for place, (log, ids) in enumerate(live)
            for token in range(len(logs[0]))
            if token not in (0, START)
        ]
        longer.sort(reverse=True)
        found += [(log, ids[:-1]) for log, ids in longer[:width] if ids[-1] == END]
        live = [one for one in longer if one[1][-1] != END][:width]
        if len(found) >= width:
            return found
    return found


@pytest.mark.parametrize("width", [2, 4])
def test_beams_are_those_of_a_search_written_with_plain_lists(model, width):
    source = sources(8)
    found = decoding.beam(model, source, START, END, width, max_length=12, length_penalty=0.0)
    model.eval()
    for row in range(8):
        expected = sorted(plain_beam(model, source[row : row + 1], width, 12), reverse=True)
        finished = [one.ids for one in found[row] if one.finished]
        assert finished == [ids for _, ids in expected[:width]]
    assert sum(one.finished for hypotheses in found for one in hypotheses) > 8


@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
def test_each_hypothesis_has_the_probability_that_the_model_gives_it(model, length_penalty):
    source = sources(8)
    found = decoding.beam(
        model, source, START, END, num_beams=4, max_length=15, length_penalty=length_penalty
    )
    for row, hypotheses in enumerate(found):
        assert 1 <= len(hypotheses) <= 4
        assert len({tuple(one.ids) for one in hypotheses}) == len(hypotheses)
        for one in hypotheses:
            expected = log_probability(model, source[row], one.ids, one.finished)
            assert one.log_probability == pytest.approx(expected, abs=1e-3)
            penalty = ((5 + len(one.ids)) / 6) ** length_penalty
            assert one.score == pytest.approx(one.log_probability / penalty)
        ranks = [(one.finished, one.score) for one in hypotheses]
        assert ranks == sorted(ranks, reverse=True)


def test_wider_beams_find_likelier_sentences_on_average():
    source = sources(40)
    means = []
    for width in (1, 4, 12):
        best = [
            max(one.log_probability for one in hypotheses)
            for hypotheses in decoding.beam(
                small(), source, START, END, num_beams=width, max_length=12, length_penalty=0.0
            )
        ]
        means.append(sum(best) / len(best))
    assert means[0] < means[1] < means[2]


# --- Samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 3), (1.0, 1), (1.0, 100)]
)
def test_tokens_are_drawn_as_often_as_their_probability_says(temperature, top_k):
    model, rows = small(strength=2.0), 4000
    source = sources(1, longest=4)
    drawn = decoding.sample(
        model, source.expand(rows, -1), START, END, 2, temperature=temperature, top_k=top_k
    )
    model.eval()

    def expected(ids):
        with torch.no_grad():
            logits = model(source, torch.tensor([[START, *ids]])).logits[0, -1].double()
        logits[[0, START]] = -torch.inf
        few = logits.topk(min(top_k or 9, 9)).indices
        kept = torch.full_like(logits, -torch.inf)
        kept[few] = logits[few]
        return (kept / temperature).softmax(-1)

    firsts = [(*ids, END)[0] for ids in drawn]
    likeliest = max((token for token in set(firsts) if token != END), key=firsts.count)
    seconds = [(*ids, END)[1] for ids in drawn if ids and ids[0] == likeliest]
    for tokens, chances in ((firsts, expected([])), (seconds, expected([likeliest]))):
        assert len(tokens) > 400
        shares = torch.bincount(torch.tensor(tokens), minlength=9) / len(tokens)
        error = (chances * (1 - chances) / len(tokens)).sqrt()
        assert ((shares - chances).abs() <= 4 * error + 1e-9).all()


def test_a_seed_draws_the_same_and_another_something_else(model):
    source = sources(12)
    first = decoding.sample(model, source, START, END, seed=1)
    assert first == decoding.sample(model, source, START, END, seed=1)
    assert first != decoding.sample(model, source, START, END, seed=2)


def test_what_a_row_draws_does_not_depend_on_when_others_end(model):
    source = sources(12)
    changed = torch.cat([source[:1], sources(11, seed=5)])
    one, other = (decoding.sample(model, ids, START, END, 20) for ids in (source, changed))
    assert one[0] == other[0]
    assert one[1:] != other[1:]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, s: decoding.beam(m, s, START, END, num_beams=0), "num_beams is 0"),
        (lambda m, s: decoding.sample(m, s, START, END, temperature=0.0), "use greedy"),
        (lambda m, s: decoding.sample(m, s, START, END, top_k=0), "top_k is 0"),
        (lambda m, s: decoding.greedy(m, s, START, END, max_length=0), "max_length is 0"),
        (lambda m, s: decoding.greedy(m, s[0], START, END), "source has shape"),
    ],
)
def test_what_cannot_be_is_refused(call, words):
    with pytest.raises(AttnlabError, match=words):
        call(small(), sources())
