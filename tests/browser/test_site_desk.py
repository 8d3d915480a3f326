"""The desk for people without Python, on a phone: it loads, answers as Python does, and stays."""

import contextlib
import gzip
import json
import re
import threading

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from jupyter_page import CUT, OUTSIDE, PATIENCE, REQUIRED, SHOTS

import attnlab as al
from attnlab import statistics
from attnlab.classification.onnx_graph import _session
from attnlab.errors import DataError
from attnlab.files import PACKAGE
from attnlab.site import build_desk
from attnlab.site.building import MOST_TOKENS, PIECES
from attnlab.site.serving import serving
from attnlab.site.vocabulary import browser_tokenizer, needed_pieces, with_pieces

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
SENTENCE = "Dull, loud and far too long."
READY = ".desk-answer[data-text]"
MEASURED = ".desk-accuracy[data-state=measured]"
SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A desk with 100 held-out sentences."""
    place = tmp_path_factory.mktemp("site") / "desk"
    try:
        return build_desk(place, sentences=100).folder
    except DataError as error:
        message = f"NO RUNTIME: the desk could not be built, so it was not tested. {error}"
        if REQUIRED:
            pytest.fail(message)
        pytest.skip(message)


@contextlib.contextmanager
def handed_out(folder, host="127.0.0.1"):
    """The addresses at which a folder is served."""
    with serving(folder, host) as (server, addresses):
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield addresses
        finally:
            server.shutdown()


@contextlib.contextmanager
def opened(browser, address, ready=READY, init="", **options):
    """A page of a fresh profile on this address; it must have no complaints."""
    context = browser.new_context(**(PHONE | options))
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    if init:
        page.add_init_script(init)
    page.goto(address)
    page.wait_for_selector(ready)
    yield page
    assert complaints == []
    context.close()


@pytest.fixture(scope="module")
def address(folder):
    with handed_out(folder) as addresses:
        yield addresses[0]


@pytest.fixture(scope="module")
def shared_page(browser, address):
    with opened(browser, address, MEASURED) as page:
        yield page


@pytest.fixture
def page(shared_page):
    """The desk with faders neutral."""
    shared_page.locator("[data-action=reset]").click()
    settle(shared_page)
    return shared_page


def settle(page):
    """Wait until sentence and accuracy belong to the faders; return the probability of positive."""
    page.wait_for_function(
        """() => { const { model } = window.attnlab, { stamp } = model.get('faders');
        return model.get('sentence').stamp === stamp && model.get('accuracy').stamp === stamp
          && model.get('sentence').text === model.get('text')
          && model.get('accuracy').state === 'measured'; }"""
    )
    return page.evaluate("() => window.attnlab.model.get('sentence').after?.[1]")


def write(page, text):
    page.get_by_label("Sentence to classify").fill(text)
    page.wait_for_function("text => window.attnlab.model.get('sentence').text === text", arg=text)
    return settle(page)


# ── it loads, answers and stays ────────────────────────────────────────────────────────────────


def test_a_sentence_gets_an_answer_with_its_probability(page):
    assert write(page, SENTENCE) < 0.1
    assert write(page, "A warm, funny and beautifully acted film.") > 0.9
    shown = page.locator(".desk-answer").text_content()
    assert re.search(r"positive\s*9\d\.\d %", shown), shown


def test_it_opens_and_answers_with_the_network_cut_after_the_first_visit(browser, folder):
    with (
        handed_out(folder) as addresses,
        opened(browser, addresses[0], "body[data-offline=kept]") as page,
    ):
        assert "works offline" in page.locator("#state").text_content()
        page.context.set_offline(True)
        page.reload()
        page.wait_for_selector(MEASURED)
        assert write(page, SENTENCE) < 0.1


def test_without_a_secure_address_it_works_while_the_page_is_open_and_says_so(browser, folder):
    """Browsers keep a page for later only from https or from the machine itself."""
    with handed_out(folder, "0.0.0.0") as addresses:
        if len(addresses) == 1:
            pytest.skip("this machine has no address but its own")
        with opened(browser, addresses[0], "body[data-offline=open]") as page:
            assert "keep this page open" in page.locator("#state").text_content()
            page.context.set_offline(True)
            assert write(page, SENTENCE) < 0.1


def test_everything_to_load_is_below_20_mb(folder):
    card = json.loads((folder / "desk-card.json").read_text())
    assert card["bytes_to_load"] < 20e6
    on_disk = sum(file.stat().st_size for file in folder.iterdir())
    assert card["bytes_to_load"] == pytest.approx(on_disk, rel=0.01)


def test_files_that_a_server_unpacks_by_itself_are_taken_too(browser, address, folder):
    def unpacked(route):
        name = route.request.url.rpartition("/")[2]
        route.fulfill(body=gzip.decompress((folder / name).read_bytes()))

    context = browser.new_context(**PHONE)
    page = context.new_page()
    page.route("**/*.gz", unpacked)
    page.goto(address)
    page.wait_for_selector(READY, timeout=PATIENCE)
    context.close()


# ── what cannot be is said ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ("delete window.WebAssembly", "cannot run WebAssembly"),
        ("WebAssembly.validate = () => false", "no SIMD instructions"),
        ("delete window.DecompressionStream", "cannot unpack"),
    ],
)
def test_a_browser_that_cannot_is_told_what_it_lacks(browser, address, init, words):
    with opened(browser, address, "#said", init) as page:
        page.wait_for_function("words => document.body.innerText.includes(words)", arg=words)
        assert "Safari 16.4" in page.locator("#said").text_content()


def test_without_scripts_the_page_says_what_it_needs(browser, address):
    with opened(browser, address, "#said", java_script_enabled=False) as page:
        assert "scripts are turned off" in page.locator("#said").text_content()


def test_a_folder_that_is_not_whole_is_named_as_such(browser, address):
    context = browser.new_context(**PHONE)
    page = context.new_page()
    page.route("**/model.onnx.gz", lambda route: route.fulfill(status=404, body="no"))
    page.goto(address)
    page.wait_for_selector("body[data-failed]", timeout=PATIENCE)
    said = page.locator("#said").text_content()
    assert "model.onnx.gz is not there (404)" in said
    assert "Reload" in said
    context.close()


# ── faders ─────────────────────────────────────────────────────────────────────────────────────


def test_a_tap_chooses_a_head_and_the_wide_fader_moves_it(page):
    before = write(page, SENTENCE)
    page.locator(".fader").nth(4 * 12 + 7).tap()
    assert page.locator(".page-name b").text_content() == "Layer 4, head 7"
    page.get_by_role("slider", name="scale of this head").fill("0")
    after = settle(page)
    assert page.evaluate("() => window.attnlab.model.get('faders').scale[4][7]") == 0
    assert after != before
    page.locator("[data-action=undo]").click()
    assert settle(page) == before
    assert page.evaluate("() => window.attnlab.model.get('faders').scale[4][7]") == 1


def test_names_of_layers_and_heads_are_buttons_for_all_their_faders(page):
    page.locator("[data-whole-layer='3']").tap()
    page.locator("[data-whole-head='0']").tap()
    settle(page)
    scale = np.array(page.evaluate("() => window.attnlab.model.get('faders').scale"))
    assert (scale[3] == 0).all()
    assert (scale[:, 0] == 0).all()
    assert (scale == 0).sum() == 12 + 6 - 1
    assert "55 of 72 heads on" in page.locator(".desk-budget").text_content()


def test_the_keyboard_moves_a_fader_and_goes_from_one_to_the_next(page):
    page.locator(".fader input").nth(0).focus()
    page.keyboard.press("0")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowRight")
    settle(page)
    (first, second, *_), *_ = page.evaluate("() => window.attnlab.model.get('faders').scale")
    assert (first, second) == (0, 1.05)


def test_the_newest_setting_wins(page):
    """What is shown in the end belongs to the last of many moves."""
    page.evaluate(
        """() => { const { model } = window.attnlab;
        for (let step = 0; step <= 20; step++) {
          const faders = structuredClone(model.get('faders'));
          faders.scale[5].fill(step / 10);
          model.set('faders', { ...faders, gesture: 'drag' }); } }"""
    )
    last = settle(page)
    page.locator("[data-action=undo]").click()
    settle(page)
    page.evaluate(
        """() => { const { model } = window.attnlab, faders = structuredClone(model.get('faders'));
        faders.scale[5].fill(2); model.set('faders', faders); }"""
    )
    assert settle(page) == last


@pytest.mark.parametrize(
    ("action", "silent"), [("keep-one", 66), ("random-half", 36), ("least", 20)]
)
def test_a_preset_silences_as_many_heads_as_it_says(page, action, silent):
    page.locator(f"[data-action={action}]").tap()
    settle(page)
    scale = np.array(page.evaluate("() => window.attnlab.model.get('faders').scale"))
    assert (scale == 0).sum() == silent


# ── numbers ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def small():
    """The classifier that the desk was made from, with fewer pieces, in float32."""
    clf = al.load_classifier("movie-sentiment", device="cpu")
    texts = al.datasets.load("movie-sentiment").train.texts
    return with_pieces(clf, needed_pieces(clf.tokenizer, texts, PIECES), MOST_TOKENS)


@pytest.fixture(scope="module")
def python(folder, small, tmp_path_factory):
    """The desk's own graph in ONNX Runtime for Python: texts and settings to outputs."""
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    path.write_bytes(gzip.decompress((folder / "model.onnx.gz").read_bytes()))
    session = _session(path, threads=1)

    def run(text, settings):
        batch = small.encode([text]).batch([0])
        given = {name: column.numpy() for name, column in batch.items()}
        knobs = {name: getattr(settings, name)[None].numpy() for name in ("scale", "temperature")}
        logits, weights = session.run(["logits", "attentions"], given | knobs)
        powers = np.exp(logits[0] - logits[0].max())
        return powers / powers.sum(), weights[0]

    return run


