"""The control of the heads is real: each claim against an independent computation."""

import threading

import pytest
import torch
from tiny_models import CONFIGS, DEVICES, padded, tiny
from transformers import AutoModel, AutoModelForTokenClassification, DebertaV2Config, MPNetConfig
from transformers import AutoModelForSequenceClassification as ForSequences

import attnlab as al
from attnlab import heads
from attnlab.errors import AttnlabError, ModelError, SettingsError
from attnlab.heads import control
from attnlab.heads.families import sharing_layers

families = pytest.mark.parametrize("family", list(CONFIGS))
devices = pytest.mark.parametrize("device", DEVICES)


def logits(model, inputs, settings=None):
    with torch.no_grad():
        if settings is None:
            return model(**inputs).logits
        with al.heads.applied(model, settings):
            return model(**inputs).logits


def neutral(model):
    return al.HeadSettings(*heads.size(model))


def silenced(model, places):
    settings = neutral(model)
    for layer, head in places:
        settings.scale[layer, head] = 0
    return settings


@families
@devices
def test_self_check_holds(family, device):
    model = tiny(family, device)
    report = al.heads.self_check(model)
    assert report["neutral - untouched"] == 0
    assert report["afterwards - before"] == 0
    assert report["scale 0 - neutral"] > 1e-3


def test_self_check_tries_the_head_that_is_asked_for():
    model = tiny("bert")
    cut = [al.heads.self_check(model, head_id=(layer, 0)) for layer in (0, 2)]
    assert len({report["scale 0 - neutral"] for report in cut}) == 2
    with pytest.raises(SettingsError, match="no head"):
        al.heads.self_check(model, head_id=(3, 0))


@families
def test_neutral_is_sdpa_on_padded_batches(family):
    model = tiny(family)
    inputs = padded(model)
    plain = logits(model, inputs)  # the library's own attention
    assert torch.allclose(logits(model, inputs, neutral(model)), plain, atol=1e-5)


@families
def test_padding_does_not_change_the_answer(family):
    """The trap: without the matching mask function the padding mask is lost silently."""
    model = tiny(family)
    inputs = padded(model)
    settings = neutral(model)
    settings.temperature[0, 1] = 2
    together = logits(model, inputs, settings)
    for row in range(3):
        length = int(inputs["attention_mask"][row].sum())
        alone = {name: one[row : row + 1, :length] for name, one in inputs.items()}
        assert torch.allclose(logits(model, alone, settings)[0], together[row], atol=1e-5)


@families
def test_the_library_with_its_own_eager_attention_agrees(family):
    """An oracle for scale and temperature that shares no code: change the projections by hand."""
    model = tiny(family)
    inputs = padded(model)
    settings = neutral(model)
    layer, head = 1, 2
    partners = sharing_layers(model, layer)
    settings.scale[partners, head] = 1.7
    settings.temperature[partners, head] = 0.4
    wanted = logits(model, inputs, settings)
    site = heads.sites(model)[layer]
    rows = slice(head * 8, head * 8 + 8)
    query = getattr(site.module, site.query)
    with torch.no_grad():
        query.weight[rows] /= 0.4  # dividing the scores by 0.4
        query.bias[rows] /= 0.4
        site.output.weight[:, rows] *= 1.7  # scaling what leaves the head
    model.set_attn_implementation("eager")
    assert torch.allclose(logits(model, inputs), wanted, atol=1e-4)


@families
def test_one_setting_per_batch_row(family):
    model = tiny(family)
    inputs = padded(model)
    each = [neutral(model), silenced(model, [(0, 1), (2, 3)]), neutral(model)]
    each[2].temperature[1, 0] = 3
    together = logits(model, inputs, al.HeadSettings.stack(each))
    for row, one in enumerate(each):
        assert torch.allclose(together[row], logits(model, inputs, one)[row], atol=1e-5)


@families
@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_scale_and_temperature_and_are_right(family, training):
    model = tiny(family)
    model.train(training)
    for module in model.modules():  # the comparison below needs the same pass twice
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inputs = padded(model) | {"labels": torch.tensor([0, 1, 2])}
    settings = neutral(model)
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
        assert slope == pytest.approx(float(tensor.grad[1, 1]), rel=0.05, abs=1e-4)


@devices
def test_bfloat16_is_close_to_float32(device):
    model = tiny("bert", device)
    inputs = padded(model)
    settings = silenced(model, [(0, 0)])
    settings.temperature[1] = 2
    exact = logits(model, inputs, settings)
    with torch.autocast(device, dtype=torch.bfloat16):
        fast = logits(model, inputs, settings)
    assert fast.dtype == torch.bfloat16
    assert torch.allclose(fast.float(), exact, atol=0.1 * float(exact.abs().max()))


