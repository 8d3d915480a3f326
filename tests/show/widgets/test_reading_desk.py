"""The reading desk without a browser: what is drawn, read, marked and told, and what is refused."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

import attnlab as al
from attnlab.applications import Reader, Reading
from attnlab.applications.line_model import LineTransformer
from attnlab.datasets.printed import CHARACTERS, FONTS, draw_line, scan
from attnlab.errors import AttnlabError, DataError, SettingsError
from attnlab.show.plots.reading_desk import reading_desk
from attnlab.show.widgets.reading_report import MOST_CHARACTERS, ReadLine, reading_report

FONT = "DejaVuSerif"
SETTINGS = {"text": "king", "font": FONT, "noise": 0.0, "seed": 0, "choice": None}


@pytest.fixture(scope="module")
def reader():
    """A reader that has learned nothing, but has opinions."""
    torch.manual_seed(0)
    size = {"d_model": 32, "heads": 2, "feed_forward": 32, "encoder_layers": 1, "decoder_layers": 1}
    model = LineTransformer(len(CHARACTERS), **size, max_length=24).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
        model.output.weight[:3] = 0  # no marks: it never ends a line before it must
    return Reader(model)


@pytest.fixture
def desk(reader):
    made = al.ReadingDesk(reader, "the old king")
    yield made
    made.close()


def shown(report):
    """The picture that a report holds."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(report["image"].split(",")[1]))))


