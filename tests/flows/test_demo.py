"""`tidewax demo` as a user sees it: a live run on a local exchange, from nothing to signals, a table and a tape."""

import json

import pytest
from commands import called, command


@pytest.mark.slow
def test_the_demo_signals_ends_by_itself_and_leaves_a_tape(tmp_path):
    out = tmp_path / "demo"
    done = command("demo", "--out", out, "--seconds", "45")
    assert (done.returncode, done.stderr) == (0, "")
    run = json.loads((out / "live" / "run.json").read_text())
    assert run["state"] == "stopped"
    assert run["signals"] > 0
    assert run["reasons"] == {}
    assert not any(columns for by_name in run["cold"].values() for columns in by_name.values()), (
        "klines warm all columns"
    )
    for arguments in (
        ("replay", out / "live" / "tape", "--config", "short", "--out", out / "again"),
        ("verify", out / "live", out / "again"),
    ):
        assert " ".join(map(str, arguments)) in done.stdout
        told = called(*arguments)
        assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("equal")
