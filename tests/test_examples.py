"""The examples compute what they say."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "operators"))
from test_indicator_reference import series2


@pytest.fixture(autouse=True)
def _beside_the_examples(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")


def example(name):
    return importlib.import_module(name)


def test_momentum():
    assert example("momentum").momentum(np.array([100.0, 110.0, 121.0]), length=1).tolist()[1:] == pytest.approx(
        [10, 10]
    )


def test_momentum_score():
    score = example("momentum_score").momentum_score
    u = score(np.array([10.0, -50.0, 1.0]), np.array([110.0, 50.0, 101.0]), np.array([5.0, 1.0, 0.0]))
    assert u[:2].tolist() == pytest.approx([0.5, -1.0])
    assert math.isnan(u[2])


def test_breakout():
    module = example("breakout_rule")
    upper, lower = module.channel(np.array([3.0, 2.0, 1.0]), np.array([2.0, 1.0, 0.5]), length=2)
    assert (upper[1:].tolist(), lower[1:].tolist()) == ([3.0, 2.0], [1.0, 0.5])
    nan = math.nan
    state = module.breakout(
        *map(np.array, ([3.0, 3.0, 1.0, 3.0], [60.0, 40.0, 40.0, 60.0], [2.0, 2.0, 2.0, nan], [1.5] * 4))
    )
    assert state.tolist() == [1, 0, -1, 0]


def test_path_signature_of_two_straight_pieces():
    """The path (0,0) -> (1,0) -> (1,2)."""
    first, second, third = np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2, 2))
    for step in ((1.0, 0.0), (0.0, 2.0)):
        example("path_signature").extend(first, second, third, np.array(step))
    assert first.tolist() == [1.0, 2.0]
    assert second.tolist() == [[0.5, 2.0], [0.0, 2.0]]
    found = {tuple(int(i) + 1 for i in place): third[tuple(place)] for place in np.argwhere(third)}
    expected = {(1, 1, 1): 0.16666666666666666, (1, 1, 2): 1.0, (1, 2, 2): 2.0, (2, 2, 2): 1.3333333333333333}
    assert found == pytest.approx(expected, rel=1e-15)


def test_path_signature_of_the_reference_series():
    module, bars = example("path_signature"), series2(600)
    columns = module.path_signature(bars.high, bars.low, bars.close, bars.volume)
    assert len(columns) == len(module.COLUMNS) == 155
    assert [int(np.argmax(~np.isnan(column))) for column in columns] == [20] * 155
    last = np.array([column[599] for column in columns])
    first, second, third = last[:5], last[5:30].reshape(5, 5), last[30:]
    assert first[1] == pytest.approx(0.3392983586330164, rel=1e-12)
    assert second[0, 1] == pytest.approx(0.11131408816690935, rel=1e-12)
    assert second[0, 1] - second[1, 0] == pytest.approx(-0.11667018229919762, rel=1e-12)
    assert math.fsum(third) == pytest.approx(13.617810483502105, rel=1e-12)
