"""Weights in fewer bits, zeros, low rank and shared layers: read back to the last bit."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_classifiers import LITTLE, answering, tiny_classifier
from tiny_models import CONFIGS

import attnlab as al
from attnlab import heads
from attnlab.classification.packing import KINDS, pack, unpack
from attnlab.classification.structure import STRUCTURE, matrices
from attnlab.compression.numbers import clustered, fake_quantized
from attnlab.errors import AttnlabError, AttnlabWarning, DataError, ModelError

FAMILIES = list(CONFIGS)


def logits(clf, texts=LITTLE):
    return clf.logits(clf.encode(texts))


def bytes_of(folder):
    return (folder / "model.safetensors").stat().st_size


def weights(clf, layers_only=True):
    return {
        name: place.module.weight.detach()
        for name, place in matrices(clf.model).items()
        if not layers_only or name[0].isdigit()
    }


@pytest.mark.parametrize("bits", range(2, 9))
def test_rounding_moves_no_weight_by_more_than_half_a_step(bits):
    torch.manual_seed(bits)
    weight = torch.randn(20, 33) * torch.logspace(-12, 6, 20)[:, None]
    weight[3] = 0
    rounded = fake_quantized(weight, bits)
    top = 2 ** (bits - 1) - 1
    step = weight.abs().amax(1, keepdim=True) / top
    assert ((rounded - weight).abs() <= 0.5001 * step).all()
    assert all(len(row.unique()) <= 2 * top + 1 for row in rounded)
    parts = pack(rounded, "integer", bits)
    assert parts is not None
    assert torch.equal(unpack(parts, "integer", bits, (20, 33)), rounded)
    assert parts["codes"].numel() == -(-20 * 33 * bits // 8)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("shape", [(7, 13), (1, 1), (64, 64)])
def test_a_codebook_comes_back_to_the_last_bit(bits, shape):
    torch.manual_seed(0)
    grouped = clustered(torch.randn(shape), bits)
    assert len(grouped.unique()) <= 2**bits
    parts = pack(grouped, "codebook", bits)
    assert parts is not None
    assert torch.equal(unpack(parts, "codebook", bits, shape), grouped)


def test_means_are_those_of_scikit_learn():
    from sklearn.cluster import KMeans

    torch.manual_seed(0)
    weight = torch.randn(40, 50)
    mine = float((clustered(weight, 3) - weight).square().sum())
    numbers = weight.numpy().reshape(-1, 1)
    theirs = KMeans(8, n_init=10, random_state=0).fit(numbers).inertia_
    assert mine == pytest.approx(theirs, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_other_numbers_are_not_packed(kind):
    torch.manual_seed(0)
    weight = torch.randn(30, 30)
    parts = pack(weight, kind, 4)
    if kind == "sparse":
        assert torch.equal(unpack(parts, kind, 4, (30, 30)), weight)
    else:
        assert parts is None


def test_zeros_take_a_bit_each():
    torch.manual_seed(0)
    weight = torch.randn(31, 17)
    weight[torch.rand(31, 17) < 0.8] = 0
    parts = pack(weight, "sparse")
    assert torch.equal(unpack(parts, "sparse", 8, (31, 17)), weight)
    assert parts["present"].numel() == -(-31 * 17 // 8)
    assert parts["values"].numel() == int((weight != 0).sum())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "smaller, of_file",
    [
        (lambda clf: al.compression.quantize(clf, 8), 0.45),
        (lambda clf: al.compression.quantize(clf, 4), 0.35),
        (lambda clf: al.compression.share_weights(clf, 4), 0.4),
        (lambda clf: al.compression.prune_weights(clf, 0.9), 0.6),
        (lambda clf: al.compression.factorize(clf, 4), 0.9),
        (lambda clf: al.compression.quantize(al.compression.factorize(clf, 4), 8), 0.6),
    ],
)
def test_it_is_smaller_in_the_file_and_comes_back_the_same(family, smaller, of_file, tmp_path):
    clf = tiny_classifier(family)
    small = smaller(clf)
    clf.save(tmp_path / "whole")
    small.save(tmp_path / "small")
    assert bytes_of(tmp_path / "small") < of_file * bytes_of(tmp_path / "whole")
    loaded = al.load_classifier(tmp_path / "small")
    assert torch.equal(logits(loaded), logits(small))
    assert al.compression.steps(loaded) == al.compression.steps(small)
    loaded.save(tmp_path / "again")  # what was read is written as it was
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "small")
    assert not torch.equal(logits(small), logits(clf))


def test_whole_numbers_of_eight_bits_hardly_change_the_answers(clf, some, tmp_path):
    small = al.compression.quantize(clf)
    before, after = (one.predict(some.texts).probabilities for one in (clf, small))
    assert np.abs(before - after).max() < 0.05
    small.save(tmp_path)
    assert bytes_of(tmp_path) < 24e6


@pytest.mark.parametrize("by", ["magnitude", "activation", "random"])
@pytest.mark.parametrize("pattern", ["model", "row", "2:4"])
def test_half_of_the_weights_go_in_the_pattern_that_was_asked_for(by, pattern):
    clf, data = answering("bert", 20)
    small = al.compression.prune_weights(clf, 0.5, by=by, pattern=pattern, texts=data.texts)
    zeros = {name: weight == 0 for name, weight in weights(small).items()}
    share = sum(int(one.sum()) for one in zeros.values()) / sum(
        one.numel() for one in zeros.values()
    )
    assert share == pytest.approx(0.5, abs=1e-4)
    for name, zero in zeros.items():
        if pattern == "row":
            assert (zero.sum(1) == zero.shape[1] // 2).all(), name
        if pattern == "2:4":
            assert (zero.view(-1, 4).sum(1) == 2).all(), name
    if by == "magnitude" and pattern == "model":
        kept = min(float(w[w != 0].abs().min()) for w in weights(small).values())
        before = weights(clf)
        gone = max(float(before[name][zero].abs().max()) for name, zero in zeros.items())
        assert gone <= kept
    # embeddings and what stands above the layers are left alone
    for name, weight in weights(small, layers_only=False).items():
        if not name[0].isdigit():
            assert torch.equal(weight, weights(clf, layers_only=False)[name])


def test_wanda_weighs_weights_by_their_inputs():
    """The inputs of the second half of one matrix are made a hundred times larger."""
    clf, data = answering("bert", 20)
    block = heads.feed_forwards(clf.model)[0]
    with torch.no_grad():
        block.up.weight[:32] *= 1e-3
        block.up.bias[:32] *= 1e-3
        block.up.bias[32:] += 5
        block.down.weight.copy_(torch.randn(32, 64).sign() * (1 + 0.01 * torch.rand(32, 64)))
    small = al.compression.prune_weights(clf, 0.5, by="activation", texts=data.texts)
    zero = weights(small)["0.down"] == 0
    assert zero[:, :32].all() and not zero[:, 32:].any()


@pytest.mark.parametrize("part", ["query", "output", "up", "down"])
def test_low_rank_is_the_best_there_is(part):
    clf, data = answering("bert", 120)
    weight = weights(clf)[f"1.{part}"]
    plain = al.compression.factorize(clf, 8, parts=[part])
    module = matrices(plain.model)[f"1.{part}"].module
    error = (module.up.weight @ module.down.weight - weight).square().sum().detach()
    singular = torch.linalg.svdvals(weight)
    assert float(error) == pytest.approx(float(singular[8:].square().sum()), rel=1e-3)

    def output_error(small):
        seen = {}
        for name, one in (("whole", clf), ("small", small)):
            module = matrices(one.model)[f"0.{part}"].module
            handle = module.register_forward_hook(
                lambda module, inputs, out, name=name: seen.setdefault(name, out)
            )
            batch = one.encode(data.texts[:40]).batch(range(40))
            heads.run(one, batch, None)
            handle.remove()
        real = batch["attention_mask"].bool()
        return float((seen["whole"] - seen["small"])[real].detach().square().mean())

    calibrated = al.compression.factorize(clf, 8, parts=[part], texts=data.texts)
    assert output_error(calibrated) < output_error(plain)


def test_layers_that_share_are_one_module(tmp_path):
    clf = tiny_classifier("bert")
    shared = al.compression.share_layers(clf, [[0, 1]])
    layers = heads.layer_list(shared.model)
    assert layers[0] is layers[1] and layers[2] is not layers[0]
    assert shared.parameters() < clf.parameters()
    by_hand = tiny_classifier("bert")
    heads.layer_list(by_hand.model)[1].load_state_dict(heads.layer_list(clf.model)[0].state_dict())
    for name in ("embeddings", "pooler"):
        getattr(by_hand.model.bert, name).load_state_dict(
            getattr(clf.model.bert, name).state_dict()
        )
    by_hand.model.load_state_dict(
        clf.model.state_dict()
        | {
            key.replace("layer.0.", "layer.1."): value
            for key, value in clf.model.state_dict().items()
            if "layer.0." in key
        }
    )
    assert torch.equal(logits(shared), logits(by_hand))
    shared.save(tmp_path / "shared")
    clf.save(tmp_path / "whole")
    assert bytes_of(tmp_path / "shared") < 0.85 * bytes_of(tmp_path / "whole")
    loaded = al.load_classifier(tmp_path / "shared")
    assert torch.equal(logits(loaded), logits(shared))
    assert loaded.parameters() == shared.parameters()
    quantized = al.compression.quantize(loaded)
    quantized.save(tmp_path / "both")
    assert torch.equal(logits(al.load_classifier(tmp_path / "both")), logits(quantized))
    left = al.compression.prune_layers(quantized, keep=[1, 2])
    left.save(tmp_path / "left")
    assert torch.equal(logits(al.load_classifier(tmp_path / "left")), logits(left))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda c, clf: c.quantize(clf, 1), "from 2 to 8"),
        (lambda c, clf: c.quantize(clf, 9), "from 2 to 8"),
        (lambda c, clf: c.share_weights(clf, 0), "from 1 to 8"),
        (lambda c, clf: c.prune_weights(clf, 1.0), "from 0 to below 1"),
        (lambda c, clf: c.prune_weights(clf, 0.4, pattern="2:4"), "share=0.5 only"),
        (lambda c, clf: c.prune_weights(clf, by="size"), "There is no 'size'"),
        (lambda c, clf: c.factorize(clf, 32), "does not make 0.up"),
        (lambda c, clf: c.factorize(clf, 0), "does not make 0.up"),
        (lambda c, clf: c.factorize(clf), "Say either rank="),
        (lambda c, clf: c.factorize(clf, 4, parts=["pooler"]), "expected some of query"),
        (lambda c, clf: c.factorize(c.factorize(clf, 4), 4), "no plain matrix"),
        (
            lambda c, clf: c.prune_neurons(c.factorize(clf, 4), 0.5, by="random"),
            "Remove neurons before",
        ),
        (lambda c, clf: c.share_layers(clf, [[0, 9]]), "layers from 0 to 2"),
        (lambda c, clf: c.share_layers(clf, [[0, 1], [1, 2]]), "in one group at most"),
    ],
)
def test_what_cannot_be_done_is_said(call, message):
    with pytest.raises(AttnlabError) as told:
        call(al.compression, tiny_classifier("bert"))
    assert message in str(told.value)


def test_calibration_without_texts_is_refused():
    with pytest.raises(DataError, match="Calibration texts are missing"):
        al.compression.prune_weights(tiny_classifier("bert"), by="activation")
    with pytest.raises(DataError, match="Calibration texts are missing"):
        al.compression.factorize(tiny_classifier("bert"), 4, texts=[])


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: tensors.pop("bert.encoder.layer.0.output.dense.weight.codes"),
        lambda tensors: tensors.pop("bert.encoder.layer.0.output.dense.weight.steps"),
        lambda tensors: tensors.update(
            {"bert.encoder.layer.0.output.dense.weight.codes": torch.zeros(5, dtype=torch.uint8)}
        ),
    ],
)
def test_a_file_whose_parts_are_missing_is_refused(damage, tmp_path):
    al.compression.quantize(tiny_classifier("bert"), 6).save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    damage(tensors)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"do not fit config\.json"):
        al.load_classifier(tmp_path)


def test_a_configuration_that_was_changed_is_refused(tmp_path):
    al.compression.factorize(tiny_classifier("bert"), 4).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config[STRUCTURE]["low_rank"]["0.up"] = 5
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        al.load_classifier(tmp_path)


def test_zeros_that_were_written_go_back_to_whole_numbers(tmp_path):
    """The last way of writing holds: zeros, then a codebook that has a zero in it."""
    clf = al.compression.prune_weights(tiny_classifier("bert"), 0.9)
    shared = al.compression.share_weights(clf, 2)
    shared.save(tmp_path)
    assert torch.equal(logits(al.load_classifier(tmp_path)), logits(shared))
    with pytest.warns(AttnlabWarning, match="have changed"):
        al.compression.prune_neurons(al.compression.quantize(clf, 8), 0.5, by="random").save(
            tmp_path / "later"
        )