def drawn(seed):
    generator = np.random.default_rng(seed)
    settings = al.HeadSettings(6, 12)
    for name in ("scale", "temperature"):
        table = getattr(settings, name).numpy()
        table[:] = generator.uniform(0.5, 1.5, table.shape).astype(np.float32)
    settings.scale.numpy()[generator.random((6, 12)) < 0.3] = 0
    return settings


def as_lists(settings):
    return {name: getattr(settings, name).flatten().tolist() for name in ("scale", "temperature")}


def test_answers_are_pythons_at_any_setting(page, python):
    texts = al.datasets.load("movie-sentiment").dev.texts[200:240]
    settings = [drawn(seed) if seed % 2 else al.HeadSettings(6, 12) for seed in range(len(texts))]
    found = page.evaluate(
        """async (asked) => { const all = []; for (const [text, faders] of asked)
        all.push((await window.attnlab.ask('answer', { text, faders })).probabilities);
        return all; }""",
        [[text, as_lists(each)] for text, each in zip(texts, settings, strict=True)],
    )
    expected = [python(text, each)[0] for text, each in zip(texts, settings, strict=True)]
    assert np.argmax(found, 1).tolist() == np.argmax(expected, 1).tolist()
    assert np.array(found) == pytest.approx(np.array(expected), abs=1e-2)
    neutral = [python(text, al.HeadSettings(6, 12))[0] for text in texts]
    assert np.abs(np.array(neutral) - expected).max() > 0.1  # the settings were more than noise


