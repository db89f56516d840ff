"""`tidewax verify` of runs in shards: all shards of a run together are held against a run in one directory, or in other shards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connectors.simulator import Market, write_trades
from events.errors import RunError
from flows.__main__ import app
from flows.rundir import directories_of, shard_directory
from flows.verify import verify

KEYS = "synthetic:BTC/USDT", "synthetic:ETH/USDT"
DAY = 1_700_006_400_000_000_000  # a UTC midnight
SETTINGS = """
bars: {time: [1m, 5m]}
confluence: {theta: 10.0, blend: {1m: 0.7, 5m: 0.3}}
signals: {tf: 1m}
"""


def told(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def rewrite(out: Path, **more: object) -> None:
    (out / "run.json").write_text(json.dumps(told(out) | more))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A backtest of two instruments, and one of each, in the directories of shards 0 and 1 of two."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "settings.yaml").write_text(SETTINGS)
    markets = Market(KEYS[0], trades_per_minute=12.0), Market(KEYS[1], 3_000.0, seed=2, trades_per_minute=6.0)
    write_trades(folder / "all.parquet", markets, DAY, 0.5)
    runs = {folder / "all.parquet": folder / "whole"}
    for number, market in enumerate(markets):
        write_trades(folder / f"{number}.parquet", [market], DAY, 0.5)
        runs[folder / f"{number}.parquet"] = shard_directory(folder / "shards", number)
    for file, out in runs.items():
        done = CliRunner().invoke(
            app, ["backtest", str(file), "--out", str(out), "--config", str(folder / "settings.yaml")]
        )
        assert done.exit_code == 0, done.output
    for number in range(2):
        rewrite(
            shard_directory(folder / "shards", number), inputs=[{"kafka": "t", "shards": 2, "partitions": [number]}]
        )
    return folder


@pytest.fixture
def shards(made, tmp_path):
    """A copy of the shards, to change."""
    shutil.copytree(made / "shards", tmp_path / "shards")
    return tmp_path / "shards"


def test_the_shards_of_a_run_together_are_the_run(made):
    one_way, other_way = verify(made / "shards", made / "whole"), verify(made / "whole", made / "shards")
    for verdict in (one_way, other_way):
        assert verdict.differences == []
        assert verdict.rows == sum(
            sum(told(made / "whole")["rows"][name].values()) for name in told(made / "whole")["digests"]
        )
        assert verdict.digests > 10
    assert told(made / "whole")["signals"] > 0


def test_one_shard_is_a_run_like_any(made):
    shard = shard_directory(made / "shards", 1)
    assert verify(shard, shard).differences == []
    out = CliRunner().invoke(app, ["explain", str(shard)]).output
    assert KEYS[1] in out
    assert KEYS[0] not in out
    cut = verify(shard, made / "whole").differences
    assert cut
    assert all(f"of {KEYS[0]}" in said for said in cut)


def test_a_row_that_differs_is_named_with_the_run_as_the_user_named_it(made, shards):
    shutil.copy(made / "whole" / "signals.parquet", shard_directory(shards, 0) / "signals.parquet")
    said = verify(shards, made / "whole").differences
    assert said[0] == f"{shard_directory(shards, 0)}: its files are not those of its run.json, they were changed since"
    assert any(
        f"signals of {KEYS[1]} is in {shard_directory(shards, 0)} and in {shard_directory(shards, 1)}" in one
        for one in said
    )


def test_shards_that_are_elsewhere_or_of_another_analysis_are_told(made, shards):
    shutil.rmtree(shard_directory(shards, 1))
    with pytest.raises(RunError, match=r"holds 1 of 2 shards: bring shard-01 beside them"):
        directories_of(shards)
    shutil.copytree(shard_directory(made / "shards", 1), shard_directory(shards, 1))
    rewrite(shard_directory(shards, 1), analysis_hash="0" * 16, analysis={"bars": {"time": ["1m"]}})
    (said,) = verify(shards, made / "whole").differences
    assert said.startswith(f"the analyses differ ({shard_directory(shards, 0)} against {shard_directory(shards, 1)}): ")
    rewrite(shard_directory(shards, 1), state="unfinished")
    with pytest.raises(RunError, match="shard-01 holds an unfinished run"):
        verify(shards, made / "whole")
