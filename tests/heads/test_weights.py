"""What a wrapped layer multiplies by is what it does, or the question is refused."""

import copy

import pytest
import torch
from tiny_models import padded, tiny
from torch import nn

import attnlab as al
from attnlab import heads
from attnlab.errors import ModelError


def adapted(config, layer):
    """A layer inside an adapter whose numbers are not neutral."""
    from peft import get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(nn.ModuleDict({"dense": layer}), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "ia3_" in name:
            nn.init.normal_(parameter, std=0.5)
    return model.base_model.model["dense"]


def lora(layer, **options):
    from peft import LoraConfig

    return adapted(LoraConfig(r=2, lora_dropout=0.5, target_modules=["dense"], **options), layer)


def ia3(layer):
    from peft import IA3Config

    return adapted(IA3Config(target_modules=["dense"], feedforward_modules=[]), layer)


def switched_off(layer):
    layer = lora(layer)
    layer.enable_adapters(False)
    return layer


def merged(layer):
    layer = lora(layer)
    layer.merge()
    return layer


def quantised(layer):
    with pytest.warns(DeprecationWarning):
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {nn.Linear})[0]


WRAPPERS = {
    "lora": lora,
    "dora": lambda layer: lora(layer, use_dora=True),
    "ia3": ia3,
    "switched off": switched_off,
    "merged": merged,
    "weight_norm": nn.utils.parametrizations.weight_norm,
    "older weight_norm": lambda layer: nn.utils.weight_norm(layer),
    "quantised": quantised,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrapper", list(WRAPPERS))
def test_the_matrix_of_a_wrapped_layer_is_the_one_it_multiplies_by(wrapper):
    torch.manual_seed(0)
    layer = WRAPPERS[wrapper](nn.Linear(16, 12))
    weight = heads.effective_weight(layer, 16)
    layer.eval()
    given = torch.randn(5, 16)
    with torch.no_grad():
        moved = layer(given) - layer(torch.zeros(1, 16))
    assert not heads.is_plain(layer)
    tolerance = 0.05 if wrapper == "quantised" else 1e-4
    assert torch.allclose(given @ weight.T, moved, atol=tolerance)


def test_a_plain_layer_keeps_its_matrix_and_hooks_that_watch_it_see_nothing():
    layer, seen = nn.Linear(16, 12), []
    layer.register_forward_hook(lambda *call: seen.append(call))
    assert torch.equal(heads.effective_weight(layer, 16), layer.weight)
    assert heads.is_plain(layer)
    assert not seen


def test_an_adapter_with_an_activation_inside_has_no_matrix():
    class Bottleneck(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Linear(16, 4), nn.Linear(4, 16)

        def forward(self, x):
            return x + self.up(torch.relu(self.down(x)))

    with pytest.raises(ModelError, match="Bottleneck is no linear layer"):
        heads.effective_weight(Bottleneck(), 16)


def test_an_adapter_that_is_not_finite_is_named():
    layer = lora(nn.Linear(16, 12))
    layer.lora_A["default"].weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"lora_A\.default\.weight \(1 of 32"):
        heads.effective_weight(layer, 16)


@pytest.fixture
def with_lora():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["query", "value", "dense"])
    model = get_peft_model(tiny("bert"), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def test_self_check_holds_for_an_adapter_that_is_not_merged(with_lora):
    heads.self_check(with_lora)


def test_heads_are_not_cut_out_of_a_wrapped_layer(with_lora):
    """Cutting the matrix inside would leave the adapter behind, and answers would be others."""
    with pytest.raises(ModelError, match="merge_and_unload"):
        al.heads.prune(with_lora, [(0, 1)])
    merged = copy.deepcopy(with_lora).merge_and_unload()
    inputs, silent = padded(merged), al.HeadSettings(3, 4)
    silent.scale[0, 1] = 0
    smaller = al.heads.prune(merged, [(0, 1)])
    found = heads.run(with_lora, inputs, silent)
    assert torch.allclose(heads.run(smaller, inputs), found, atol=1e-4)
    model = tiny("bert")
    nn.utils.parametrizations.weight_norm(model.bert.encoder.layer[1].attention.self.value)
    al.heads.prune(model, [(0, 1)])
    with pytest.raises(ModelError, match="value is no plain Linear"):
        al.heads.prune(model, [(1, 1)])


def test_what_a_head_adds_follows_an_adapter_that_is_switched_off(with_lora):
    inputs, neutral = padded(with_lora.get_base_model()), al.HeadSettings(3, 4)

    def norms(model):
        return torch.stack([layer.norms for layer in heads.record(model, inputs, neutral)])

    on = norms(with_lora)
    with with_lora.disable_adapter():
        off = norms(with_lora)
    plain = norms(tiny("bert"))
    assert torch.allclose(off, plain, rtol=1e-4)
    assert not torch.allclose(on, plain, rtol=1e-2)
