"""The page about the long runs is made of what they kept, and of nothing else."""

import soak_rows

OF_BOOKS = dict.fromkeys(("different", "stated", "unhealed", "refused", "snapshots", "lost"), 0)
ROW = dict.fromkeys(("lost", "twice", "out_of_order", "wrong", "late", "gaps", "reconnects", "refilled"), 0)


def test_rows_of_one_fault_are_summed_and_runs_are_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEWAX_SOAK", "1")
    monkeypatch.setattr(soak_rows, "KEPT", tmp_path)
    for seed, lost in ((1, 0), (2, 3)):
        soak_rows.keep("faults", "skip", seed, ROW | {"trades": 51_000, "lost": lost, "seconds": 12.4})
    soak_rows.keep("books", "crossed-book", 1, OF_BOOKS | {"updates": 2_500, "compared": 9, "seconds": 30.0})
    soak_rows.keep("live", "killed 20 times", 1, {"trades": 9_999, "rows": 1_234, "different": 0, "seconds": 60.2})
    soak_rows.keep("kafka", "killed 21 times", 1, {"trades": 8_888, "rows": 4_321, "different": 0, "seconds": 61.0})
    page = soak_rows.page(tmp_path)
    assert "| skip | 2 | 102,000 | 3 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 25 |" in page
    assert "| killed 20 times | 9,999 | 1,234 | 0 | 60 |" in page
    assert "| killed 21 times | 8,888 | 4,321 | 0 | 61 |" in page
    assert "| crossed-book | 1 | 2,500 | 9 | 0 | 0 | 0 | 0 | 0 | 0 | 30 |" in page
    assert "3 runs under faults of exchanges, which\ntook 1 minutes, 1 of `tidewax live` and 1 on Kafka." in page


def test_short_runs_keep_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("TIDEWAX_SOAK", raising=False)
    monkeypatch.setattr(soak_rows, "KEPT", tmp_path)
    soak_rows.keep("faults", "skip", 1, ROW)
    assert not list(tmp_path.iterdir())
