"""Bitcoin beta: the printed vector, an independent computation over random markets, what is dropped, and real pairs."""

from __future__ import annotations

import numpy as np
import pytest

from events.frames import Frame, control
from events.rows import BAR
from events.schema import COLD, END, FOREVER, MISSING, NEVER, SETTLED, SILENT, SYNTHETIC, VOID, WARMING
from events.times import MINUTE_NS
from operators.beta import BETA_COLUMNS, BETA_SCORES, PAIRS, Beta
from operators.beta_kernels import breaks_down, lags_of, regress, t_of_alpha
from operators.broadcast import closes
from operators.ordered import Ordered

R_B = np.array([0.010, -0.004, 0.006, -0.012, 0.008, 0.003, -0.007, 0.005])
R_S = np.array([0.013, -0.006, 0.009, -0.015, 0.012, 0.002, -0.010, 0.008])
START = 1_700_000_040 * 10**9
COLUMN = {name: k for k, name in enumerate(BETA_COLUMNS)}


def bars(returns, skip=(), synthetic=()):
    """A bar a minute whose closes have these returns, the first at 100; without those at `skip`."""
    out = np.zeros(len(returns) + 1, BAR)
    out["close"] = 100 * np.exp(np.append(0.0, np.cumsum(returns)))
    out["ts_open"] = START + np.arange(len(out)) * MINUTE_NS
    out["available_at"] = out["ts_close"] = out["ts_open"] + MINUTE_NS
    out["g"] = out["ts_open"] // MINUTE_NS
    out["flags"][list(synthetic)] = SYNTHETIC
    return np.delete(out, list(skip))


def run(own, reference, voids=(), pairs=240):
    """The rows of the core, in whole frames."""
    core = Ordered(Beta("1m", MINUTE_NS, pairs), ("bars.1m", "reference.1m"))
    core.push(Frame("x:S/USDT", "bars.1m", own, int(own["available_at"][-1]) + 1))
    for since, until in voids:
        empty = closes(reference)[:0]
        core.push(Frame("x:S/USDT", "reference.1m", empty, NEVER, control(VOID, since, since, until, id_from=7)))
    core.push(Frame("x:S/USDT", "reference.1m", closes(reference), int(reference["available_at"][-1]) + 1))
    (frame,) = (frame for frame in core.advance() if len(frame.rows))
    return frame.rows


def newey_west(y, x, lags):
    """t of alpha by matrices, as in the paper: an independent computation."""
    design = np.column_stack([np.ones(len(x)), x])
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ y
    scores = design * (y - design @ coefficients)[:, None]
    meat = scores.T @ scores
    for lag in range(1, lags + 1):
        gamma = scores[lag:].T @ scores[:-lag]
        meat += (1 - lag / (lags + 1)) * (gamma + gamma.T)
    return coefficients[0] / np.sqrt((inverse @ meat @ inverse)[0, 0])


def near(value, expected):
    return abs(value - expected) <= 1e-12 * max(1, abs(expected))


def test_the_printed_vector():
    alpha, beta, rho = regress(R_S, R_B, 0, 8)
    assert near(beta, 1.3522956973722207)
    assert near(alpha, 0.00010366734045625151)
    assert near(rho, 0.9935725434956834)
    assert near(rho * rho, 0.9871863991884816)
    assert near(0.009 - alpha - beta * 0.004, 0.003487149870054865)
    assert near(t_of_alpha(R_S, R_B, 0, 8, alpha, beta, 2), 0.31006606812380355)


def test_lags_and_windows_are_those_of_the_specification():
    assert [lags_of(n) for n in (240, 288, 336, 180, 100, 60)] == [4, 5, 5, 4, 4, 3]
    assert sorted(PAIRS.values()) == [180, 240, 288, 336]
    assert [(score.dimension, score.weight) for score in BETA_SCORES] == [("bitcoin_beta", 1.0)]


@pytest.fixture(scope="module")
def market():
    r = np.random.default_rng(3)
    reference = r.normal(0, 1e-3, 900)
    return 1e-5 + 1.3 * reference + r.normal(0, 8e-4, 900), reference


