"""Everything here needs the package magenta-rt."""

import pytest

pytest.importorskip("magenta_rt", reason="magenta-rt has no release for this Python")
