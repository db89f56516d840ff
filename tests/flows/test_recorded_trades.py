"""A recording with holes in its ids, and with one of its files twice: what is found is what counting the ids finds."""

from __future__ import annotations

import polars as pl
import pytest

from connectors.files import read_trades
from events.frames import Frame, concat, control
from events.schema import END, GAP, NEVER
from events.times import MINUTE_NS
from operators.bars import Bars
from operators.chain import Chain
from operators.intake import Intake
from operators.ordered import Ordered

pytestmark = pytest.mark.data

KEY = "binance:LTC/USDT"
LENGTHS = (("1m", MINUTE_NS), ("15m", 15 * MINUTE_NS))


def recording(market_data):
    return sorted((market_data / "ltcusdt_spot_2025-06-21_22").glob("*.csv"))


def run(paths, sequenced, chunk=10_000):
    """All that comes out of intake and bars, by stream."""
    rows = read_trades(paths, instrument=KEY)[KEY]
    stage = Chain(
        Intake({}, frozenset({KEY} if sequenced else ())), Ordered(Bars(LENGTHS, 60), ("trades",)), ("trades",)
    )
    last, out = int(rows["available_at"][-1]), {}
    frames = [Frame(KEY, "trades", rows[at : at + chunk], NEVER) for at in range(0, len(rows), chunk)]
    for frame in [*frames, Frame(KEY, "trades", rows[:0], last + 1, control(END, last, last, last))]:
        stage.push(frame)
        for made in stage.advance():
            if len(made.rows):
                out.setdefault(made.name, []).append(made.rows)
    return {
        name: parts[0] if name == "counts" else sum(parts, ()) if isinstance(parts[0], tuple) else concat(parts)
        for name, parts in out.items()
    }


@pytest.fixture(scope="module")
def ids(market_data):
    """The trades of the recording by id, with the id and time of the one before."""
    files = [pl.read_csv(path) for path in recording(market_data)]
    by_id = pl.concat(files).unique(subset="tradeId").sort("tradeId")
    before = by_id.select(pl.all().shift(1).name.suffix("_before"))
    return pl.concat([by_id, before], how="horizontal")


def test_no_trade_of_the_five_files_is_a_repeat(market_data, ids):
    counts = run(recording(market_data), sequenced=True)["counts"][0]
    assert (counts.received, counts.accepted, counts.rejected) == (53_325, len(ids), {})


@pytest.mark.parametrize("sequenced", [True, False])
@pytest.mark.parametrize("chunk", [10_000, 777])
def test_a_file_given_twice_is_counted_and_changes_nothing(market_data, tmp_path, ids, sequenced, chunk):
    paths = recording(market_data)
    again = tmp_path / "copy.csv"
    again.write_bytes(paths[1].read_bytes())
    repeats = len(pl.read_csv(again))
    found = run([*paths, again], sequenced, chunk)
    counts = found.pop("counts")[0]
    assert (counts.received, counts.accepted, counts.rejected) == (53_325 + repeats, len(ids), {"DUPLICATE": repeats})
    assert repeats == 8_386
    once = run(paths, sequenced)
    del once["counts"]
    assert once.keys() == found.keys()
    for name, rows in once.items():
        assert rows.tobytes() == found[name].tobytes(), name


def test_holes_in_the_ids_are_found_and_mark_the_bars_they_touch(market_data, ids):
    found = run(recording(market_data), sequenced=True)
    holes = ids.filter(pl.col("tradeId") - pl.col("tradeId_before") > 1)
    assert (len(holes), int((holes["tradeId"] - holes["tradeId_before"] - 1).sum())) == (16, 168)
    gaps = found["gaps"]
    assert gaps["id_from"].tolist() == (holes["tradeId_before"] + 1).to_list()
    assert gaps["id_to"].tolist() == (holes["tradeId"] - 1).to_list()
    since, until = holes["timestamp_before"].to_numpy() * 1_000_000, holes["timestamp"].to_numpy() * 1_000_000
    for name, length in LENGTHS:
        bars = found[f"bars.{name}"]
        touched = {g for a, b in zip(since, until) for g in range(int(a // length), int(b // length) + 1)}
        assert set(bars["g"][bars["flags"] & GAP > 0].tolist()) == touched & set(bars["g"].tolist())
        assert len(touched) == {"1m": 19, "15m": 13}[name]


def test_bars_of_ids_that_are_not_known_to_follow_are_not_marked(market_data):
    found = run(recording(market_data), sequenced=False)
    assert "gaps" not in found
    assert not (found["bars.1m"]["flags"] & GAP).any()
