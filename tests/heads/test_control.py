"""The control acts wherever the forward pass runs and however, or the call is refused."""

import asyncio
import copy
import threading

import pytest
import torch
from tiny_models import CONFIGS, padded, tiny
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertLMHeadModel

import attnlab as al
from attnlab import heads
from attnlab.errors import AttnlabError, ModelError

families = pytest.mark.parametrize("family", ["bert", "distilbert", "albert-shared"])
every_family = pytest.mark.parametrize("family", list(CONFIGS))


def changed(model):
    settings = al.HeadSettings(*heads.size(model))
    settings.scale[0, 1], settings.temperature[1, 2] = 0, 3
    return settings


def answer(model, inputs, settings=None):
    with torch.no_grad():
        return model(**inputs, **({} if settings is None else heads.keywords(model, settings)))[0]


class Case:
    """A model, a batch, and what it answers with the settings, and as it stands."""

    def __init__(self, family):
        self.model = tiny(family)
        self.inputs, self.settings = padded(self.model), changed(self.model)
        self.plain = answer(self.model, self.inputs)
        other = heads.attach(tiny(family))
        self.wanted = answer(other, self.inputs, self.settings)
        assert not torch.allclose(self.wanted, self.plain, atol=1e-3)

    def acts(self, call=None):
        return torch.allclose(
            answer(self.model if call is None else call, self.inputs), self.wanted, atol=1e-5
        )

    def rests(self, call=None):
        return torch.allclose(
            answer(self.model if call is None else call, self.inputs), self.plain, atol=1e-5
        )


def in_thread(call):
    found = []

    def run():
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


# ── compiled ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", ["bert", "albert-shared"])
def test_it_acts_in_a_compiled_model(family):
    case = Case(family)
    torch._dynamo.reset()
    if family == "bert":  # as a Classifier does: nothing is compiled anew then
        heads.attach(case.model)
    compiled = torch.compile(case.model, backend="eager")
    assert case.rests(compiled)
    for target in (case.model, compiled):
        with al.heads.applied(target, case.settings):
            assert case.acts(compiled)
        with al.heads.applied(target, al.HeadSettings(3, 4)):
            assert case.rests(compiled)
    assert case.rests(compiled)
    heads.attach(case.model)
    found = answer(compiled, case.inputs, case.settings)
    assert torch.allclose(found, case.wanted, atol=1e-5)
    assert torch.allclose(heads.run(compiled, case.inputs, case.settings), found)


def test_it_acts_where_a_model_was_compiled_in_place_and_in_a_compiled_function():
    case = Case("bert")
    torch._dynamo.reset()
    case.model.compile(backend="eager")
    assert case.rests()
    with al.heads.applied(case.model, case.settings):
        assert case.acts()
    assert case.rests()

    @torch.compile(backend="eager")
    def ask(settings):
        with al.heads.applied(case.model, settings):
            return case.model(**case.inputs).logits

    assert torch.allclose(ask(case.settings), case.wanted, atol=1e-5)
    assert torch.allclose(ask(al.HeadSettings(3, 4)), case.plain, atol=1e-5)


def test_it_acts_where_forward_is_called_by_hand():
    case = Case("bert")
    base = case.model.base_model
    with torch.no_grad(), al.heads.applied(base, case.settings):
        inside, called = base.forward(**case.inputs)[0], base(**case.inputs)[0]
    assert torch.equal(inside, called)
    assert not torch.allclose(inside, answer(base, case.inputs))


# ── gradients, when a part is computed again ───────────────────────────────────────────────────


def gradients(model, inputs, checkpointing, backward_in_block, spoil=False):
    """Gradients of scale and temperature, and of the weights of the encoder."""
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
    settings = changed(model)
    settings.scale.requires_grad_()
    settings.temperature.requires_grad_()
    with al.heads.applied(model, settings):
        loss = model(**inputs).logits.square().sum()
        if backward_in_block:
            loss.backward()
    if spoil:
        settings.scale.data[:], settings.temperature.data[:] = 1, 1
    if not backward_in_block:
        loss.backward()
    weights = [site.output.weight.grad for site in heads.sites(model)]
    return [settings.scale.grad, settings.temperature.grad, *weights]


@pytest.mark.filterwarnings("ignore:.*requires_grad=True:UserWarning")
@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_are_right_with_gradient_checkpointing_also_after_the_block(
    family, attached, reentrant
):
    model = tiny(family)
    inputs = padded(model)
    wanted = gradients(model, inputs, None, True)
    if attached:
        heads.attach(model)
    for inside, spoil in ((True, False), (False, False), (False, True)):
        found = gradients(model, inputs, reentrant, inside, spoil)
        for one, other in zip(found, wanted, strict=True):
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-3)


