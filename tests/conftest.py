"""Fixtures of all tests. Kernels run with bounds checks on, compiled into a cache of their own."""

import os
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("NUMBA_BOUNDSCHECK", "1")  # before numba comes in
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".cache" / "numba-boundscheck"))

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "tidewax",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("tidewax")


def pytest_collection_modifyitems(items):
    """Files with slow tests first, those with most of them in front: workers take whole files, and none is to be left with a long
    one at the end.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])  # a stable sort


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    """Tests see no settings of the environment they run in."""
    for name in list(os.environ):
        if name.upper().startswith("TIDEWAX__"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_command_outlives_its_test():
    yield
    if commands := sys.modules.get("commands"):
        commands.end_all()


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data; its tests skip without it, but not in CI."""
    folder = Path(os.environ.get("TIDEWAX_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        reason = f"no real market data in {folder}: set TIDEWAX_DATA to its folder"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
