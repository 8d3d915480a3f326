"""Writing on: the cache changes nothing but the time, and neighbours change nothing at all."""

import math

import pytest
import torch

import attnlab as al
from attnlab.errors import AttnlabError, DataError, ModelError, SettingsError
from attnlab.language import generating
from attnlab.language.generating import generate, stream
from attnlab.language.hub import to_transformers
from attnlab.language.model import LanguageModel
from attnlab.language.sampling import adjust
from attnlab.language.stepping import one_more

VOCABULARY = 23
KINDS = {
    "rope": {},
    "learned": {"positions": "learned"},
    "sinusoidal": {"positions": "sinusoidal"},
    "alibi": {"positions": "alibi"},
    "none": {"positions": "none"},
    "grouped": {"kv_heads": 2},
    "one key": {"kv_heads": 1, "norm": "rms", "feed_forward": "swiglu", "bias": False},
    "window": {"window": 7},
    "window of 1": {"window": 1},
    "sinks": {"window": 5, "sinks": 2},
    "grouped window": {"window": 6, "sinks": 1, "kv_heads": 2, "positions": "alibi"},
    "learned window": {"window": 6, "positions": "learned"},
}


def small(seed=0, **changes):
    """A model whose words depend on all that it has read."""
    torch.manual_seed(seed)
    size = {"d_model": 32, "heads": 4, "layers": 2, "max_length": 64, "dropout": 0.3}
    model = LanguageModel(VOCABULARY, **size | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return model


def prompts(lengths=(3, 11, 1, 6, 20), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture(params=KINDS)
def model(request):
    return small(**KINDS[request.param])


def next_logits(model, ids):
    """Of a text read at once and by itself."""
    mode = model.training
    model.eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[0, -1]
    model.train(mode)
    return logits


# --- The cache -----------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_with_cache_and_without_the_same_tokens_are_written(model, temperature):
    options = {"temperature": temperature, "seed": 4}
    cached = generate(model, prompts(), 40, **options)
    assert cached == generate(model, prompts(), 40, cache=False, **options)
    assert len({tuple(ids) for ids in cached}) > 2


def test_each_token_is_the_likeliest_after_the_text_so_far_read_at_once(model):
    for prompt, ids in zip(prompts(), generate(model, prompts(), 25, temperature=0), strict=True):
        for step, token in enumerate(ids):
            assert int(next_logits(model, prompt + ids[:step]).argmax()) == token


def test_logits_of_the_cache_are_those_of_the_whole_text_at_every_step(model):
    """At window edges, with sinks, for a batch of prompts of different lengths."""
    seen = []
    model.register_forward_hook(lambda module, given, logits: seen.append(logits[:, -1]))
    written = generate(model, prompts(), 40, temperature=1.0, seed=1)
    cached, seen[:] = torch.stack(seen), []
    generate(model, prompts(), 40, temperature=1.0, seed=1, cache=False)
    assert (cached - torch.stack(seen)).abs().max() < 1e-4
    for row, (prompt, ids) in enumerate(zip(prompts(), written, strict=True)):
        for step in range(40):
            whole = next_logits(model, prompt + ids[:step])
            assert (cached[step, row] - whole).abs().max() < 1e-4


def test_a_step_in_a_straight_line_is_the_step_of_the_model(monkeypatch, model):
    """Of texts of one length; hooks are heard, and then the model itself is called."""
    ids = [prompt[:3] for prompt in prompts((3, 3, 3))]
    steps, heard = [], []
    monkeypatch.setattr(generating, "one_more", lambda *a: steps.append(one_more(*a)) or steps[-1])
    quick = generate(model, ids, 40, temperature=1.5)
    model.register_forward_hook(lambda module, given, logits: heard.append(logits[:, -1]))
    assert generate(model, ids, 40, temperature=1.5) == quick
    assert len(heard) == 40
    straight = model.size["window"] is None and model.size["positions"] != "alibi"
    assert len(steps) == (39 if straight else 0)
    for mine, theirs in zip(steps, heard[1:], strict=False):
        assert (mine - theirs).abs().max() < 1e-5
    pruned = model.without_heads([(0, head) for head in range(4)] + [(1, 2)])
    generate(pruned, ids, 5)  # a layer without heads


def test_rows_that_end_leave_the_others_as_they_are(model):
    endless = generate(model, prompts(), 40, temperature=1.5)
    stop = {ids[place] for ids, place in zip(endless, (3, 9, 20, 0, 33), strict=True)}
    cut = [
        ids[: min((n for n, token in enumerate(ids) if token in stop), default=40)]
        for ids in endless
    ]
    assert len({len(ids) for ids in cut}) > 2
    for cache in (True, False):
        assert generate(model, prompts(), 40, temperature=1.5, stop=stop, cache=cache) == cut


# --- Against Transformers ------------------------------------------------------------------------

LLAMA = {"norm": "rms", "feed_forward": "swiglu", "bias": False, "kv_heads": 2}
GPT2 = {"positions": "learned", "feed_forward": "gelu_tanh"}


@pytest.mark.parametrize("size", [LLAMA, GPT2, LLAMA | {"tied": False}])
@pytest.mark.parametrize("cache", [True, False])
def test_greedy_writes_what_generate_of_transformers_writes(size, cache):
    model = small(**size).eval()
    theirs, texts = to_transformers(model).eval(), prompts()
    longest = max(map(len, texts))
    ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts])
    mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts])
    written = theirs.generate(
        ids, attention_mask=mask, do_sample=False, max_new_tokens=40, pad_token_id=0
    )
    ours = generate(model, texts, 40, temperature=0, cache=cache)
    assert ours == written[:, longest:].tolist()