@families
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_pass_that_will_be_computed_again_is_not_answered_for_by_a_block(family, reentrant):
    case, start = Case(family), torch.zeros(1, requires_grad=True)
    heads.attach(case.model)
    case.settings.scale.requires_grad_()

    def again(**control):
        def call(start):
            return case.model(**case.inputs, **control).logits + start

        return checkpoint(call, start, use_reentrant=reentrant)

    with (
        al.heads.applied(case.model, case.settings),
        pytest.raises(ModelError, match="settings with the call"),
    ):
        again()
    if family == "albert-shared":  # its layers are told apart by their order
        with pytest.raises(ModelError, match="share their parameters"):
            again(**heads.keywords(case.model, case.settings))
        return
    again(**heads.keywords(case.model, case.settings)).square().sum().backward()
    found, case.settings.scale.grad = case.settings.scale.grad, None
    control = heads.keywords(case.model, case.settings)
    case.model(**case.inputs, **control).logits.square().sum().backward()
    assert torch.allclose(found, case.settings.scale.grad, rtol=1e-4, atol=1e-4)


# ── threads, tasks and replicas ────────────────────────────────────────────────────────────────


@families
def test_a_call_from_a_thread_that_the_block_did_not_begin_in_is_refused(family):
    case = Case(family)
    with (
        al.heads.applied(case.model, case.settings),
        pytest.raises(ModelError, match="another thread"),
    ):
        in_thread(lambda: answer(case.model, case.inputs))
    assert in_thread(case.rests)


def test_all_that_asks_a_classifier_without_settings_is_refused_in_another_thread(clf):
    settings, text = clf.settings(), "A film."
    settings.scale[5] = 0
    with al.heads.applied(clf, settings):
        inside = clf.predict([text]).probabilities
        for ask in (
            lambda: clf.predict([text]),
            lambda: clf.attend(text),
            lambda: al.balance.measure(clf, [text]),
            lambda: al.evaluation.token_gradients(clf, text),
        ):
            with pytest.raises(ModelError, match="Give settings with the call"):
                in_thread(ask)
        assert (in_thread(lambda: clf.predict([text], settings)).probabilities == inside).all()


def test_asyncios_threads_and_tasks_have_the_block_they_were_begun_in():
    case = Case("bert")

    async def tasks():
        async def other():
            return case.rests()

        begun_before = asyncio.ensure_future(asyncio.sleep(0))
        with al.heads.applied(case.model, case.settings):
            inside = await asyncio.to_thread(case.acts)
        await begun_before
        return inside, await other()

    assert asyncio.run(tasks()) == (True, True)


def test_a_task_beside_a_block_does_not_get_its_settings():
    case = Case("bert")

    async def tasks():
        entered, left = asyncio.Event(), asyncio.Event()

        async def within():
            with al.heads.applied(case.model, case.settings):
                entered.set()
                await left.wait()
                return case.acts()

        async def beside():
            await entered.wait()
            try:
                with pytest.raises(ModelError, match="another thread"):
                    answer(case.model, case.inputs)
            finally:
                left.set()

        acts, _ = await asyncio.gather(within(), beside())
        return acts

    assert asyncio.run(tasks())


def test_a_block_that_another_thread_leaves_first_still_holds():
    case = Case("bert")
    inside, leave = threading.Event(), threading.Event()

    def other():
        with al.heads.applied(case.model, al.HeadSettings(3, 4)):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(30)
    with al.heads.applied(case.model, case.settings):
        leave.set()
        thread.join()
        assert case.acts()
    assert case.model.config._attn_implementation == "sdpa"


@families
def test_replicas_of_data_parallel_take_settings_with_the_call(family):
    case = Case(family)
    heads.attach(case.model)
    control = heads.keywords(case.model, case.settings)

    def replica(module):  # as torch.nn.parallel.replicate makes them, which needs several GPUs
        new = module._replicate_for_data_parallel()
        new._parameters.update(module._parameters)
        for name, child in module._modules.items():
            new._modules[name] = None if child is None else replica(child)
        return new

    copy_of_it = replica(case.model)
    with torch.no_grad():
        found = in_thread(lambda: copy_of_it(**case.inputs, **control).logits.detach())
    assert torch.allclose(found, case.wanted, atol=1e-5)
    with (
        al.heads.applied(case.model, case.settings),
        pytest.raises(ModelError, match="another thread"),
    ):
        in_thread(lambda: answer(copy_of_it, case.inputs))


@families
def test_a_wrapper_for_parallel_training_is_the_model_inside(family):
    case = Case(family)
    with al.heads.applied(torch.nn.DataParallel(case.model), case.settings):
        assert case.acts(torch.nn.DataParallel(case.model))