def reported(found, truth, probabilities, choice=None, end=1.0):
    """The report of a line of which this was read."""
    image, boxes = draw_line(truth or "king", FONT)
    columns = 4 * np.arange(-(-image.shape[1] // 4)) + 0.5
    middles = boxes[:, 0] + boxes[:, 2] / 2
    attention = np.zeros((len(found), len(columns)))
    for row in range(len(found)):
        near = abs(columns - middles[min(row, len(middles) - 1)]).argmin()
        attention[row, near] = 1
    alternatives = [
        [(own, share), ("", 1 - share)] for own, share in zip(found, probabilities, strict=True)
    ]
    reading = Reading(
        found, np.array(probabilities, float), attention @ columns, alternatives, attention,
        columns, end,
    )  # fmt: skip
    line = ReadLine(image, truth, None if truth is None else boxes, reading)
    return reading_report(line, SETTINGS | {"text": truth, "choice": choice})


def test_it_shows_the_line_and_what_the_reader_reads_there(desk, reader):
    desk.set(noise=1.5, seed=4, font="cmr10")
    image = scan(draw_line("the old king", "cmr10")[0], 1.5, 4)
    (expected,) = reader.read([image], alternatives=5)
    report = desk.report
    np.testing.assert_array_equal(shown(report), image)
    assert report["size"] == [image.shape[1], 32]
    assert report["read"] == expected.text != ""
    np.testing.assert_allclose(report["attention"], expected.attention, atol=6e-5)
    for own, place in zip(report["characters"], range(len(expected.text)), strict=True):
        assert own["name"] == expected.text[place]
        assert own["probability"] == pytest.approx(expected.probabilities[place], abs=1e-4)
        assert own["where"] == pytest.approx(expected.where[place], abs=0.06)
        told = [(one["name"], one["share"]) for one in own["alternatives"]]
        assert len(told) == 5
        assert [name for name, _ in told] == [name for name, _ in expected.alternatives[place]]
        assert own["unsure"] == (expected.probabilities[place] < 0.9)


def test_a_band_stands_where_its_column_stands(desk, reader):
    report = desk.report
    (expected,) = reader.read([shown(report)])
    middles = np.array(report["columns"]) + report["column"] / 2
    np.testing.assert_allclose(middles, expected.columns, atol=0.01)
    assert report["column"] == 4


def test_a_picture_of_ones_own_is_read_and_nobody_knows_what_it_says(reader):
    image, _ = draw_line("a castle", "STIXGeneral")
    colour = np.stack([np.kron(image, np.ones((2, 2), np.uint8))] * 3, -1)
    desk = al.ReadingDesk(reader, image=colour)
    report = desk.report
    assert report["size"] == [2 * image.shape[1], 64]
    assert report["read"] == reader.read([colour])[0].text
    assert report["truth"] is report["errors"] is report["wrong"] is None
    assert {own["right"] for own in report["characters"]} == {None}
    assert "Nobody told the desk" in report["remark"]
    desk.set(noise=3.0)
    assert not np.array_equal(shown(desk.report), shown(report))
    desk.set(text="king")
    assert desk.report["truth"] == "king"
    desk.set(text=None, noise=0.0)
    assert desk.report == report
    desk.close()


def test_wrong_and_unsure_characters_are_marked_and_counted():
    report = reported("kimgs", "kings", [0.99, 0.95, 0.5, 0.6, 1.0])
    assert [own["right"] for own in report["characters"]] == [True, True, False, True, True]
    assert [own["unsure"] for own in report["characters"]] == [False, False, True, True, False]
    counts = [report[name] for name in ("errors", "wrong", "caught", "unsure")]
    assert counts == [1, 1, 1, 2]
    assert "1 mistake in 5 characters: 1 read wrongly, and marked as unsure" in report["remark"]
    assert "1 right one is marked too" in report["remark"]
    sure = reported("kimgs", "kings", [1.0] * 5)
    assert sure["caught"] == 0 and "1 read wrongly, not marked as unsure" in sure["remark"]


def test_of_several_mistakes_it_says_how_many_are_marked():
    for caught, told in ((0, "none of them"), (1, "1 of them"), (2, "all")):
        chances = [0.5] * caught + [1.0] * (2 - caught) + [1.0] * 3
        remark = reported("hmngs", "kings", chances)["remark"]
        assert f"2 read wrongly, {told} marked as unsure" in remark


def test_what_is_left_out_counts_as_a_mistake():
    report = reported("king", "the king", [1.0] * 4)
    assert (report["errors"], report["wrong"]) == (4, 0)
    assert report["remark"] == "4 mistakes in 8 characters: 4 left out."
    nothing = reported("", "king", [], end=0.7)
    assert nothing["choice"] is None and nothing["characters"] == []
    assert nothing["remark"].startswith("Nothing was read")
    assert "Nothing was read" in reading_desk(nothing).alt


def test_that_the_line_ends_can_be_unsure_too():
    assert "ends there is 62\u00a0% sure" in reported("king", "king", [1.0] * 4, end=0.62)["remark"]
    assert "ends there" not in reported("king", "king", [1.0] * 4, end=0.95)["remark"]


def test_the_least_sure_character_is_looked_at_until_another_is_chosen():
    assert reported("king", "king", [0.9, 0.8, 0.3, 1.0])["choice"] == 2
    assert reported("king", "king", [0.9, 0.8, 0.3, 1.0], choice=1)["choice"] == 1
    assert reported("king", "king", [0.9, 0.8, 0.3, 1.0], choice=9)["choice"] == 3


def test_it_says_whether_the_attention_is_on_the_letter_itself():
    report = reported("king", "king", [1.0] * 4)
    assert all(own["told"].endswith("on its own letter.") for own in report["characters"])
    image, boxes = draw_line("king", FONT)
    columns = 4 * np.arange(-(-image.shape[1] // 4)) + 0.5
    attention = np.zeros((4, len(columns)))
    attention[:3, -1] = attention[3, 0] = 1
    reading = Reading(
        "king", np.ones(4), attention @ columns, [[("k", 1.0)]] * 4, attention, columns, 1.0
    )
    characters = reading_report(ReadLine(image, "king", boxes, reading), SETTINGS)["characters"]
    right, left = columns[-1] - boxes[0, 0] - boxes[0, 2], boxes[3, 0] - columns[0]
    assert characters[0]["told"].endswith(f"{right:.0f} px beside its letter.")
    assert characters[3]["told"].endswith(f"{left:.0f} px beside its letter.")


def test_spaces_that_nobody_can_see_are_not_asked_for(desk):
    desk.set(text="  the   king ")
    assert desk.report["truth"] == "the king"
    assert desk.settings["text"] == "  the   king "  # what is being typed is left alone


def test_other_noise_is_drawn_with_another_seed_and_the_same_with_the_same(desk):
    desk.set(noise=2.0)
    first = desk.report["image"]
    desk.set(seed=1)
    assert desk.report["image"] != first
    desk.set(seed=0)
    assert desk.report["image"] == first


def test_looking_at_another_character_reads_nothing_anew(desk, reader, monkeypatch):
    monkeypatch.setattr(reader, "read", lambda *_, **__: pytest.fail("it was read again"))
    desk.set(choice=2)
    assert desk.report["choice"] == 2
    assert desk.report["characters"][2]["told"] in desk.report["alt"]


def test_another_text_takes_the_choice_back(desk):
    desk.set(choice=2)
    desk.set(noise=1.0)
    assert desk.settings["choice"] == 2
    desk.set(text="a mill")
    assert desk.settings["choice"] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": "  "}, "empty"),
        ({"text": "wörter"}, "does not know"),
        ({"text": "w" * (MOST_CHARACTERS + 1)}, "33 characters; at most 32"),
        ({"text": 3}, "a line to draw"),
        ({"text": ["king"]}, "single values"),
        ({"text": None}, "given no picture"),
        ({"font": "DejaVuSerf"}, "Did you mean"),
        ({"noise": 4.5}, "from 0 .clean. to 4"),
        ({"noise": "loud"}, "from 0 .clean. to 4"),
        ({"noise": True}, "from 0 .clean. to 4"),
        ({"seed": -1}, "whole number from 0"),
        ({"seed": 0.5}, "whole number from 0"),
        ({"choice": -1}, "from 0"),
        ({"choice": "k"}, "number of a character"),
    ],
)
def test_settings_that_make_no_sense_are_refused(desk, changes, words):
    desk.set(noise=1)  # which equals True
    before = desk.report
    with pytest.raises(AttnlabError, match=words):
        desk.set(**changes)
    assert desk.report == before


def test_what_cannot_be_read_is_refused(reader):
    with pytest.raises(SettingsError, match="a text and a picture"):
        al.ReadingDesk(reader, "king", np.zeros((32, 60), np.uint8))
    for image in (np.full((32, 60), 255, np.uint8), np.zeros((32, 60)), np.zeros(5, np.uint8)):
        with pytest.raises(DataError):
            al.ReadingDesk(reader, image=image)


def test_every_font_can_be_chosen_by_name(desk):
    files = [file for family in FONTS.values() for file in family]
    assert [file for file, _ in desk.fonts] == files
    names = [name for _, name in desk.fonts]
    assert len(set(names)) == len(names)
    assert [name for name in names if "held out" in name] == names[-5:]


def test_its_code_brings_it_back_and_its_picture_says_what_it_shows(desk, reader):
    desk.set(text="a fine castle", noise=1.25, seed=3, choice=4, font="cmtt10")
    other = al.ReadingDesk(reader)
    exec(desk.code, {"desk": other})
    assert other.report == desk.report
    alt = desk.picture().alt
    assert "“a fine castle” drawn in Computer Modern typewriter (held out), noise 1.25" in alt
    assert desk.report["remark"] in alt
    other.close()


# ── the reader that comes with attnlab ─────────────────────────────────────────────────────────


def test_noise_makes_mistakes_and_doubt_comes_with_them():
    desk = al.ReadingDesk(al.applications.load_reader("printed"))
    found = {}
    for noise in (0.0, 4.0):
        reports = []
        for text in ("the old king", "a castle in the wood", "She was seven, he nine"):
            for seed in range(1, 5):
                desk.set(text=text, noise=noise, seed=seed)
                reports.append(desk.report)
        found[noise] = [sum(one[name] for one in reports) for name in ("errors", "unsure")]
    assert found[0.0][0] <= 8
    assert found[4.0][0] > found[0.0][0]
    assert found[4.0][1] > found[0.0][1]
    desk.close()
