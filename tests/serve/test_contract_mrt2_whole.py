"""All the contract's tests on a server with a Magenta RealTime 2 that are not in `test_contract_mrt2.py`."""

from __future__ import annotations

import pytest
from contract import DECISIVE, of_contract
from serving import Server

pytest.importorskip("magenta_rt", reason="magenta-rt has no release for this Python")
pytestmark = pytest.mark.acceptance

globals().update({name: test for name, test in of_contract().items() if name not in DECISIVE})


@pytest.fixture
def server(mrt2_server: Server) -> Server:
    return mrt2_server


@pytest.fixture
def quick_server(mrt2_server: Server) -> Server:
    return mrt2_server