def test_attention_is_pythons_at_any_setting(page, python):
    settings = drawn(3)
    found = page.evaluate(
        """async ([text, faders]) => [...(await window.attnlab.ask('answer',
        { text, faders })).weights]""",
        [SENTENCE, as_lists(settings)],
    )
    _, weights = python(SENTENCE, settings)
    assert np.reshape(found, weights.shape) == pytest.approx(weights, abs=1e-2)


def test_accuracy_and_its_interval_are_pythons(page, python, folder):
    carried = json.loads(gzip.decompress((folder / "desk.json.gz").read_bytes()))["sentences"]
    page.evaluate(
        """() => window.attnlab.model.send({ action: 'preset', name: 'keep-one', place: [0, 3] })"""
    )
    settle(page)
    found = page.evaluate("() => window.attnlab.model.get('accuracy')")
    before = al.HeadSettings(6, 12)
    after = al.HeadSettings(6, 12)
    after.scale[:] = 0
    after.scale[:, 3] = 1
    right = [
        np.array(
            [
                python(text, settings)[0].argmax() == label
                for text, label in zip(carried["texts"], carried["labels"], strict=True)
            ]
        )
        for settings in (before, after)
    ]
    assert found["accuracy"] == pytest.approx(right[1].mean())
    assert found["interval"] == pytest.approx(statistics.share_interval(right[1].sum(), 100))
    test = statistics.paired_test(*right)
    expected = [test.gained, test.lost, test.delta, test.low, test.high, test.p_value]
    names = ("gained", "lost", "delta", "low", "high", "p")
    assert [found[name] for name in names] == pytest.approx(expected)
    low, high = (100 * end for end in found["interval"])
    assert f"95 %: {low:.1f} to {high:.1f}" in page.locator(".desk-big").text_content()