# --- A batch, and what is drawn ------------------------------------------------------------------


def test_what_a_prompt_draws_does_not_depend_on_its_neighbours(model):
    together = generate(model, prompts(), 15, seed=7)
    for row, prompt in enumerate(prompts()):
        others = prompts((8, 1, 30, 2), seed=row)
        mixed = [*others[:row], prompt, *others[row:]]
        assert generate(model, mixed, 15, seed=7)[row] == together[row]
        few = [*([[0]] * row), prompt]  # its place in the list is all that counts
        assert generate(model, few, 15, seed=7)[row] == together[row]


def test_more_tokens_begin_with_the_same():
    model = small()
    long = generate(model, prompts(), 30, seed=3)
    short = generate(model, prompts(), 12, seed=3)
    assert short == [ids[:12] for ids in long]


def test_the_same_prompt_several_times_is_written_on_in_several_ways_and_by_greedy_in_one():
    model = small()
    assert len({tuple(ids) for ids in generate(model, [[1, 2, 3]] * 8, 15)}) == 8
    assert len({tuple(ids) for ids in generate(model, [[1, 2, 3]] * 8, 15, temperature=0)}) == 1


def test_the_same_seed_draws_the_same_and_another_seed_something_else():
    model = small()
    texts = [generate(model, [[1, 2, 3]] * 4, 15, seed=seed) for seed in (0, 0, 1, 2)]
    assert texts[0] == texts[1]
    assert len({tuple(ids) for text in texts[1:] for ids in text}) == 12
    state = torch.get_rng_state()
    generate(model, prompts(), 5)
    assert torch.equal(torch.get_rng_state(), state)


def test_tokens_come_as_often_as_adjusted_probabilities_say():
    model = small()
    options = {"temperature": 1.3, "top_k": 9, "top_p": 0.9, "min_p": 0.02}
    drawn = torch.tensor(generate(model, [[4, 5]] * 4000, 1, **options)).flatten()
    shares = torch.bincount(drawn, minlength=VOCABULARY) / 4000
    wanted = adjust(next_logits(model, [4, 5]), **options)
    assert (shares > 0).sum() <= (wanted > 0).sum()
    error = (wanted * (1 - wanted) / 4000).sqrt()
    assert bool(((shares - wanted).abs() <= 4.5 * error + 1e-9).all())


def test_a_stream_yields_what_generate_writes_one_by_one(model):
    options = {"temperature": 1.2, "top_k": 12, "stop": [3], "seed": 2}
    for prompt in prompts():
        (written,) = generate(model, [prompt], 30, **options)
        assert list(stream(model, prompt, 30, **options)) == written


def test_between_two_ids_of_a_stream_the_model_is_as_it_was():
    model = small().train()
    ids = stream(model, [1, 2], 5)
    next(ids)
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()
    with torch.no_grad():
        pass
    next(ids)
    ids.close()
    assert all(module.training for module in model.modules())


def test_errors_of_a_stream_come_with_the_call():
    with pytest.raises(AttnlabError, match="temperature"):
        stream(small(), [1, 2], 5, temperature=-1)
    with pytest.raises(DataError, match="empty"):
        stream(small(), [], 5)


# --- Settings of heads ---------------------------------------------------------------------------


def test_settings_hold_for_the_call_and_may_differ_by_prompt(model):
    deaf = model.neutral_settings()
    deaf.scale[0] = 0
    deaf.temperature[1] = 3
    plain = generate(model, prompts(), 25, temperature=0)
    changed = generate(model, prompts(), 25, temperature=0, settings=deaf)
    assert plain != changed
    stack = al.HeadSettings.stack([deaf, model.neutral_settings()] * 2 + [deaf])
    mixed = [(changed if row % 2 == 0 else plain)[row] for row in range(5)]
    stop = {mixed[1][4], mixed[2][9]}
    for cache in (True, False):
        options = {"temperature": 0, "settings": stack, "cache": cache}
        assert generate(model, prompts(), 25, **options) == mixed
        for ids, whole in zip(
            generate(model, prompts(), 25, stop=stop, **options), mixed, strict=True
        ):
            assert ids == whole[: len(ids)]
    assert generate(model, prompts(), 25, temperature=0) == plain


