"""The contract's tests on a server with a Magenta RealTime 2: they are those of the other files, on another server.

Here the ones that decide; `test_contract_mrt2_whole.py` has all others and runs with the acceptance tests.
"""

from __future__ import annotations

import pytest
from contract import DECISIVE, of_contract
from serving import Server

pytest.importorskip("magenta_rt", reason="magenta-rt has no release for this Python")

globals().update({name: test for name, test in of_contract().items() if name in DECISIVE})


@pytest.fixture
def server(mrt2_server: Server) -> Server:
    return mrt2_server


@pytest.fixture
def quick_server(mrt2_server: Server) -> Server:
    return mrt2_server


def test_none_of_the_decisive_tests_is_missing() -> None:
    assert set(DECISIVE) <= set(of_contract())