# ── copies, blocks in blocks, several models ───────────────────────────────────────────────────


@families
def test_a_copy_made_inside_a_block_is_another_model(family):
    case = Case(family)
    with al.heads.applied(case.model, case.settings):
        other = copy.deepcopy(case.model)
        assert case.rests(other)
        with al.heads.applied(other, case.settings):
            assert case.acts(other)
    assert case.rests(other)
    assert case.rests()


@every_family
def test_blocks_may_be_nested_and_several_models_be_in_one(family):
    case, other = Case(family), tiny(family)
    with al.heads.applied(case.model, case.settings):
        with al.heads.applied(case.model, al.HeadSettings(3, 4)):
            assert case.rests()
        with al.heads.applied(other, al.HeadSettings(3, 4)):
            assert case.acts()
            assert case.rests(other)
        assert case.rests(other)
        assert case.acts()
    assert case.rests()


def test_settings_changed_in_a_block_hold_from_then_on():
    case = Case("bert")
    settings = al.HeadSettings(3, 4)
    with al.heads.applied(case.model, settings):
        assert case.rests()
        settings.scale[:], settings.temperature[:] = case.settings.scale, case.settings.temperature
        assert case.acts()


# ── where it cannot act ────────────────────────────────────────────────────────────────────────


@families
def test_an_attention_that_took_its_place_is_noticed(family):
    case = Case(family)
    heads.attach(case.model)
    with al.heads.applied(case.model, case.settings):
        case.model.set_attn_implementation("eager")
        with pytest.raises(ModelError, match="did not act in 3 of 3 layers"):
            answer(case.model, case.inputs)
    case.model.set_attn_implementation("eager")
    with pytest.raises(ModelError, match=r"heads\.attach"):
        heads.keywords(case.model, case.settings)
    assert torch.allclose(heads.run(case.model, case.inputs, case.settings), case.wanted, atol=1e-5)


def test_self_check_is_of_the_model_as_it_is_called():
    model = heads.attach(tiny("bert"))
    heads.self_check(torch.compile(model, backend="eager"))

    class Deaf(torch.nn.DataParallel):  # hands nothing on but ids and mask, with the copy's weights
        def forward(self, input_ids, attention_mask, **kwargs):
            return copy.deepcopy(self.module)(input_ids, attention_mask)

    with pytest.raises(AttnlabError, match=r"did not act|should differ"):
        heads.self_check(Deaf(model))


def test_self_check_says_of_each_difference_what_it_should_be():
    report = heads.self_check(tiny("bert"))
    lines = str(report).splitlines()
    assert len(lines) == len(report)
    assert all(line.startswith("✓") for line in lines)
    for line in lines:
        name = next(name for name in report if f" {name} " in line)
        assert ("should differ" in line) == (report[name] > 1e-3)
        assert ("should be 0" in line) == (report[name] <= 1e-5)


# ── a model that writes ────────────────────────────────────────────────────────────────────────


def test_generate_writes_what_the_model_without_the_head_would():
    torch.manual_seed(0)
    config = CONFIGS["bert"]().to_dict() | {"is_decoder": True}
    model = BertLMHeadModel(BertConfig(**config)).eval()
    with torch.no_grad():
        for parameter in model.bert.encoder.parameters():
            parameter.mul_(6 if parameter.dim() > 1 else 1)
    ids = torch.randint(5, 60, (2, 6))
    settings = al.HeadSettings(3, 4)
    settings.scale[1], settings.scale[0, 2] = 0, 0

    def write(model, **options):
        return model.generate(ids, max_new_tokens=8, do_sample=False, **options)

    without = copy.deepcopy(model)
    with torch.no_grad():
        sites = heads.sites(without)
        sites[1].output.weight.zero_()
        sites[0].output.weight[:, 16:24] = 0
    plain = write(model)
    with al.heads.applied(model, settings):
        assert torch.equal(write(model), write(without))
        assert torch.equal(write(model, use_cache=False), write(without))
    assert not torch.equal(write(without), plain)
    assert torch.equal(write(model), plain)


def test_weights_of_a_decoder_look_at_nothing_that_comes_later():
    config = CONFIGS["bert"]().to_dict() | {"is_decoder": True}
    model = heads.attach(BertLMHeadModel(BertConfig(**config)).eval())
    ids = torch.randint(5, 60, (2, 6))
    for weights in model(ids, output_attentions=True).attentions:
        assert torch.equal(weights, weights.tril())
    for layer in heads.record(model, {"input_ids": ids}, al.HeadSettings(3, 4)):
        assert torch.equal(layer.weights, layer.weights.tril())