def test_an_applied_block_acts_as_settings_do():
    model = small()
    deaf = model.neutral_settings()
    deaf.scale[0] = 0
    with al.heads.applied(model, deaf):
        inside = generate(model, prompts(), 25, temperature=0)
        started = stream(model, prompts()[1], 25, temperature=0)
    assert inside == generate(model, prompts(), 25, temperature=0, settings=deaf)
    assert list(started) == inside[1]  # what held when it was called


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match="neutral_settings"):
        generate(small(), prompts(), 3, settings={"scale": 1})
    with pytest.raises(SettingsError):
        generate(small(), prompts(), 3, settings=al.HeadSettings(3, 4))
    stack = al.HeadSettings.stack([al.HeadSettings(2, 4)] * 2)
    with pytest.raises(SettingsError, match="batch of 5"):
        generate(small(), prompts(), 3, settings=stack)


# --- Where a text outgrows the model -------------------------------------------------------------


@pytest.mark.parametrize("cache", [True, False])
def test_learned_positions_are_used_to_the_last_and_then_refused(cache):
    model = small(positions="learned", max_length=20)
    (ids,) = generate(model, [[1, 2, 3]], 18, cache=cache)  # nobody reads the last one
    assert len(ids) == 18
    with pytest.raises(AttnlabError, match=r"20 learned positions.*context=20.*at most 18"):
        generate(model, [[1, 2, 3]], 19, cache=cache)
    with pytest.raises(AttnlabError, match="context=20"):
        generate(model, [[1] * 21], 1, cache=cache)
    with pytest.raises(AttnlabError, match="context=20 or less"):
        generate(model, [[1]], 1, cache=cache, context=21)


def test_a_context_reads_the_last_tokens_only(model):
    context = 9
    for cache in (True, False):
        written = generate(model, prompts(), 30, temperature=0, context=context, cache=cache)
        for prompt, ids in zip(prompts(), written, strict=True):
            for step, token in enumerate(ids):
                text = (prompt + ids[:step])[-context:]
                assert int(next_logits(model, text).argmax()) == token


def test_a_context_that_is_never_full_changes_nothing(model):
    assert generate(model, prompts(), 30, context=60) == generate(model, prompts(), 30)


def test_a_cropped_context_is_not_a_window():
    """Two layers of a window see further than one, as what was seen lives on in what is kept."""
    window, whole = small(window=8), small()
    whole.load_state_dict(window.state_dict())
    texts = generate(window, prompts(), 40, temperature=0)
    assert texts != generate(whole, prompts(), 40, temperature=0, context=8)


@pytest.mark.parametrize("positions", ["rope", "sinusoidal", "alibi", "none"])
def test_positions_without_an_end_go_beyond_max_length(positions):
    model = small(positions=positions, max_length=8)
    assert len(generate(model, [[1, 2, 3]], 40)[0]) == 40


# --- Number formats ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_in_bfloat16_the_cache_takes_half_the_bytes_and_tokens_come_near(model, dtype):
    first = generate(model, prompts(), 1, temperature=0, dtype=dtype)
    logits = [next_logits(model, prompt) for prompt in prompts()]
    for ids, own in zip(first, logits, strict=True):
        assert own.max() - own[ids[0]] < 0.05 * (own.max() - own.min())
    assert len(generate(model, prompts(), 20, dtype=dtype)[0]) == 20


def test_another_number_format_is_refused():
    with pytest.raises(AttnlabError, match="number format"):
        generate(small(), prompts(), 3, dtype="int8")


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ("Once upon", r"tokens.encode\(text\)"),
        (torch.zeros(2, 3, dtype=torch.long), r"ids.tolist\(\)"),
        ([1, 2, 3], r"\[ids\]"),
        (["Once"], r"tokens.encode\(text\)"),
        ([[1], []], "Prompt 1 is empty"),
        ([[1, VOCABULARY]], f"id {VOCABULARY}.*0 to {VOCABULARY - 1}"),
        ([[-1]], "id -1"),
        ([[1.5]], "whole numbers"),
        (7, "list of lists"),
    ],
)
def test_prompts_that_are_no_ids_are_refused_with_the_cure(given, cure):
    with pytest.raises(DataError, match=cure):
        generate(small(), given, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 2.5},
        {"seed": -1},
        {"context": 0},
        {"top_k": 0},
        {"top_p": 7},
        {"min_p": -1},
        {"temperature": math.nan},
    ],
)
def test_options_outside_their_range_are_refused(options):
    with pytest.raises(AttnlabError, match=next(iter(options))):
        generate(small(), prompts(), **{"max_new_tokens": 3} | options)


@pytest.mark.parametrize("stop", [3, ".", ["."], [VOCABULARY], None])
def test_stop_ids_that_are_none_are_refused(stop):
    with pytest.raises(DataError, match="stop"):
        generate(small(), prompts(), 3, stop=stop)


def test_no_prompts_are_no_texts():
    assert generate(small(), [], 5) == []


def test_a_model_with_weights_that_are_no_numbers_is_named():
    model = small()
    with torch.no_grad():
        model.blocks[1].attention.value.weight[0, 0] = math.nan
    with pytest.raises(ModelError, match=r"blocks.1.attention.value.weight"):
        generate(model, prompts(), 3)
