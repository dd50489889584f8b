"""The server's contract as test functions: those of the files that know no model but the one their server plays."""

from __future__ import annotations

from collections.abc import Callable

import test_health
import test_jam_routes
import test_one_shots
import test_websocket

DECISIVE = (
    "test_a_jam_from_start_to_stop",
    "test_odd_tempi_and_meters_are_exact_to_the_sample",
    "test_calls_in_flight_end_at_once_with_408_when_the_jam_is_stopped_and_so_do_later_ones",
    "test_everything_can_be_steered_while_it_plays",
    "test_the_plugins_request_gives_exact_bars_at_the_files_rate_with_every_key",
    "test_lengths_are_the_decimal_tempos_exact_product_rounded_once",
    "test_progress_never_decreases_and_ends_with_done_or_error",
    "test_every_chunk_of_a_stream_repeats_40_ms_and_fits_a_mebibyte",
    "test_a_stream_follows_updates_and_null_changes_nothing",
    "test_a_jam_in_bars_is_played_over_the_socket",
)
"""One or two of each kind: jams, steering, exact lengths, one-shots, sockets."""

NOT_OF_NOISE = ("test_the_level_is_one_gain_from_the_first_bar_and_none_without_loudness",)
"""They read gains off music that leaves room for them; random weights play noise that is at the ceiling throughout."""


def of_contract() -> dict[str, Callable[..., None]]:
    """Every test by its name; which server it talks to is its fixture's business."""
    files = (test_jam_routes, test_one_shots, test_websocket, test_health)
    found = {name: value for file in files for name, value in vars(file).items() if name.startswith("test_")}
    return {name: value for name, value in found.items() if callable(value) and name not in NOT_OF_NOISE}