def test_the_page_says_how_many_answers_are_pythons(page):
    said = page.locator("#about").text_content()
    assert "100 of 100 sentences here as it does in Python" in said
    assert "sources and licences" in said


def module(page, name):
    """Load a module of the page as it lies in the package."""
    source = (PACKAGE / "site" / "static" / f"{name}.js").read_text()
    page.evaluate(
        """async source => { window.loaded = await import(URL.createObjectURL(
        new Blob([source], { type: 'text/javascript' }))); }""",
        source,
    )


@pytest.fixture
def bare_page(browser):
    page = browser.new_page()
    yield page
    page.close()


def test_a_text_is_cut_into_the_same_pieces_as_in_python(bare_page, small):
    splits = al.datasets.load("movie-sentiment")
    texts = [*splits.train.texts[:2000], *splits.dev.texts, *splits.test.texts]
    texts += al.datasets.load("tweet-sentiment").test.texts
    texts += al.datasets.load("interface-zh").test.targets
    texts += [
        "  spaces\tand\nlines\u00a0\u2003everywhere  ",
        "Crème brûlée, naïve Ünterhaltung, İSTANBUL, ΣΊΣΥΦΟΣ, straße",
        "東京の映画は良い。 한국 영화 👍🏽 🎬🎥 ﬁlm",
        "[CLS] typed [SEP] by [MASK] hand [PAD] [UNK] [cls]",
        "control\u0000s\u0007, soft\u00adhyphens, \u200bzero\u200dwidth, \ufffd",
        "x" * 100,
        "x" * 101,
        "don't stop-motion ... $9.99 a^b`c~d|e",
        "word " * 300,
    ]
    module(bare_page, "wordpiece")
    found = bare_page.evaluate(
        """([tokenizer, texts, most]) => { const cut = window.loaded.wordPieces(tokenizer);
        return texts.map((text) => cut(text, most)); }""",
        [browser_tokenizer(small.tokenizer), texts, MOST_TOKENS],
    )
    expected = small.tokenizer(texts, truncation=True, max_length=MOST_TOKENS)["input_ids"]
    for text, cut, ids in zip(texts, found, expected, strict=True):
        assert cut["ids"] == ids, text
    assert [cut["cut"] for cut in found[-3:]] == [False, False, True]


def test_every_character_is_treated_as_in_python(bare_page, small):
    """But some that Unicode got after the tokenizers library took its tables, of rare scripts."""
    codes = [*range(1, 0xD800), *range(0xE000, 0x10000), *range(0x1F000, 0x20000)]
    texts = [f"a{chr(code)}b" for code in codes]
    module(bare_page, "wordpiece")
    found = bare_page.evaluate(
        """([tokenizer, texts]) => { const cut = window.loaded.wordPieces(tokenizer);
        return texts.map((text) => cut(text).ids); }""",
        [browser_tokenizer(small.tokenizer), texts],
    )
    expected = small.tokenizer(texts)["input_ids"]
    others = [
        code for code, mine, theirs in zip(codes, found, expected, strict=True) if mine != theirs
    ]
    assert len(others) < 0.005 * len(codes)
    assert all(code >= 0x0600 for code in others)


