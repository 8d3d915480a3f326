"""Images with boxes, and maps over patches."""

import numpy as np
import pytest

import attnlab as al

GREY = np.zeros((3, 8, 6), np.uint8)


def test_each_image_has_its_title_and_its_boxes():
    true = np.array([[0, 0, 2, 3], [1, 1, 4, 5], [2, 2, 3, 3]])
    picture = al.plots.images(
        GREY, ["a", "b", "c"], {"true": true, "found": true + 1}, alt="Three.", columns=2
    )
    panels = picture.figure.axes
    assert [panel.get_title() for panel in panels] == ["a", "b", "c", ""]
    drawn = [[patch.get_bbox().bounds for patch in panel.patches] for panel in panels[:3]]
    # a pixel's middle is a whole number, so its edge is half a pixel before
    assert drawn[1] == [(0.5, 0.5, 4, 5), (1.5, 1.5, 5, 6)]
    assert [text.get_text() for text in picture.figure.legends[0].texts] == ["true", "found"]
    looks = {(patch.get_edgecolor(), patch.get_linestyle()) for patch in panels[0].patches}
    assert len(looks) == 2


def test_a_map_covers_the_image_patch_by_patch():
    image = np.zeros((8, 6, 3), np.uint8)
    maps = {"weights": np.arange(12).reshape(4, 3), "rollout": np.ones((4, 3))}
    picture = al.plots.image_maps(image, maps, alt="Two maps.")
    panels = [panel for panel in picture.figure.axes if panel.images]
    assert [panel.get_title() for panel in panels] == ["image", "weights", "rollout"]
    for panel, values in zip(panels[1:], maps.values(), strict=True):
        below, above = panel.images
        assert (above.get_array() == values).all()
        assert above.get_extent() == below.get_extent()
        assert above.norm.vmax == 11  # one scale for all
        assert above.norm.vmin == 0
    signed = al.plots.image_maps(image, {"change": -np.ones((4, 3))}, alt="A fall.")
    assert signed.figure.axes[1].images[1].norm.vmin == -1


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda: al.plots.images(GREY, ["a"], alt="-"), "3 images and 1 titles"),
        (lambda: al.plots.images(GREY, boxes={"true": [[0, 0, 1, 1]]}, alt="-"), "1 true"),
        (lambda: al.plots.images([], alt="-"), "0 images and nothing to draw"),
        (lambda: al.plots.image_maps(GREY[0], {}, alt="-"), r"got \{\}"),
        (lambda: al.plots.image_maps(GREY[0], {"a": [1, 2]}, alt="-"), r"'a': \(2,\)"),
    ],
)
def test_what_cannot_be_drawn_is_told(draw, told):
    with pytest.raises(al.AttnlabError, match=told):
        draw()
