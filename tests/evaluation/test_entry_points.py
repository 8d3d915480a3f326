"""What one entry point refuses, all refuse; what one answers, none answers by chance.

Every public way to ask a model is tried on models in a state that once went unnoticed by some.
"""

import copy

import numpy as np
import pytest
import torch
from tiny_classifiers import LITTLE, tiny_classifier, words_to_ids
from tiny_models import CONFIGS
from transformers import AutoModelForTokenClassification

import attnlab as al
from attnlab import balance, evaluation, heads, translation
from attnlab.errors import AttnlabError, ModelError
from attnlab.evaluation.ablation import ablate

pytestmark = pytest.mark.filterwarnings("ignore::attnlab.errors.AttnlabWarning")
DATA = al.TextDataset(LITTLE, [0, 1, 2, 0], ["bad", "fair", "good"], "little")


def recorded(clf):
    recorder = balance.Recorder(LITTLE, every=1)
    recorder(clf, 0)
    return recorder.table["value"].to_numpy()


ASKED = {
    "predict": lambda clf: clf.predict(LITTLE).probabilities,
    "predict with settings": lambda clf: clf.predict(LITTLE, clf.settings()).probabilities,
    "logits": lambda clf: clf.logits(clf.encode(LITTLE)),
    "attend": lambda clf: clf.attend(LITTLE[0]).contributions,
    "run": lambda clf: heads.run(clf, clf.encode(LITTLE).batch(range(4))).detach(),
    "score": lambda clf: al.Evaluator(clf, DATA).score().losses,
    "stream": lambda clf: al.Evaluator(clf, DATA).stream().advance().score.losses,
    "gradients": lambda clf: al.Evaluator(clf, DATA).gradients(),
    "estimate": lambda clf: al.Evaluator(clf, DATA).estimate(),
    "preview": lambda clf: [al.Evaluator(clf, DATA).preview(clf.settings())],
    "ablate": lambda clf: ablate(al.Evaluator(clf, DATA))["loss"],
    "pruning_curve": lambda clf: al.pruning_curve(al.Evaluator(clf, DATA), steps=1)["loss"],
    "report": lambda clf: [al.report(clf, DATA).calibration_error],
    "profiles": lambda clf: evaluation.profiles(clf, LITTLE)["contribution"],
    "token_gradients": lambda clf: evaluation.token_gradients(clf, LITTLE[0]),
    "token_ablation": lambda clf: evaluation.token_ablation(clf, LITTLE[0])[1:-1],
    "explanations": lambda clf: evaluation.explanations(clf, LITTLE[0])["rollout"],
    "agreement": lambda clf: evaluation.agreement(clf, LITTLE, draws=9)["correlation"],
    "balance.measure": lambda clf: balance.measure(clf, LITTLE).table["mean"],
    "balance.similarity": lambda clf: balance.similarity(clf, LITTLE).cka,
    "balance.Recorder": recorded,
    "balance.adjust": lambda clf: balance.adjust(clf, DATA, "random", trials=1).settings.scale,
}
BY_GRADIENTS = ("gradients", "estimate", "preview", "pruning_curve", "token_gradients")
BY_GRADIENTS += ("explanations", "agreement")
asked = pytest.mark.parametrize("ask", list(ASKED))


@pytest.fixture(scope="module")
def whole():
    return tiny_classifier("bert")


def answer(ask, clf):
    torch.manual_seed(0)
    return np.asarray(ASKED[ask](clf), dtype=float)


@asked
def test_a_model_in_training_answers_without_dropout_and_goes_on_training(whole, ask):
    wanted = answer(ask, whole)
    clf = whole.with_model(copy.deepcopy(whole.model))
    clf.model.train()
    clf.model.bert.encoder.layer[1].eval()  # a part that its owner keeps still
    modes = [module.training for module in clf.model.modules()]
    assert np.array_equal(answer(ask, clf), wanted, equal_nan=True)
    assert [module.training for module in clf.model.modules()] == modes


@asked
def test_dropout_in_a_part_of_the_model_does_not_count_either(whole, ask):
    clf = whole.with_model(copy.deepcopy(whole.model))
    clf.model.bert.encoder.layer[1].train()  # the model itself says it is not training
    assert np.array_equal(answer(ask, clf), answer(ask, whole), equal_nan=True)


