"""Heads of models that write: GPT-2, and Llama and its like, whose heads share keys and values."""

import copy

import pytest
import torch
from tiny_decoders import DECODERS, HEADS, LAYERS, PLAIN, padded_batch, tiny_decoder
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    StaticCache,
)
from transformers.masking_utils import eager_mask

import attnlab as al
from attnlab import heads
from attnlab.errors import ModelError, SettingsError
from attnlab.heads import control

decoders = pytest.mark.parametrize("name", list(DECODERS))
plain_decoders = pytest.mark.parametrize("name", PLAIN)
sides = pytest.mark.parametrize("side", ["right", "left"])


def neutral():
    return al.HeadSettings(LAYERS, HEADS)


def silenced(places):
    settings = neutral()
    for layer, head in places:
        settings.scale[layer, head] = 0
    return settings


def changed():
    settings = silenced([(0, 1), (2, 0)])
    settings.scale[1, 3], settings.temperature[1, 2], settings.temperature[2, 3] = 1.6, 2.5, 0.4
    return settings


def logits(model, inputs, settings=None):
    with torch.no_grad():
        if settings is None:
            return model(**inputs).logits
        with al.heads.applied(model, settings):
            return model(**inputs).logits


def at_tokens(answers, inputs):
    """What is said at tokens; at padding nothing is asked."""
    return answers[inputs["attention_mask"].bool()]


# ── an oracle that shares no code: attention written out, a hook where heads leave ─────────────

_WRITTEN_OUT = {}


def written_out(module, query, key, value, attention_mask, scaling, **kwargs):
    settings = _WRITTEN_OUT["settings"]
    temperature = settings.temperature[module.layer_idx]
    contexts = []
    for head in range(query.shape[1]):
        shared = head * key.shape[1] // query.shape[1]
        scores = query[:, head] @ key[:, shared].transpose(1, 2) * scaling / temperature[head]
        if attention_mask is not None:
            scores = scores + attention_mask[:, 0]
        contexts.append(scores.softmax(-1) @ value[:, shared])
    return torch.stack(contexts, 2), None


AttentionInterface.register("written-out", written_out)
AttentionMaskInterface.register("written-out", eager_mask)


def output_projection(model, layer):
    base = model.base_model
    if hasattr(base, "h"):
        return base.h[layer].attn.c_proj
    return base.layers[layer].self_attn.o_proj


def by_hand(model, inputs, settings):
    """Logits where attention is written out above and a hook scales what leaves the heads."""

    def scaled(layer):
        def hook(module, args):
            (context,) = args
            heads_apart = context.unflatten(-1, (HEADS, -1)) * settings.scale[layer][:, None]
            return (heads_apart.flatten(-2),)

        return hook

    model = copy.deepcopy(model)
    model.set_attn_implementation("written-out")
    _WRITTEN_OUT["settings"] = settings
    for layer in range(LAYERS):
        output_projection(model, layer).register_forward_pre_hook(scaled(layer))
    with torch.no_grad():
        return model(**inputs).logits


# ── settings ───────────────────────────────────────────────────────────────────────────────────


@decoders
def test_self_check_holds(name):
    report = al.heads.self_check(tiny_decoder(name))
    assert report["neutral - untouched"] == 0
    assert report["scale 0 - neutral"] > 1e-3


@decoders
@sides
def test_neutral_settings_change_nothing(name, side):
    model, inputs = tiny_decoder(name), padded_batch(side)
    before = logits(model, inputs)
    found = logits(model, inputs, neutral())
    assert torch.allclose(at_tokens(found, inputs), at_tokens(before, inputs), atol=1e-6)
    assert torch.equal(logits(model, inputs), before)
    assert model.config._attn_implementation == "sdpa"


@decoders
@sides
def test_scale_and_temperature_are_those_of_attention_written_out(name, side):
    model, inputs, settings = tiny_decoder(name), padded_batch(side), changed()
    wanted = at_tokens(by_hand(model, inputs, settings), inputs)
    assert torch.allclose(at_tokens(logits(model, inputs, settings), inputs), wanted, atol=1e-4)
    assert not torch.allclose(at_tokens(logits(model, inputs), inputs), wanted, atol=1e-2)