@families
def test_afterwards_nothing_is_left_even_after_an_error(family):
    model = tiny(family)
    inputs = padded(model)
    before = logits(model, inputs)
    implementation = model.config._attn_implementation
    with pytest.raises(ZeroDivisionError), al.heads.applied(model, silenced(model, [(0, 0)])):
        raise ZeroDivisionError
    assert torch.equal(logits(model, inputs), before)
    assert model.config._attn_implementation == implementation
    assert not model.base_model._forward_pre_hooks


def test_the_inner_of_two_blocks_holds():
    model = tiny("bert")
    inputs = padded(model)
    outer, inner = silenced(model, [(0, 0)]), silenced(model, [(2, 1)])
    wanted = logits(model, inputs, inner)
    with al.heads.applied(model, outer):
        assert torch.equal(logits(model, inputs, inner), wanted)


def test_settings_of_a_call_are_not_seen_by_another_thread():
    model = heads.attach(tiny("bert"))
    inputs = padded(model)
    wanted = logits(model, inputs)
    settings = silenced(model, [(0, 0), (1, 1)])
    stop, wrong = threading.Event(), []

    def other():
        while not stop.is_set():
            with torch.no_grad():
                model(**inputs, **heads.keywords(model, settings))

    thread = threading.Thread(target=other)
    thread.start()
    for _ in range(30):
        wrong.append(not torch.equal(logits(model, inputs), wanted))
    stop.set()
    thread.join()
    assert not any(wrong)


def test_a_block_holds_in_its_own_thread_and_a_call_of_another_that_says_nothing_is_refused():
    """A desk reads heads in its own thread while a cell measures: their settings stay apart."""
    model = heads.attach(tiny("bert"))
    inputs, settings = padded(model), silenced(model, [(0, 0), (1, 1)])
    plain, wanted = logits(model, inputs), logits(model, inputs, settings)
    inside, done, seen = threading.Event(), threading.Event(), {}

    def other():
        with al.heads.applied(model, settings):
            inside.set()
            assert done.wait(30)
            seen["settings"], seen["logits"] = heads.current(model), logits(model, inputs)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(30)
    assert heads.current(model) is None
    assert torch.equal(heads.run(model, inputs, neutral(model)), plain)
    with torch.no_grad():
        assert torch.equal(model(**inputs, **heads.keywords(model, None)).logits, plain)
    for raw in (logits, heads.run):
        with pytest.raises(ModelError, match="another thread"):
            raw(model, inputs)
    with al.heads.applied(model, neutral(model)):  # leaves before the other block does
        done.set()
        thread.join()
        assert heads.current(model).is_neutral()
    assert seen["settings"] is settings
    assert torch.equal(seen["logits"], wanted)
    assert heads.current(model) is None


@families
def test_scale_leaves_its_own_layers_weights_and_temperature_moves_them(family):
    model = tiny(family)
    inputs = padded(model)

    def weights(settings):
        return [layer.weights for layer in heads.record(model, inputs, settings)]

    base = weights(neutral(model))
    scaled = weights(silenced(model, [(1, 0)]))
    settings = neutral(model)
    settings.temperature[1, 0] = 3
    warm = weights(settings)
    assert torch.equal(scaled[1], base[1])
    assert not torch.equal(scaled[2], base[2])
    assert not torch.equal(warm[1][:, 0], base[1][:, 0])
    assert torch.equal(warm[1][:, 1:], base[1][:, 1:])


def test_output_attentions_gives_weights():
    model = heads.attach(tiny("bert"))
    inputs = padded(model)
    ours = model(**inputs, output_attentions=True).attentions
    model.set_attn_implementation("eager")
    theirs = model(**inputs, output_attentions=True).attentions
    assert len(ours) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_bare_encoders_and_token_classifiers_work():
    config = CONFIGS["bert"]()
    for kind in (AutoModel, AutoModelForTokenClassification):
        al.heads.self_check(kind.from_config(config).eval())


@pytest.mark.parametrize("config", [MPNetConfig, DebertaV2Config])
def test_families_out_of_reach_are_refused_by_name(config):
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 60}
    model = ForSequences.from_config(config(intermediate_size=32, **small))
    with pytest.raises(ModelError, match=model.config.model_type):
        al.heads.self_check(model)
    with pytest.raises(ModelError, match="Classifier or a Transformers model"):
        al.heads.self_check("movie-sentiment")


def test_settings_that_do_not_fit_are_refused_before_anything_runs():
    model = tiny("bert")
    with (
        pytest.raises(SettingsError, match="3 layers of 4 heads"),
        al.heads.applied(model, al.HeadSettings(6, 12)),
    ):
        pass
    stack = al.HeadSettings.stack([neutral(model)] * 2)
    with pytest.raises(SettingsError, match="2 settings for a batch of 3"):
        logits(model, padded(model), stack)


# ── for good ───────────────────────────────────────────────────────────────────────────────────

SOME = [(0, 1), (0, 2), (2, 0)]
WHOLE_LAYER = [(1, 0), (1, 1), (1, 2), (1, 3)]