def test_intervals_and_tests_are_those_of_the_package(bare_page):
    module(bare_page, "shares")
    for gained, lost, n in [(0, 0, 100), (7, 1, 150), (3, 30, 200), (20, 20, 150), (150, 0, 150)]:
        found = bare_page.evaluate(
            """([gained, lost, n]) => [loaded.shareInterval(gained, n),
            loaded.pairedInterval(gained, lost, n), loaded.mcnemar(gained, lost)]""",
            [gained, lost, n],
        )
        assert found[0] == pytest.approx(statistics.share_interval(gained, n))
        assert found[1] == pytest.approx(statistics.paired_interval(gained, lost, n))
        assert found[2] == pytest.approx(statistics.mcnemar(gained, lost))


# ── looks ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "theme, phone",
    [
        pytest.param("light", True, id="light-phone"),
        pytest.param("dark", False, id="dark-projector"),
        pytest.param("dark", True, id="dark-phone", marks=pytest.mark.thorough),
        pytest.param("light", False, id="light-projector", marks=pytest.mark.thorough),
    ],
)
def test_everyone_can_read_it(browser, address, theme, phone):
    options = {"has_touch": phone, "is_mobile": phone, "device_scale_factor": 1}
    with opened(browser, address, MEASURED, color_scheme=theme, **options) as page:
        for width, height in [(390, 844), (360, 640)] if phone else [(1280, 720)]:
            page.set_viewport_size({"width": width, "height": height})
            page.locator("[data-action=random-half]").click()
            settle(page)
            readable(page, theme)
            if SHOTS.is_dir():
                page.screenshot(path=SHOTS / f"site-{width}-{theme}.png", full_page=True)
            assert page.locator(".desk-answer").bounding_box()["y"] >= 0
            seen = [".fader >> nth=-1"] if phone else [".fader >> nth=-1", ".desk-accuracy"]
            for part in seen:  # together with the answer
                box = page.locator(part).bounding_box()
                assert box["y"] + box["height"] <= height


def readable(page, theme):
    """Nothing is cut or sticks out, and axe finds nothing, with lines and with a map."""
    root = page.locator(".attnlab-page")
    assert root.get_attribute("data-dark") == str(theme == "dark").lower()
    assert page.evaluate(SIDEWAYS) == 0
    assert root.evaluate(CUT) == []
    assert root.evaluate(OUTSIDE) == []
    for kind in ("layer", "map"):
        page.get_by_label("Kind of picture").select_option(kind)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_the_attention_of_every_head_can_be_drawn_in_all_ways(page):
    write(page, SENTENCE)
    for kind, marks in (("layer", ".wires path"), ("head", ".wires path"), ("map", "rect")):
        page.get_by_label("Kind of picture").select_option(kind)
        for what in ("weights", "scaled", "contributions", "difference"):
            page.get_by_label("What is drawn").select_option(what)
            kinds = "rect" if what == "difference" else marks
            assert page.locator(f".desk-picture svg {kinds}").count() > 0, (kind, what)
            label = page.locator(".desk-picture svg").get_attribute("aria-label")
            assert re.search(r"(The strongest: from .+ to .+, \d\.\d\d|Nothing: )", label)


def test_a_word_that_is_tapped_shows_its_lines_alone(page):
    write(page, SENTENCE)
    page.get_by_label("Kind of picture").select_option("head")
    page.get_by_label("What is drawn").select_option("weights")
    count = """() => [...document.querySelectorAll('.wires path')].map(path =>
        path.getAttribute('d').split('M').length - 1).reduce((a, b) => a + b)"""
    everything = page.evaluate(count)
    page.locator(".lines .looks").nth(1).tap()
    assert 0 < page.evaluate(count) < everything
    page.locator(".desk-picture").focus()
    page.keyboard.press("Escape")
    assert page.evaluate(count) == everything
