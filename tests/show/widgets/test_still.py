"""What is left of a desk where no kernel runs: a picture of few kilobytes, of how it stands."""

import pytest

import attnlab as al
from attnlab.course import notebooks
from attnlab.show import views
from attnlab.show.widgets import attention_report, still


@pytest.fixture
def published(monkeypatch):
    """What a notebook would be sent."""
    sent = []
    monkeypatch.setattr(still, "display", lambda bundle, **_: sent.append(bundle))
    monkeypatch.setattr(still, "update_display", lambda bundle, **_: sent.append(bundle))
    return sent


def test_a_desk_is_shown_with_its_picture_below(published):
    desk = al.SoftmaxDesk(temperature=0.5)
    desk._ipython_display_()
    widget, picture = published
    assert widget["application/vnd.jupyter.widget-view+json"]["model_id"] == desk.model_id
    assert "temperature 0.5" in picture["text/html"]
    assert "text/html" not in widget  # it would be seen twice where widgets are not


def test_the_picture_follows_the_desk(published):
    desk = al.SoftmaxDesk()
    desk._ipython_display_()
    still._at_the_end_of_a_cell()
    assert len(published) == 2, "drawn anew though nothing had changed"
    desk.set(temperature=2.0)
    still._at_the_end_of_a_cell()
    assert "temperature 2" in published[-1]["text/html"]


def test_where_a_cell_waits_for_its_desks_the_picture_is_drawn_once_at_its_end(
    published, monkeypatch
):
    monkeypatch.setattr(still, "_cells_wait", lambda: True)
    desk = al.SoftmaxDesk()
    desk._ipython_display_()
    assert "<img" not in published[-1]["text/html"]
    desk.set(temperature=2.0)
    still._at_the_end_of_a_cell()
    assert "temperature 2" in published[-1]["text/html"]
    assert len(published) == 3
    closed = al.SoftmaxDesk(temperature=3.0)
    closed._ipython_display_()
    closed.close()
    assert "temperature 3" in published[-1]["text/html"]


def test_no_cell_takes_longer_because_a_desk_changes_by_itself(published, monkeypatch):
    desk = al.SoftmaxDesk()
    desk._ipython_display_()
    monkeypatch.setattr(desk, "restless", lambda: True)
    desk.set(temperature=2.0)
    still._at_the_end_of_a_cell()
    assert len(published) == 2
    monkeypatch.setattr(desk, "restless", lambda: False)
    still._at_the_end_of_a_cell()
    assert "temperature 2" in published[-1]["text/html"]


def test_a_desk_with_nothing_to_show_spoils_no_cell(published):
    curve = al.TrainingCurve()
    curve._ipython_display_()
    assert "Run this cell" in published[-1]["text/html"]


def test_every_desk_leaves_a_small_picture(clf, some):
    text = "A warm, funny film without an end in sight, acted by friends."
    settings = clf.settings()
    settings.scale[5], settings.temperature[2, 3] = 0, 2
    mixer = al.HeadMixer(clf, some, text)
    early = mixer.picture()  # before anything is measured
    mixer.settings = settings
    mixer.wait()
    mask = al.MaskDesk(clf.attend(text), 3, 0)
    mask.set(causal=True, place="after")
    for desk in (mixer, mask, al.SoftmaxDesk(scaled=False)):
        page = desk._repr_mimebundle_()[0]["text/html"]
        assert len(page) < 60_000
        assert len(desk.picture().alt) > 100
    assert "72 of them on" in early.alt
    assert "60 of them on" in mixer.picture().alt
    assert "The change is −" in mixer.picture().alt or "The change is +" in mixer.picture().alt


def test_a_built_solution_keeps_the_picture_and_not_the_widget(published):
    import nbformat

    al.SoftmaxDesk()._ipython_display_()
    outputs = [nbformat.v4.new_output("display_data", bundle) for bundle in published]
    cell = nbformat.v4.new_code_cell("desk", outputs=outputs)
    kept = notebooks.without_scripts(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs
    assert len(kept) == 1
    page = kept[0].data["text/html"]
    assert "<img alt=" in page
    assert "Run this cell" in page
    assert "<style>" not in page


def test_lines_of_a_layer_with_half_its_heads_off_are_as_strong_as_before(clf):
    settings = clf.settings()
    settings.scale[5, :6] = 0.2
    settings.scale[5, 6:] = 0
    maps = clf.attend("A warm, funny film.", settings)
    heads = attention_report._heads_on(maps, 5, "scaled")
    assert heads == [0, 1, 2, 3, 4, 5]
    stronger = views.opacity(maps, 5, "scaled", heads)
    strongest = float(maps.of("scaled")[5, :6].mean(0).max()) * stronger
    assert strongest == pytest.approx(views._STRONGEST)
    assert views.opacity(maps, 5, "scaled", []) == 1