@decoders
def test_scale_0_is_a_head_cut_off_before_the_output_projection(name):
    model, inputs = tiny_decoder(name), padded_batch()
    wanted = by_hand(model, inputs, silenced([(1, 2)]))
    found = logits(model, inputs, silenced([(1, 2)]))
    assert torch.allclose(at_tokens(found, inputs), at_tokens(wanted, inputs), atol=1e-4)


@decoders
@sides
def test_padding_does_not_change_the_answer(name, side):
    model, inputs, settings = tiny_decoder(name), padded_batch(side), changed()
    together = logits(model, inputs, settings)
    for row in range(3):
        real = inputs["attention_mask"][row].bool()
        alone = {"input_ids": inputs["input_ids"][row : row + 1, real]}
        assert torch.allclose(logits(model, alone, settings)[0], together[row, real], atol=1e-4)


@decoders
def test_later_tokens_are_not_seen(name):
    model, settings = tiny_decoder(name), changed()
    ids = padded_batch()["input_ids"][:1]
    other = ids.clone()
    other[:, 6:] = 7
    for given in (None, settings):
        before, after = (logits(model, {"input_ids": one}, given) for one in (ids, other))
        assert torch.allclose(before[:, :6], after[:, :6], atol=1e-5)
        assert not torch.allclose(before[:, 6:], after[:, 6:], atol=1e-2)


@plain_decoders
def test_one_setting_per_batch_row(name):
    model, inputs = tiny_decoder(name), padded_batch("left")
    each = [neutral(), changed(), silenced([(0, 0), (2, 3)])]
    together = logits(model, inputs, al.HeadSettings.stack(each))
    for row, settings in enumerate(each):
        real = inputs["attention_mask"][row].bool()
        alone = logits(model, inputs, settings)
        assert torch.allclose(together[row, real], alone[row, real], atol=1e-5)
    with pytest.raises(SettingsError, match="2 settings for a batch of 3"):
        logits(model, inputs, al.HeadSettings.stack(each[:2]))