def test_every_column_against_numpy(market):
    own, reference = market
    rows = run(bars(own), bars(reference))
    e = np.full(len(own), np.nan)
    for k in range(60, len(own)):
        y, x = own[max(0, k - 240) : k], reference[max(0, k - 240) : k]
        beta, alpha = np.polyfit(x, y, 1)
        rho = np.corrcoef(x, y)[0, 1]
        recent = np.corrcoef(reference[k - 60 : k], own[k - 60 : k])[0, 1]
        e[k] = own[k] - alpha - beta * reference[k]
        values = rows["values"][k + 1]  # the first bar has no return
        expected = {
            "beta": beta, "alpha": alpha, "rho": rho, "r_squared": rho**2, "residual": e[k],
            "t_alpha": newey_west(y, x, int(4 * (len(y) / 100) ** (2 / 9))), "alpha_annual": alpha * 525_600,
        }  # fmt: skip
        for name, value in expected.items():
            assert values[COLUMN[name]] == pytest.approx(value, rel=1e-7, abs=1e-12), (name, k)
        z = (np.arctanh(rho) - np.arctanh(recent)) / np.sqrt(1 / 57 + 1 / (len(y) - 3)) if len(y) > 60 else 0.0
        assert values[COLUMN["corr_breakdown"]] == float(recent < rho - 0.25 and z > 2.3263478740408408)
    sums = np.array([e[k - 19 : k + 1].sum() if k >= 79 else np.nan for k in range(len(own))])
    for name, x in (("residual_z", e), ("bitcoin_beta.residual_momentum", sums)):
        for k in range(120, len(own)):
            before = x[max(0, k - 256) : k]
            z = np.clip((x[k] - np.nanmean(before)) / np.nanstd(before), -4, 4)
            expected = np.tanh(z / 2) if "." in name else z
            assert rows["values"][k + 1][COLUMN[name]] == pytest.approx(expected, rel=1e-6, abs=1e-9), (name, k)


def test_statuses_by_how_many_pairs_there_were(market):
    status = run(bars(market[0]), bars(market[1]))["status"][1:]
    for name, cold, full in (
        ("beta", 60, 240),
        ("residual", 60, 240),
        ("residual_z", 92, 496),
        ("bitcoin_beta.residual_momentum", 111, 515),
    ):
        column = status[:, COLUMN[name]]
        assert (column[:cold] == COLD).all()
        assert (column[cold:full] == WARMING).all()
        assert (column[full:] == SETTLED).all(), name


def test_a_pair_with_a_side_missing_or_synthetic_is_dropped(market):
    own, reference = market
    rows = run(bars(own, synthetic=[500]), bars(reference, skip=[400], synthetic=[600]))
    dropped = [0, 400, 401, 500, 600]  # 401: the reference has no bar before it
    assert np.flatnonzero((rows["status"] == MISSING).all(axis=1)).tolist() == dropped
    assert np.isnan(rows["values"][dropped]).all()
    kept = np.delete(np.arange(900), [399, 400, 499, 599])
    as_if = run(bars(own[kept]), bars(reference[kept]))
    assert rows["values"][-1].tolist() == pytest.approx(as_if["values"][-1].tolist(), rel=1e-9)


def test_a_reference_bar_after_its_void_finds_its_pair_dropped(market):
    own, reference = bars(market[0]), bars(market[1])
    at = own["available_at"]
    voided = run(own, reference, voids=[(int(at[700]), int(at[702]))])
    assert np.flatnonzero((voided["status"] == MISSING).all(axis=1)).tolist() == [0, 700, 701, 702]
    plain = run(own, reference)
    assert voided[:700].tobytes() == plain[:700].tobytes()
    assert (voided["values"][703:, 0] != plain["values"][703:, 0]).all()
    # the close of 702 is known by then, so the return of 703 is
    assert voided["values"][703][COLUMN["residual"]] == pytest.approx(
        plain["values"][703][COLUMN["residual"]], abs=1e-4
    )


def test_late_or_in_time_a_void_decides(market):
    """The bars of the reference come long after the own ones: what is void is so, whenever they come."""
    own, reference = bars(market[0]), closes(bars(market[1]))
    at = own["available_at"]
    void = control(VOID, int(at[700]), int(at[700]), int(at[-1]), id_from=7)
    core = Ordered(Beta("1m", MINUTE_NS, 240), ("bars.1m", "reference.1m"))
    core.push(Frame("x:S/USDT", "bars.1m", own[:800], int(at[799]) + 1))
    core.push(Frame("x:S/USDT", "reference.1m", reference[:700], int(at[699]) + 1, void))
    out = [frame.rows for frame in core.advance() if len(frame.rows)]
    core.push(Frame("x:S/USDT", "reference.1m", reference[700:], int(at[-1]) + 1))
    core.push(Frame("x:S/USDT", "bars.1m", own[800:], int(at[-1]) + 1))
    out += [frame.rows for frame in core.advance() if len(frame.rows)]
    whole = run(own, bars(market[1]), voids=[(int(at[700]), int(at[-1]))])
    assert np.concatenate(out).tobytes() == whole.tobytes()
    assert (whole["status"][700:] == MISSING).all()