@asked
@pytest.mark.parametrize(
    ("number", "name"),
    [
        (torch.nan, "bert.encoder.layer.1.attention.self.value.weight"),
        (torch.inf, "bert.encoder.layer.2.attention.output.dense.weight"),
    ],
)
def test_a_weight_that_is_not_finite_is_named(whole, ask, number, name):
    clf = whole.with_model(copy.deepcopy(whole.model))
    clf.model.get_parameter(name).data.view(-1)[3] = number
    with pytest.raises(AttnlabError, match=name.replace(".", r"\.")):
        answer(ask, clf)


@asked
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_another_number_format_answers_nearly_alike(whole, ask, dtype):
    clf = whole.with_model(copy.deepcopy(whole.model).to(dtype))
    found, wanted = answer(ask, clf), answer(ask, whole)
    assert found.shape == wanted.shape
    assert np.isfinite(found).sum() == np.isfinite(wanted).sum()
    if ask in ("predict", "logits", "attend", "run", "score", "profiles"):
        assert np.allclose(found, wanted, atol=0.15, rtol=0.15, equal_nan=True)


@asked
def test_an_adapter_that_is_not_merged_counts_as_one_that_is(whole, ask):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["query", "value", "dense"], lora_dropout=0.5)
    adapted = get_peft_model(copy.deepcopy(whole.model), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    clf = whole.with_model(adapted)
    clf.model.train()
    found = answer(ask, clf)
    wanted = answer(ask, whole.with_model(copy.deepcopy(adapted).eval().merge_and_unload()))
    if ask == "balance.Recorder":  # gradients of the head's own weights: there are none
        assert np.isfinite(found).sum() == np.isfinite(wanted).sum()
    assert np.allclose(found, wanted, rtol=2e-3, atol=2e-3, equal_nan=True)
    with adapted.disable_adapter():
        plain = answer(ask, clf)
    assert np.allclose(plain, answer(ask, whole), rtol=2e-3, atol=2e-3, equal_nan=True)


@pytest.mark.filterwarnings("ignore:torch.ao:DeprecationWarning")
@asked
def test_a_quantised_model_is_asked_as_it_computes(whole, ask):
    clf = whole.with_model(copy.deepcopy(whole.model))
    kinds = {torch.nn.Linear}
    torch.ao.quantization.quantize_dynamic(clf.model.bert.encoder, kinds, inplace=True)
    if ask in BY_GRADIENTS:  # quantised layers pass none
        with pytest.raises(ModelError, match="before it was quantised"):
            answer(ask, clf)
        return
    found, wanted = answer(ask, clf), answer(ask, whole)
    assert found.shape == wanted.shape
    assert ask == "balance.Recorder" or np.isfinite(found).sum() == np.isfinite(wanted).sum()
    if ask in ("predict", "logits", "attend", "run", "score", "profiles"):
        assert np.allclose(found, wanted, atol=0.3, rtol=0.3, equal_nan=True)


@asked
def test_a_control_that_is_gone_is_not_asked(whole, ask):
    """Attention set to another implementation by hand: settings act, or the call is refused."""
    clf = whole.with_model(copy.deepcopy(whole.model))
    wanted = answer(ask, whole)
    clf.model.set_attn_implementation("eager")
    assert np.allclose(answer(ask, clf), wanted, rtol=1e-3, atol=1e-3, equal_nan=True)
    silent = clf.settings()
    silent.scale[1] = 0
    with heads.applied(whole, silent):
        acted = whole.predict(LITTLE).probabilities
    assert np.allclose(clf.predict(LITTLE, silent).probabilities, acted, atol=1e-5)
    assert clf.model.config._attn_implementation == "eager"


def test_weights_of_formats_that_do_not_go_together_are_explained(whole):
    clf = whole.with_model(copy.deepcopy(whole.model).half())
    clf.model.bert.encoder.layer[1].float()
    with pytest.raises(ModelError, match="float16 and float32"):
        clf.predict(LITTLE)


def test_an_ablation_that_needs_the_engine_says_why_there_is_none_in_bfloat16(whole):
    clf = whole.with_model(copy.deepcopy(whole.model).bfloat16())
    with pytest.raises(ModelError, match=r"bfloat16.*clf\.model\.float"):
        ablate(al.Evaluator(clf, DATA), method="mean")


def test_what_was_remembered_of_an_adapter_is_forgotten_when_it_is_switched_off(whole):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    adapted = get_peft_model(copy.deepcopy(whole.model), LoraConfig(target_modules=["dense"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    ev = al.Evaluator(whole.with_model(adapted), DATA)
    on = ev.gradients()
    with adapted.disable_adapter():
        off = ev.gradients()
    assert not np.allclose(on, off)
    assert np.allclose(ev.gradients(), on)


def test_how_far_an_adapter_that_is_not_merged_moved_is_not_guessed(whole):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(copy.deepcopy(whole.model), LoraConfig(target_modules=["query"]))
    with pytest.raises(ModelError, match="merge_and_unload"):
        evaluation.layer_movement(whole, adapted)


# ── taggers and translators ────────────────────────────────────────────────────────────────────

WORDS = [["the", "film", "is", "dull"], ["loud"]]


@pytest.fixture(scope="module")
def tagger():
    model = AutoModelForTokenClassification.from_config(CONFIGS["bert"]())
    return al.Tagger(model, words_to_ids(0), ["O", "B-thing", "I-thing"])


def tagged(tagger):
    return np.concatenate(tagger.log_probabilities(tagger.encode(WORDS)))


def test_a_tagger_is_asked_like_a_classifier(tagger):
    wanted = tagged(tagger)
    other = tagger.with_model(copy.deepcopy(tagger.model))
    other.model.train()
    assert np.array_equal(tagged(other), wanted)
    assert other.model.training
    assert np.allclose(
        tagged(tagger.with_model(copy.deepcopy(other.model).half())), wanted, atol=0.1
    )
    silent = tagger.settings()
    silent.scale[0] = 0
    with heads.applied(tagger, silent):
        assert not np.allclose(tagged(tagger), wanted, atol=1e-4)
    with (
        heads.applied(tagger, al.HeadSettings.stack([silent] * 2)),
        pytest.raises(AttnlabError, match="one setting for all texts"),
    ):
        tagged(tagger)
    other.model.classifier.bias.data[0] = torch.nan
    for ask in (tagged, lambda tagger: tagger.predict(WORDS), lambda tagger: tagger.tag(["dull"])):
        with pytest.raises(ModelError, match=r"classifier\.bias"):
            ask(other)


PAIR = ("en: March 3, 2021", "2021-03-03")
TRANSLATED = {
    "translate": lambda translator: translator.translate([PAIR[0]]),
    "beams": lambda translator: translator.translate([PAIR[0]], num_beams=2),
    "attend": lambda translator: translator.attend(*PAIR).cross.contributions,
    "alignment": lambda translator: (
        translation.alignment_accuracy(
            translator, al.datasets.load("dates").dev.select([0, 1])
        ).accuracy
    ),
}


@pytest.mark.parametrize("ask", list(TRANSLATED))
def test_a_translator_is_asked_without_dropout_and_its_numbers_are_checked(ask):
    translator = al.load_translator("dates")
    wanted = TRANSLATED[ask](translator)
    translator.model.train()
    translator.model.encoder[0].eval()
    assert np.array_equal(TRANSLATED[ask](translator), wanted)
    assert translator.model.training
    assert not translator.model.encoder[0].training
    assert np.shape(TRANSLATED[ask](translator)) == np.shape(wanted)
    translator.model.decoder[0].cross_attention.value.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"decoder\.0\.cross_attention\.value\.weight"):
        TRANSLATED[ask](translator)


def test_what_a_wrapped_projection_of_a_translator_adds_is_what_it_does():
    translator = al.load_translator("dates")
    before = translator.attend(*PAIR).cross.contributions
    for layer in translator.model.decoder:
        torch.nn.utils.parametrizations.weight_norm(layer.cross_attention.output)
    assert torch.allclose(translator.attend(*PAIR).cross.contributions, before, atol=1e-4)