@plain_decoders
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_scale_and_temperature_and_are_right(name, checkpointing):
    model = tiny_decoder(name, attention_dropout=0.0)
    for module in model.modules():  # the comparison below needs the same pass twice
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    inputs = padded_batch()
    inputs["labels"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    settings = neutral()
    settings.scale.requires_grad_()
    settings.temperature.requires_grad_()

    def loss():
        with al.heads.applied(model, settings):
            return model(**inputs).loss

    loss().backward()
    for tensor in (settings.scale, settings.temperature):
        assert (tensor.grad != 0).all()
        step = torch.zeros_like(tensor)
        step[1, 1] = 1e-2
        with torch.no_grad():
            tensor.add_(step)
            above = loss()
            tensor.sub_(2 * step)
            below = loss()
            tensor.add_(step)
        slope = float((above - below) / 2e-2)
        assert slope == pytest.approx(float(tensor.grad[1, 1]), rel=0.05, abs=1e-3)


def test_settings_may_come_with_the_call():
    model, inputs, settings = tiny_decoder("llama"), padded_batch(), changed()
    wanted = logits(model, inputs, settings)
    assert torch.equal(heads.run(model, inputs, settings), wanted)
    heads.attach(model)
    with torch.no_grad():
        assert torch.equal(model(**inputs, **heads.keywords(model, settings)).logits, wanted)


@plain_decoders
def test_models_without_a_head_on_top_and_sequence_classifiers_work(name):
    for kind in (AutoModel, AutoModelForSequenceClassification):
        al.heads.self_check(tiny_decoder(name, kind))


def test_an_adapter_that_is_not_merged_is_no_hindrance_but_for_pruning():
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    adapted = get_peft_model(tiny_decoder("gpt2"), config).eval()
    torch.manual_seed(1)
    for place, parameter in adapted.named_parameters():
        if "lora_B" in place:
            torch.nn.init.normal_(parameter, std=0.3)
    inputs = padded_batch()
    al.heads.self_check(adapted)
    with pytest.raises(ModelError, match=r"c_attn is no plain Linear.*merge_and_unload"):
        al.heads.prune(adapted, [(0, 1)])
    before, silent = (
        heads.record(adapted, inputs, neutral()),
        heads.run(adapted, inputs, silenced([(0, 1)])),
    )
    merged = adapted.merge_and_unload()
    for one, other in zip(before, heads.record(merged, inputs, neutral()), strict=True):
        assert torch.allclose(one.norms, other.norms, rtol=1e-3, atol=1e-4)
    found = heads.run(al.heads.prune(merged, [(0, 1)]), inputs)
    assert torch.allclose(at_tokens(found, inputs), at_tokens(silent, inputs), atol=1e-3)


# ── maps ───────────────────────────────────────────────────────────────────────────────────────


@decoders
@sides
def test_recorded_weights_are_those_of_the_librarys_own_eager_attention(name, side):
    model, inputs = tiny_decoder(name), padded_batch(side)
    found = heads.record(model, inputs, neutral())
    model.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = model(**inputs, output_attentions=True).attentions
    real = inputs["attention_mask"].bool()
    for layer, theirs in zip(found, wanted, strict=True):
        assert layer.weights.shape == theirs.shape == (3, HEADS, 11, 11)
        for row in range(3):
            mine, other = layer.weights[row][:, real[row]], theirs[row][:, real[row]]
            assert torch.allclose(mine, other, atol=1e-5)
            assert torch.allclose(mine.sum(-1), torch.ones(()), atol=1e-5)
            assert not mine[..., ~real[row]].any()
        assert torch.equal(layer.weights, layer.weights.tril())


@plain_decoders
def test_recorded_norms_are_lengths_of_what_a_head_adds(name):
    """A head that sees one token only adds that token's transformed value."""
    model = tiny_decoder(name)
    inputs = {"input_ids": torch.tensor([[9]])}
    found = heads.record(model, inputs, neutral())[0]
    added = []

    def note(module, args, output):
        silent = module(torch.zeros_like(args[0]))
        for head in range(HEADS):
            alone = torch.zeros_like(args[0]).unflatten(-1, (HEADS, -1))
            alone[..., head, :] = args[0].unflatten(-1, (HEADS, -1))[..., head, :]
            added.append((module(alone.flatten(-2)) - silent).norm())

    projection, seen = output_projection(model, 0), []
    handle = projection.register_forward_hook(lambda *call: seen.append(call))
    logits(model, inputs)
    handle.remove()
    with torch.no_grad():
        note(*seen[0])
    assert torch.allclose(found.norms[0, :, 0], torch.stack(added), rtol=1e-4)


@plain_decoders
def test_scale_leaves_its_own_layers_weights_and_temperature_moves_them(name):
    model, inputs = tiny_decoder(name), padded_batch()
    warm = neutral()
    warm.temperature[1, 0] = 3
    base, scaled, warmed = (
        [layer.weights for layer in heads.record(model, inputs, settings)]
        for settings in (neutral(), silenced([(1, 0)]), warm)
    )
    assert torch.equal(scaled[1], base[1])
    assert not torch.equal(scaled[2], base[2])
    assert not torch.equal(warmed[1][:, 0], base[1][:, 0])
    assert torch.equal(warmed[1][:, 1:], base[1][:, 1:])


@pytest.mark.parametrize(("name", "windowed"), [("mistral", [0, 1, 2]), ("qwen2", [1, 2])])
def test_a_sliding_window_stays_a_window(name, windowed):
    """Four tokens, itself among them; of Qwen2's layers here the first sees all."""
    inputs = {"input_ids": padded_batch()["input_ids"][:1]}
    for layer, found in enumerate(heads.record(tiny_decoder(name), inputs, neutral())):
        near = torch.ones(11, 11).tril()
        if layer in windowed:
            near = near.triu(-3)
        assert torch.equal(found.weights[0] > 0, near.bool().expand(HEADS, 11, 11))


# ── writing ────────────────────────────────────────────────────────────────────────────────────


def write(model, inputs, **options):
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    options = {"max_new_tokens": 9, "do_sample": False, "eos_token_id": None} | options
    with torch.no_grad():
        return model.generate(**given, **options)


def without_cache(model, inputs, settings=None):
    """Greedy writing, the whole text anew for each token."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    for _ in range(9):
        given = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": (mask.cumsum(-1) - 1).clamp_min(0),
            "use_cache": False,
        }
        best = logits(model, given, settings)[:, -1].argmax(-1, keepdim=True)
        ids, mask = torch.cat([ids, best], 1), torch.cat([mask, torch.ones_like(best)], 1)
    return ids


@decoders
def test_generate_writes_the_same_as_without_a_cache(name):
    model, inputs = tiny_decoder(name), padded_batch("left")
    plain, wanted = write(model, inputs), without_cache(model, inputs, changed())
    assert not torch.equal(plain, wanted)
    with al.heads.applied(model, changed()):
        assert torch.equal(write(model, inputs), wanted)
        assert torch.equal(write(model, inputs, use_cache=False), wanted)
        with al.heads.applied(model, neutral()):
            assert torch.equal(write(model, inputs), plain)
    assert torch.equal(write(model, inputs), plain)


@decoders
def test_generate_with_a_cache_of_fixed_size_writes_the_same(name):
    model, inputs = tiny_decoder(name), padded_batch("left")
    one = {
        key: tensor[:1] for key, tensor in inputs.items()
    }  # no padding: the mask may be left out
    for given in (inputs, one):
        with al.heads.applied(model, changed()):
            found = write(model, given, cache_implementation="static", disable_compile=True)
        assert torch.equal(found, without_cache(model, given, changed()))


@plain_decoders
def test_one_setting_per_batch_row_holds_while_writing(name):
    model, inputs = tiny_decoder(name), padded_batch("left")
    each = [neutral(), changed(), silenced([(0, 0), (2, 3)])]
    with al.heads.applied(model, al.HeadSettings.stack(each)):
        together = write(model, inputs)
    for row, settings in enumerate(each):
        with al.heads.applied(model, settings):
            assert torch.equal(write(model, inputs)[row], together[row])


@plain_decoders
def test_weights_while_writing_are_those_of_the_whole_text(name):
    """With a cache one row, or the first rows beside room for what will come."""
    model = tiny_decoder(name)
    inputs = {"input_ids": padded_batch()["input_ids"][:1]}
    whole = heads.record(model, inputs, changed())
    cache = {"past_key_values": StaticCache(model.config, max_cache_len=16), "use_cache": True}
    before, last = (
        heads.record(model, {"input_ids": inputs["input_ids"][:, part], **cache}, changed())
        for part in (slice(10), slice(10, None))
    )
    for layer, early, late in zip(whole, before, last, strict=True):
        if early.weights.shape[-1] < 16:
            continue  # a window keeps its own keys only
        assert torch.allclose(early.weights[..., :10], layer.weights[:, :, :10, :10], atol=1e-5)
        assert torch.allclose(late.weights[..., :11], layer.weights[:, :, 10:], atol=1e-5)
        assert torch.allclose(late.norms[..., :11], layer.norms, rtol=1e-4)
        for record in (early, late):
            assert not record.weights[..., 11:].any()


# ── for good ───────────────────────────────────────────────────────────────────────────────────

WHOLE_LAYER = [(1, head) for head in range(HEADS)]
ONE_A_GROUP, A_GROUP = [(0, 1), (0, 2)], [(2, 2), (2, 3)]  # heads 0 and 1 share keys, 2 and 3 do
PRUNED = {
    "gpt2": [[(0, 1), (2, 0), (2, 3)], WHOLE_LAYER, [(0, 1), (0, 2), (0, 3), *WHOLE_LAYER]],
    "llama": [ONE_A_GROUP, A_GROUP, WHOLE_LAYER, ONE_A_GROUP + WHOLE_LAYER + A_GROUP],
    "llama-bias": [[(0, 1), (2, 0), (2, 3)], WHOLE_LAYER],
    "llama-wide": [[(0, 1), (2, 0), (2, 3)], WHOLE_LAYER],
    "mistral": [ONE_A_GROUP + A_GROUP],
    "qwen2": [ONE_A_GROUP + A_GROUP, WHOLE_LAYER],
    "qwen3": [ONE_A_GROUP + A_GROUP, WHOLE_LAYER],
}
cases = pytest.mark.parametrize(
    ("name", "places"), [(name, places) for name, several in PRUNED.items() for places in several]
)


@cases
def test_pruning_equals_silencing(name, places):
    model, inputs = tiny_decoder(name), padded_batch()
    smaller = al.heads.prune(model, places)
    wanted = at_tokens(logits(model, inputs, silenced(places)), inputs)
    for implementation in ("sdpa", "eager", control.NAME):
        smaller.set_attn_implementation(implementation)
        assert torch.allclose(at_tokens(logits(smaller, inputs), inputs), wanted, atol=1e-4)
    assert heads.removed(smaller) == sorted(places)
    assert heads.removed(model) == []


def numbers_of(name, layer_places):
    """Parameters of heads of one layer that go, by hand: what makes them, and what reads them."""
    if name == "gpt2":
        return len(layer_places) * (4 * 8 * 32 + 3 * 8)
    width, shared = (12, 4) if name == "llama-wide" else (8, 1 if name == "llama-bias" else 2)
    gone = {head for _, head in layer_places}
    groups = [set(range(start, start + shared)) for start in range(0, HEADS, shared)]
    keys = sum(group <= gone for group in groups)
    biased_inputs = name in ("llama-bias", "qwen2")
    per_head = 2 * width * 32 + width * biased_inputs
    return len(gone) * per_head + keys * (2 * width * 32 + 2 * width * biased_inputs)


@cases
def test_pruning_drops_the_right_number_of_parameters(name, places):
    model = tiny_decoder(name)
    smaller = al.heads.prune(model, places)
    by_layer = [[place for place in places if place[0] == layer] for layer in range(LAYERS)]
    wanted = sum(numbers_of(name, of_layer) for of_layer in by_layer if of_layer)
    assert model.num_parameters() - smaller.num_parameters() == wanted


@cases
def test_a_pruned_model_writes_what_the_silenced_one_does(name, places):
    model, inputs = tiny_decoder(name), padded_batch("left")
    smaller = al.heads.prune(model, places)
    with al.heads.applied(model, silenced(places)):
        wanted = write(model, inputs)
    assert torch.equal(write(smaller, inputs), wanted)
    found = write(smaller, inputs, cache_implementation="static", disable_compile=True)
    assert torch.equal(found, wanted)
    with al.heads.applied(smaller, neutral()):
        assert torch.equal(write(smaller, inputs), wanted)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_a_pruned_model_can_be_pruned_scaled_recorded_and_checked_further(name):
    model, inputs = tiny_decoder(name), padded_batch()
    first = ONE_A_GROUP
    second = [(0, 0)] if name == "gpt2" else [(0, 0), *A_GROUP]  # what is left of a group
    twice = al.heads.prune(al.heads.prune(model, first), second)
    settings, gone = neutral(), silenced(first + second)
    settings.scale[0, 3], gone.scale[0, 3] = 0.3, 0.3  # heads keep their numbers
    settings.temperature[1, 1], gone.temperature[1, 1] = 2, 2
    found, wanted = logits(twice, inputs, settings), logits(model, inputs, gone)
    assert torch.allclose(at_tokens(found, inputs), at_tokens(wanted, inputs), atol=1e-4)
    mine, whole = (heads.record(one, inputs, gone) for one in (twice, model))
    for small, large in zip(mine, whole, strict=True):
        present = small.weights.flatten(2).any(-1)[0]
        assert torch.allclose(small.weights[:, present], large.weights[:, present], atol=1e-4)
    al.heads.self_check(twice)
    again = al.heads.prune(model, first + second)
    assert again.num_parameters() == twice.num_parameters()


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3"])
def test_groups_that_would_keep_different_numbers_of_heads_are_refused_with_the_cure(name):
    model = tiny_decoder(name)
    with pytest.raises(ModelError, match=r"\[0, 1\], \[2, 3\].*whole groups.*scale 0"):
        al.heads.prune(model, [(1, 0)])
    al.heads.prune(model, [(1, 0), (1, 3)])


def test_a_layer_without_heads_may_be_all_there_is():
    for name in ("gpt2", "llama"):
        model, inputs = tiny_decoder(name), padded_batch("left")
        every = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
        bare = al.heads.prune(model, every)
        found, wanted = logits(bare, inputs), logits(model, inputs, silenced(every))
        assert torch.allclose(at_tokens(found, inputs), at_tokens(wanted, inputs), atol=1e-4)
        write(bare, inputs)
        with pytest.raises(ModelError, match="Every head"):
            al.heads.self_check(bare)


def test_gpt2s_matrix_of_three_is_not_taken_for_one():
    site = heads.sites(tiny_decoder("gpt2"))[0]
    with pytest.raises(ModelError, match="no matrix of value weights alone in a GPT2Attention"):
        _ = site.value
    output = site.output
    assert torch.equal(heads.effective_weight(output, 32), output.weight.T)
    assert not heads.is_plain(output)


# ── files ──────────────────────────────────────────────────────────────────────────────────────

SAVED = [("gpt2", PRUNED["gpt2"][2], True), ("gpt2", PRUNED["gpt2"][0], False)]
SAVED += [("llama", PRUNED["llama"][3], False), ("qwen3", PRUNED["qwen3"][0], True)]


@pytest.mark.parametrize(("name", "places", "tied"), SAVED)
def test_a_pruned_model_comes_back_from_its_folder(name, places, tied, tmp_path):
    model = tiny_decoder(name, tie_word_embeddings=tied)
    smaller = al.heads.prune(model, places)
    smaller.generation_config.max_new_tokens = 5
    smaller.save_pretrained(tmp_path)
    for kind in (AutoModelForCausalLM, type(model)):
        again = al.heads.load_pruned(tmp_path, kind)
        assert heads.removed(again) == sorted(places)
        assert type(again) is type(model)
        inputs = padded_batch("left")
        assert torch.equal(logits(again, inputs), logits(smaller, inputs))
        assert torch.equal(write(again, inputs), write(smaller, inputs))
        assert again.generation_config.max_new_tokens == 5
        words, output = again.get_input_embeddings().weight, again.lm_head.weight
        assert (words is output) == tied
    further = al.heads.prune(again, [(1, head) for head in range(HEADS)])
    assert heads.removed(further) == sorted({*places, *((1, head) for head in range(HEADS))})


def test_a_pruned_model_in_several_files_and_a_short_format_comes_back(tmp_path):
    smaller = al.heads.prune(tiny_decoder("gpt2"), [(0, 1)]).to(torch.bfloat16)
    smaller.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = al.heads.load_pruned(tmp_path, AutoModelForCausalLM)
    assert again.dtype == torch.bfloat16
    for name, tensor in smaller.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_files_that_hold_no_pruned_model_are_refused(tmp_path):
    model = tiny_decoder("gpt2")
    with pytest.raises(ModelError, match=r"no config\.json.*save_pretrained"):
        al.heads.load_pruned(tmp_path, AutoModelForCausalLM)
    model.save_pretrained(tmp_path / "whole")
    with pytest.raises(ModelError, match=r"has all its heads.*from_pretrained"):
        al.heads.load_pruned(tmp_path / "whole", AutoModelForCausalLM)
    al.heads.prune(model, [(0, 1)]).save_pretrained(tmp_path / "pruned")
    weights = tmp_path / "whole" / "model.safetensors"
    (tmp_path / "pruned" / "model.safetensors").write_bytes(weights.read_bytes())
    with pytest.raises(ModelError, match=r"do not fit.*before heads were removed"):
        al.heads.load_pruned(tmp_path / "pruned", AutoModelForCausalLM)