def test_without_a_reference_it_is_not_applicable(market):
    core = Ordered(Beta("1m", MINUTE_NS, 240), ("bars.1m", "reference.1m"))
    own = bars(market[0])
    core.push(Frame("x:B/USDT", "reference.1m", closes(own)[:0], FOREVER, control(END, NEVER)))
    core.push(Frame("x:B/USDT", "bars.1m", own, int(own["available_at"][-1]) + 1))
    (frame,) = (frame for frame in core.advance() if len(frame.rows))
    assert (frame.rows["status"] == SILENT).all()
    assert np.isnan(frame.rows["values"]).all()


def test_a_reference_that_stands_still_explains_nothing(market):
    rows = run(bars(market[0]), bars(np.zeros(900)))
    assert (rows["status"][112:] == MISSING).all()
    exact = run(bars(market[1]), bars(market[1]))  # nothing is left over
    assert exact["values"][-1][COLUMN["beta"]] == pytest.approx(1.0, abs=1e-9)
    assert not np.isinf(exact["values"]).any()


def test_breakdown_needs_both_distance_and_significance():
    assert breaks_down(0.5, 60, 0.74, 240) == 0.0
    assert breaks_down(0.3, 60, 0.56, 70) == 0.0  # far enough, but of too few
    assert breaks_down(0.3, 60, 0.56, 240) == 0.0
    assert breaks_down(0.3, 60, 0.56, 1000) == 1.0
    assert breaks_down(0.9, 60, 0.2, 240) == 0.0


@pytest.mark.data
def test_real_pairs_against_polyfit(market_data):
    """ETH on BTC, a month of minutes of Binance's perpetuals."""
    pyarrow = pytest.importorskip("pyarrow.feather")
    folder, sides = market_data / "klines_1m_futures_2025-05", {}
    for base in ("BTC", "ETH"):
        table = pyarrow.read_table(folder / f"{base}_USDT_USDT-1m-futures.feather")
        rows = np.zeros(table.num_rows, BAR)
        rows["ts_open"] = table.column("date").to_numpy().astype("datetime64[ns]").astype(np.int64)
        rows["ts_close"] = rows["available_at"] = rows["ts_open"] + MINUTE_NS
        rows["g"], rows["close"] = rows["ts_open"] // MINUTE_NS, table.column("close").to_numpy()
        sides[base] = rows
    own, reference = sides["ETH"], sides["BTC"]
    rows = run(own, reference)
    common, mine, theirs = np.intersect1d(own["g"], reference["g"], return_indices=True)
    assert len(common) > 40_000
    r_own, r_reference = (np.diff(np.log(s["close"][i])) for s, i in ((own, mine), (reference, theirs)))
    by_g = dict(zip(rows["g"].tolist(), rows["values"]))
    checked = 0
    for k in range(300, len(r_own), 397):
        beta, alpha = np.polyfit(r_reference[k - 240 : k], r_own[k - 240 : k], 1)
        values = by_g[int(common[k + 1])]
        assert values[COLUMN["beta"]] == pytest.approx(beta, rel=1e-9)
        assert values[COLUMN["alpha"]] == pytest.approx(alpha, rel=1e-6, abs=1e-12)
        assert values[COLUMN["residual"]] == pytest.approx(
            r_own[k] - alpha - beta * r_reference[k], rel=1e-6, abs=1e-12
        )
        checked += 1
    assert checked > 100
    settled = rows["status"][:, COLUMN["bitcoin_beta.residual_momentum"]] == SETTLED
    u = rows["values"][settled, COLUMN["bitcoin_beta.residual_momentum"]]
    assert settled.sum() > 40_000
    assert 0.5 < np.nanmedian(rows["values"][:, 0]) < 2.0
    assert (np.abs(u) <= 1).all()
