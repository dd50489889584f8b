"""Changes to a jam that plays, from whichever wire they come. Knows no wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from darius.errors import DariusError
from serve.jam_fields import Update
from serve.live import Live

if TYPE_CHECKING:
    from darius.style.steering import Assets
    from serve.models import Models


def steer(live: Live, changes: Update, models: Models) -> None:
    """Lets a jam follow what is given; what is not given stays as it is.

    Clients send all knobs whenever one is turned, so only a style that is another one begins to glide.

    Raises:
      InvalidOption: an entry of a list is not a number, or negative; nothing is changed then.
    """
    style, dials = changes.style(live.style), changes.dials(live.dials)
    current_mix = changes.use_current_mix_as_style and live.kind == "bars"
    if dials != live.dials:
        live.turn(dials)
    if style != live.style or current_mix:
        live.restyle(style, current_mix=current_mix, ramp=changes.style_ramp_seconds, assets=_assets(live, models))


def _assets(live: Live, models: Models) -> Assets | None:
    """The assets in force for the jam's model; None for those that it has, if another model is loaded by now."""
    try:
        loaded = models.current()
    except DariusError:
        return None
    return loaded.assets if loaded.model is live.jam.model else None
