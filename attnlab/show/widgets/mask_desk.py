"""The mask desk: what masks do to one head's weights, and what goes wrong where they come too late.

The view is in static/mask.js; what it draws is made in mask_report.py.
"""

from typing import Any

import traitlets

from attnlab.heads.maps import AttentionMaps
from attnlab.show import plots
from attnlab.show.plots.desks import mask_desk
from attnlab.show.widgets.assets import script, style
from attnlab.show.widgets.attention_report import palettes
from attnlab.show.widgets.desk import ReportDesk
from attnlab.show.widgets.mask_report import check_maps, mask_report
from attnlab.show.widgets.spoken import SpokenDesk


class MaskDesk(SpokenDesk, ReportDesk):
    """A desk for masks: who may look where, and what becomes of the weights.

    Parameters
    ----------
    maps : AttentionMaps of one text of at most `MOST_TOKENS` tokens, as `Classifier.attend` gives
        them
    layer, head : whose weights are shown at first, and after "reset"

    Attributes
    ----------
    settings : dict, what the controls say now: ``layer``, ``head``, ``causal``, ``window``,
        ``padding`` and ``place``, as in `mask_report`. `set` changes some of them.
    report : dict, what is drawn: the `mask_report` of these settings
    error : str, why the settings cannot be drawn; empty if they can

    Raises
    ------
    SettingsError : if ``maps`` is something else, or a setting makes no sense
    AttnlabError : if the maps have no such head, or too many tokens
    """

    _esm = script("mask")
    _css = style("mask")

    size = traitlets.Dict().tag(sync=True)
    palette: traitlets.List[str] = traitlets.List().tag(sync=True)

    def __init__(self, maps: AttentionMaps, layer: int = 0, head: int = 0):
        check_maps(maps)
        self._maps = maps
        super().__init__(
            mask_report(maps, layer, head, False, len(maps.tokens) - 1, 0, "before"),
            size={"layers": maps.layers, "heads": maps.heads},
            palette=palettes()["plain"],
        )

    def picture(self) -> plots.Picture:
        """What the desk shows as a picture with its text alternative, which needs no kernel."""
        return mask_desk(self._report_to_draw())

    def compute(self, **settings: Any) -> dict[str, Any]:
        """Return the `mask_report` of these settings."""
        return mask_report(self._maps, **settings)