@families
@devices
@pytest.mark.parametrize(
    "places", [SOME, WHOLE_LAYER, SOME + WHOLE_LAYER], ids=["some", "layer", "both"]
)
def test_pruning_equals_silencing_and_drops_the_right_number_of_parameters(family, device, places):
    model = tiny(family, device)
    if family == "albert-shared":
        places = [
            (layer, head) for layer in range(3) for head in sorted({head for _, head in places})
        ]
    inputs = padded(model)
    smaller = al.heads.prune(model, places)
    for implementation in ("sdpa", "eager", control.NAME):
        smaller.set_attn_implementation(implementation)
        assert torch.allclose(
            logits(smaller, inputs), logits(model, inputs, silenced(model, places)), atol=1e-5
        )
    per_head = 4 * 8 * 32 + 3 * 8  # query, key, value, output; three biases
    stored = len({(id(heads.sites(model)[layer].module), head) for layer, head in places})
    assert model.num_parameters() - smaller.num_parameters() == stored * per_head
    assert heads.removed(smaller) == sorted(places)
    assert heads.removed(model) == []


@families
def test_a_pruned_model_can_be_pruned_scaled_and_checked_further(family):
    model = tiny(family)
    every = range(3) if family == "albert-shared" else [0]
    first, second = [(layer, 1) for layer in every], [(layer, 3) for layer in every]
    twice = al.heads.prune(al.heads.prune(model, first), second)
    inputs = padded(model)
    settings = silenced(model, first + second)
    assert torch.allclose(logits(twice, inputs), logits(model, inputs, settings), atol=1e-5)
    settings = neutral(model)
    settings.scale[0, 2] = 0.3  # heads keep their numbers
    both = silenced(model, first + second)
    both.scale[0, 2] = 0.3
    assert torch.allclose(logits(twice, inputs, settings), logits(model, inputs, both), atol=1e-5)
    al.heads.self_check(twice)


def test_every_head_may_go():
    model = tiny("bert")
    places = [(layer, head) for layer in range(3) for head in range(4)]
    bare = al.heads.prune(model, places)
    inputs = padded(model)
    assert torch.allclose(
        logits(bare, inputs), logits(model, inputs, silenced(model, places)), atol=1e-5
    )
    with pytest.raises(ModelError, match="Every head"):
        al.heads.self_check(bare)


@families
def test_a_pruned_model_comes_back_from_its_folder(family, tmp_path):
    layers = range(3) if family == "albert-shared" else [0]
    model = al.heads.prune(tiny(family), [(layer, head) for layer in layers for head in (1, 2)])
    model.save_pretrained(tmp_path)
    again = al.heads.load_pruned(tmp_path, ForSequences)
    assert heads.removed(again) == heads.removed(model)
    assert torch.equal(logits(again, padded(model)), logits(model, padded(model)))


def test_a_head_that_is_not_there_cannot_be_removed():
    with pytest.raises(ModelError, match=r"\(3, 0\)"):
        al.heads.prune(tiny("bert"), [(3, 0)])


def test_a_shared_layer_cannot_lose_a_head_alone():
    with pytest.raises(ModelError, match="share their parameters"):
        al.heads.prune(tiny("albert-shared"), [(0, 1)])


def test_self_check_finds_a_model_whose_control_is_broken(monkeypatch):
    model = tiny("bert")
    honest = control.HeadControl.factors

    def forgetful(self, layer, like):
        scale, sharpness = honest(self, layer, like)
        return torch.ones_like(scale), sharpness

    monkeypatch.setattr(control.HeadControl, "factors", forgetful)
    with pytest.raises(AttnlabError, match="not to be trusted"):
        al.heads.self_check(model)


def test_an_adapter_that_is_not_merged_counts_in_what_a_head_adds():
    """While LoRA trains, recorded norms are those of the model as it answers."""
    from peft import LoraConfig, get_peft_model

    model = tiny("bert")
    inputs = padded(model)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["dense"]))
    with torch.no_grad():
        for name, one in adapted.named_parameters():
            if "lora_B" in name:
                one.normal_(generator=torch.Generator().manual_seed(0))
    before = heads.record(adapted, inputs, neutral(adapted))
    merged = adapted.merge_and_unload()
    after = heads.record(merged, inputs, neutral(merged))
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one.norms, other.norms, rtol=1e-3)


class Exported(heads.WithoutWeights):
    """What runs elsewhere, with a model that says so."""

    layers, heads, removed_heads = 2, 3, ((1, 2), (0, 1))

    @property
    def model(self):
        raise ModelError("no PyTorch weights")


def test_a_classifier_without_weights_says_which_heads_it_has_and_refuses_the_rest():
    target = Exported()
    assert heads.size(target) == (2, 3)
    assert heads.removed(target) == [(0, 1), (1, 2)]
    assert heads.active_heads(target, 1) == [0, 1]
    assert heads.in_force(target) is None
    for asked in (lambda: heads.prune(target, [(0, 0)]), lambda: heads.model_of(target)):
        with pytest.raises(ModelError, match="no PyTorch weights"):
            asked()
