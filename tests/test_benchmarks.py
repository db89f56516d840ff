"""The contenders of the benchmarks make the same bars; nothing is timed here."""

from __future__ import annotations

import pytest

from benchmarks import bars, files, state, whole
from benchmarks.agreement import Disagreement, same_bars
from benchmarks.kernels import bare
from benchmarks.material import KEY, START, default_plan, trades
from connectors.simulator import Market, write_trades
from events.times import DAY_NS

PER_MINUTE = 6.0  # some minutes have no trade


def test_all_ways_to_bars_agree():
    found = bars.contenders(trades(0.3, PER_MINUTE), START + DAY_NS * 3 // 10, few=600)
    assert len(found) == 15
    assert all(contender.rows for contender in found)


def test_a_file_gives_the_bars_of_memory(tmp_path):
    path = tmp_path / "trades.parquet"
    rows = write_trades(path, (Market(KEY, trades_per_minute=PER_MINUTE),), START, 0.1)
    assert [contender.rows for contender in files.contenders(path, rows)] == [rows] * 4


def test_the_whole_graph_gives_the_same_at_any_cut():
    whole.same_at_any_cut(trades(0.1, PER_MINUTE), START + DAY_NS // 10)


def test_between_two_boundaries_only_the_step_of_the_bars_is_written():
    found = state.written(default_plan(), days=0.1, hours=1)
    assert {w.step for w in found if w.between} == {"bars"}
    assert all(w.closing for w in found)


def test_other_bars_are_found_out():
    want = bare(trades(0.1, PER_MINUTE), START + DAY_NS // 10, default_plan())["bars.1m"]
    other = want.copy()
    other["volume"][3] *= 1 + 1e-6
    with pytest.raises(Disagreement, match="volume of bar 3"):
        same_bars("another", other[other["n_trades"] > 0], want)
