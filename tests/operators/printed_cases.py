"""Which column of whose table must come out of which indicator, and what is not compared, with the reasons."""

from __future__ import annotations

from typing import Any, NamedTuple

SEED = "begins with another mean of the first bars; compared once that is forgotten"
ROUNDED = "made of prices with more digits than are printed"


class Case(NamedTuple):
    """A column of a file, and the indicator that must give it."""

    file: str
    column: str
    fn: str
    parameters: dict[str, Any]
    n: int
    output: int = 0
    since: int = 0
    within: float | None = None
    why: str = ""
    lead: int = 0
    factor: float = 1.0
    take: dict[str, str] | None = None
    but: tuple[int, ...] = ()
    adjust: str = ""


def of(
    file,
    column,
    fn,
    n,
    *,
    output=0,
    since=0,
    within=None,
    why="",
    lead=0,
    factor=1.0,
    take=None,
    but=(),
    adjust="",
    **parameters,
):
    return Case(file, column, fn, parameters, n, output, since, within, why, lead, factor, take, but, adjust)


def stock(name, column, fn, n, **more):
    return of(f"stock_indicators/results/{name}.standard.json", column, fn, n, **more)


def lean(name, column, fn, n, **more):
    return of(f"lean/spy_{name}", column, fn, n, **more)


def ta(name, column, fn, n, **more):
    return of(f"ta_bukosabino/cs-{name}.csv", column, fn, n, **more)


def several(make, name, columns, fn, n, **more):
    return [make(name, column, fn, n, output=k, **more) for k, column in enumerate(columns)]


BANDS = {"timeperiod": 20, "nbdevup": 2, "nbdevdn": 2}
CONVERGENCE = {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9}
HIGHS = (("percentr", "Highest High (14)"), ("soo", "Highest High (14)"))
LOWS = (("percentr", "Lowest Low (14)"), ("soo", "Lowest Low (14)"))
DIRECTION = (("+DI14", "PLUS_DI"), ("-DI14", "MINUS_DI"), ("DX", "DX"), ("+DM14", "PLUS_DM"), ("-DM14", "MINUS_DM"))

STOCK = [
    *(
        stock("adx", column, fn, 202, timeperiod=14, since=300, why=SEED)
        for column, fn in (("pdi", "PLUS_DI"), ("mdi", "MINUS_DI"), ("dx", "DX"), ("adx", "ADX"))
    ),
    stock("atr", "tr", "TRANGE", 501),
    stock("atr", "atr", "ATR", 488, timeperiod=14),
    stock("atr", "atrp", "NATR", 488, timeperiod=14),
    *several(stock, "bb", ("upperBand", "sma", "lowerBand"), "BBANDS", 483, **BANDS),
    stock("beta", "beta", "BETA", 452, timeperiod=50, take={"low": "compare"}),
    stock("ema", "ema", "EMA", 483, timeperiod=20),
    stock("macd", "fastEma", "EMA", 491, timeperiod=12),
    stock("macd", "slowEma", "EMA", 477, timeperiod=26),
    *several(stock, "macd", ("macd", "signal", "histogram"), "MACD", 332, since=170, why=SEED, **CONVERGENCE),
    stock("psar", "sar", "SAR", 461, since=40, but=(250,), why="begins long or short by another rule until the first turn"),
    *several(
        stock, "donchian", ("upperBand", "centerline", "lowerBand"),
        "DONCHIAN", 482, timeperiod=20, adjust="before", why="it leaves the bar itself out",
    ),
    stock("obv", "obv", "OBV", 502, adjust="from zero", why="the first volume counts with us"),
    stock("rsi", "rsi", "RSI", 488, timeperiod=14),
    stock("sma", "sma", "SMA", 483, timeperiod=20),
    *several(stock, "stoch", ("oscillator", "signal"), "STOCH", 485, fastk_period=14, slowk_period=3, slowd_period=3),
    stock("supertrend", "superTrend", "SUPERTREND", 492, timeperiod=10, multiplier=3),
    stock("vwap", "vwap", "VWAP", 502),
    stock("ichimoku", "tenkanSen", "MIDPRICE", 494, timeperiod=9),
    stock("ichimoku", "kijunSen", "MIDPRICE", 477, timeperiod=26),
]  # fmt: skip

LEAN = [
    of("lean/spy_ema.csv", "EMA14", "EMA", 351, timeperiod=14),
    lean("with_keltner.csv", "Middle Band", "SMA", 482, timeperiod=20, take={"close": "TypicalPrice"}, within=6.1e-5, why=ROUNDED),
    lean("with_rma.csv", "SMA10", "SMA", 1017, timeperiod=10),
    lean("with_rma.csv", "SMA5", "SMA", 1012, timeperiod=15, why="the file has the names of SMA5 and SMA15 exchanged"),
    lean("with_rma.csv", "SMA15", "SMA", 1022, timeperiod=5, why="the file has the names of SMA5 and SMA15 exchanged"),
    lean("atr_wilder.txt", "Average True Range 14", "ATR", 336, timeperiod=14, since=165, why=SEED),
    *several(
        lean, "bollinger_bands.txt",
        ("Bollinger Bands® 20 2 Top", "Moving Average 20", "Bollinger Bands® 20 2 Bottom"),
        "BBANDS", 481, within=6.1e-5, why=ROUNDED, **BANDS,
    ),
    lean("hma.txt", "HMA_16", "HMA", 482, timeperiod=16),
    lean("mfi.txt", "Money Flow Index 20", "MFI", 480, timeperiod=20, within=1e-5, why=ROUNDED),
    lean("with_adx.txt", "TR", "TRANGE", 503),
    *(
        lean("with_adx.txt", column, fn, 259, timeperiod=14, since=245, why=SEED)
        for column, fn in (*DIRECTION, ("ADX 14", "ADX"), ("ADXR 14", "ADXR"))
    ),
    lean("with_cci.txt", "Commodity Channel Index (CCI) 14", "CCI", 488, timeperiod=14, within=2.3e-3, why=ROUNDED),
    *(
        lean("with_don50.txt", f"Donchian Channels 50 {column}", "DONCHIAN", 451, output=k, timeperiod=50)
        for k, column in enumerate(("Top", "Mean", "Bottom"))
    ),
    *several(lean, "with_macd.txt", ("MACD", "Signal", "Histogram"), "MACD", 183, within=6e-6, why=ROUNDED, **CONVERGENCE),
    lean("with_obv.txt", "OBV", "OBV", 500, within=1400.0, why="volumes are printed with 7 digits, sums made of all of them"),
    *several(
        lean, "with_stoch12k3.txt", ("Stochastics 12 %K 3", "%D 5"),
        "STOCH", 484, fastk_period=12, slowk_period=3, slowd_period=5, within=4e-4, why=ROUNDED,
    ),
    lean("with_ichimoku.csv", "Tenkan", "MIDPRICE", 492, timeperiod=9),
    lean("with_ichimoku.csv", "Kijun", "MIDPRICE", 475, timeperiod=26),
    lean("with_ichimoku.csv", "TenkanMaximum", "MAX", 492, timeperiod=9, take={"close": "High"}),
    lean("with_ichimoku.csv", "TenkanMinimum", "MIN", 492, timeperiod=9, take={"close": "Low"}),
    lean("with_ichimoku.csv", "KijunMaximum", "MAX", 475, timeperiod=26, take={"close": "High"}),
    lean("with_ichimoku.csv", "KijunMinimum", "MIN", 475, timeperiod=26, take={"close": "Low"}),
    lean("with_ichimoku.csv", "SenkouBMaximum", "MAX", 449, timeperiod=52, take={"close": "High"}),
    lean("with_ichimoku.csv", "SenkouBMinimum", "MIN", 449, timeperiod=52, take={"close": "Low"}),
]  # fmt: skip

TA = [
    ta("accum", "ADLine", "AD", 30),
    ta("adx", "TR", "TRANGE", 503),
    *(ta("adx", column, fn, 194, timeperiod=14, since=310, why=SEED) for column, fn in (*DIRECTION, ("ADX", "ADX"))),
    *(ta(name, "TR", "TRANGE", 30, lead=1) for name in ("atr", "atr2")),
    ta("atr", "ATR", "ATR", 17, timeperiod=14, lead=1),
    ta("atr2", "ATR", "ATR", 21, timeperiod=10, lead=1),
    *several(ta, "bbands", ("HighBand", "MiddleBand", "LowBand"), "BBANDS", 23, **BANDS),
    ta("cci", "CCI", "CCI", 11, timeperiod=20),
    *several(ta, "dc", ("upper_band", "middle_band", "lower_band"), "DONCHIAN", 11, timeperiod=20),
    *several(
        ta,
        "dc2",
        ("upper_band", "middle_band", "lower_band"),
        "DONCHIAN",
        10,
        timeperiod=20,
        adjust="before",
        why="it leaves the bar itself out",
    ),
    ta("kama", "KAMA", "KAMA", 39, timeperiod=10),
    ta("kc", "middle_band", "EMA", 30, timeperiod=20, lead=60),
    ta("macd", "short_ema", "EMA", 124, timeperiod=12, lead=60),
    ta("macd", "long_ema", "EMA", 124, timeperiod=26, lead=60),
    ta("macd", "MACD_line", "MACD", 123, lead=60, **CONVERGENCE),
    ta("macd", "MACD_signal", "MACD", 24, output=1, lead=60, since=100, why=SEED, **CONVERGENCE),
    ta("macd", "MACD_diff", "MACD", 24, output=2, lead=60, since=100, why=SEED, **CONVERGENCE),
    ta("mfi", "MFI", "MFI", 16, timeperiod=14),
    ta("obv", "OBV", "OBV", 29),
    ta("percentr", "Williams_%R", "WILLR", 17, timeperiod=14),
    *(
        ta(name, column, name.upper(), 40, lead=60, fastperiod=12, slowperiod=26, matype=1)
        for name, column in (("ppo", "PPO"), ("pvo", "PVO"))
    ),
    ta("psar", "psar_up", "SAR", 13),
    ta("psar", "psar_down", "SAR", 9, since=9, why="begins with the first close"),
    ta("roc", "ROC", "ROC", 8, timeperiod=12),
    ta("rsi", "RSI", "RSI", 19, timeperiod=14, lead=20),
    ta("soo", "SO", "STOCHF", 15, fastk_period=14, fastd_period=3),
    ta("soo", "SO_SIG", "STOCHF", 14, output=1, fastk_period=14, fastd_period=3, within=1e-6, why=ROUNDED),
    ta("stochrsi", "StochRSI(14)", "STOCHRSI", 6, lead=20, factor=0.01, timeperiod=14, fastk_period=14, fastd_period=1),
    ta("tsi", "TSI", "TSI", 445, within=0.011, why="its factors are rounded to 0.07692 and 0.1428"),
    ta("ultosc", "Ult_Osc", "ULTOSC", 2),
    *several(ta, "vortex", ("+VI14", "-VI14"), "VORTEX", 16, timeperiod=14),
    ta("vpt", "unsmoothed vpt", "PVT", 29),
    ta("vwap", "vwap", "VWMA", 17, timeperiod=14, take={"close": "typical"}),
    ta("wma", "WMA", "WMA", 32, timeperiod=9),
]

STEPS = [
    *(ta(name, column, "MAX", 17, timeperiod=14, take={"close": "High"}) for name, column in HIGHS),
    *(ta(name, column, "MIN", 17, timeperiod=14, take={"close": "Low"}) for name, column in LOWS),
    *(ta("ppo", f"{n} day EMA", "EMA", 40, timeperiod=n, lead=60) for n in (12, 26)),
    *(ta("pvo", f"{n} day EMA", "EMA", 40, timeperiod=n, lead=60, take={"close": "Volume"}) for n in (12, 26)),
    *(
        ta(name, "Typical Price", "TYPPRICE", n, within=1e-4, why=ROUNDED)
        for name, n in (("cci", 30), ("mfi", 30), ("vwap", 30))
    ),
    lean("with_keltner.csv", "TypicalPrice", "TYPPRICE", 501, within=1e-4, why=ROUNDED),
    ta("bbands", "20-day Standard Deviation", "STDDEV", 23, timeperiod=20),
    ta("cci", "20-day SMA of TP", "SMA", 11, timeperiod=20, take={"close": "typical"}),
    ta("cci", "20-day Mean Deviation", "AVGDEV", 11, timeperiod=20, take={"close": "typical"}),
    ta("dc", "average", "SMA", 11, timeperiod=20),
    ta("kc", "true_range", "TRANGE", 30, lead=1),
    ta("rsi", "Change", "MOM", 32, timeperiod=1),
    ta("stochrsi", "RSI", "RSI", 19, timeperiod=14, lead=20, within=5e-7, why="printed with 6 digits and a zero"),
    ta("vortex", "TR", "TRANGE", 29),
    ta("ultosc", "True Range", "TRANGE", 29),
    ta("tsi", "Momentum", "MOM", 503, timeperiod=1),
    ta("fi", "FI_1", "EFI", 28, timeperiod=1),
]
"""What is printed on the way to a result."""

CASES = [*STOCK, *LEAN, *TA, *STEPS]

OTHER = "it is defined otherwise"
NONE = "we have no such indicator"
REPEATED = "derived from columns that are compared"
STEP = "a step on the way that has no name of its own here"
DISPLACED = "displaced in time: a plot, not a value at its bar"
NOT_COMPARED = {
    "stock_indicators/results/adx.standard.json": {"adxr": f"{OTHER}: the mean with the ADX of 14 bars before, ours of 13"},
    "stock_indicators/results/bb.standard.json": dict.fromkeys(("percentB", "zScore", "width"), REPEATED),
    "stock_indicators/results/beta.standard.json": dict.fromkeys(("returnsEval", "returnsMrkt"), STEP),
    "stock_indicators/results/donchian.standard.json": {"width": REPEATED},
    "stock_indicators/results/ichimoku.standard.json": dict.fromkeys(("senkouSpanA", "senkouSpanB", "chikouSpan"), DISPLACED),
    "stock_indicators/results/keltner.standard.json": dict.fromkeys(
        ("upperBand", "centerline", "lowerBand", "width"), f"{OTHER}: around the mean of closes, ours of typical prices"
    ),
    "stock_indicators/results/pivots.standard.json": dict.fromkeys(("highLine", "lowLine"), NONE),
    "stock_indicators/results/stoch.standard.json": dict.fromkeys(("percentJ", "k", "d", "j"), REPEATED),
    "stock_indicators/results/supertrend.standard.json": dict.fromkeys(("upperBand", "lowerBand"), REPEATED),
    "stock_indicators/results/zigzag.standard.json": dict.fromkeys(
        ("zigZag", "retraceHigh", "retraceLow"), f"{NONE}: it looks ahead"
    ),
    "lean/dwac_supertrend.txt": {"Super": "its first ranges have another mean, and 78 bars do not forget it"},
    "lean/spy_bollinger_bands.txt": dict.fromkeys(("BandWidth", "%B"), REPEATED),
    "lean/spy_with_adx.txt": dict.fromkeys(("+DM 1", "-DM 1", "TR14", "DI 14 Diff", "DI 14 Sum"), STEP),
    "lean/spy_with_ichimoku.csv": dict.fromkeys(
        (
            "Ichimoku Cloud", "DelayedTenkanSenkouA", "DelayedKijunSenkouA", "Senkou A", "DelayedMaximumSenkouB",
            "DelayedMinimumSenkouB", "Senkou B",
        ), DISPLACED,
    ),
    "lean/spy_with_keltner.csv": dict.fromkeys(
        ("Keltner Channels 20 Top", "Keltner Channels 20 Bottom"), f"{OTHER}: a plain mean of ranges around a plain mean"
    ),
    "lean/spy_with_rma.csv": {"RMA5": f"{OTHER}: Lean's relative average is 3 SMA(n) - 3 SMA(2n) + SMA(3n)"},
    "lean/spy_with_vwap.txt": {"Moving VWAP 50": f"{OTHER}: weighs a price of the bar that is not printed"},
    "lean/vp_datatest.csv": dict.fromkeys(
        ("Adj Close", "POCPrice", "POCVolume", "PH", "PL", "VA", "VAH", "VAL"), f"{NONE} of bars alone: a volume profile"
    ),
    "ta_bukosabino/cs-accum.csv": dict.fromkeys(("MF Multiplier", "MF Value"), STEP),
    "ta_bukosabino/cs-adx.csv": dict.fromkeys(("+DM 1", "-DM 1", "TR14", "DI 14 Diff", "DI 14 Sum"), STEP),
    "ta_bukosabino/cs-bbands.csv": dict.fromkeys(("WidthBand", "CrossUp", "CrossDown", "PercentageBand"), REPEATED),
    "ta_bukosabino/cs-dc.csv": dict.fromkeys(("dc_percentage", "dc_band_width"), REPEATED),
    "ta_bukosabino/cs-dc2.csv": dict.fromkeys(("average", "dc_percentage", "dc_band_width"), REPEATED),
    "ta_bukosabino/cs-easeofmovement.csv": dict.fromkeys(("EMV", "SMA_EMV"), NONE),
    "ta_bukosabino/cs-fi.csv": {"FI": "begins with the first value, and 29 bars do not forget it"},
    "ta_bukosabino/cs-kama.csv": dict.fromkeys(
        ("ABS (Close - Close 10 periods ago)", "ABS (Close - Prior Close)", "2/(fastest + 1)", "2/(slowest + 1)", "SC"), STEP
    ),
    "ta_bukosabino/cs-kc.csv": dict.fromkeys(
        ("atr", "upper_band", "lower_band", "kc_high_indicator", "kc_low_indicator", "kc_band_width", "kc_percentage"),
        f"{OTHER}: around the mean of closes, ours of typical prices",
    ),
    "ta_bukosabino/cs-mfi.csv": dict.fromkeys(
        (
            "Up or Down", "Raw Money Flow", "1-period Positive Money Flow", "1-period Negative Money Flow",
            "14-period Positive Money Flow", "14-period Negative Money Flow", "14-period Money Flow Ratio",
        ), STEP,
    ),
    "ta_bukosabino/cs-obv.csv": dict.fromkeys(("up-down", "positive-negative"), STEP),
    "ta_bukosabino/cs-ppo.csv": dict.fromkeys(("PPO_Signal_Line", "PPO_Histogram"), NONE),
    "ta_bukosabino/cs-psar.csv": dict.fromkeys(("psar_up_ind", "psar_down_ind"), REPEATED),
    "ta_bukosabino/cs-pvo.csv": dict.fromkeys(("PVO_Signal_Line", "PVO_Histogram"), NONE),
    "ta_bukosabino/cs-rsi.csv": dict.fromkeys(("Gain", "Loss", "Avg Gain", "Avg Loss", "RS"), STEP),
    "ta_bukosabino/cs-stc.csv": dict.fromkeys(
        (
            "short_ema", "long_ema", "macd_line", "_macdmin", "_macdmax", "_stoch_k", "_stoch_d", "_stoch_d_min",
            "_stoch_d_max", "_stoch_kd", "stc",
        ), NONE,
    ),
    "ta_bukosabino/cs-stochrsi.csv": dict.fromkeys(("RSI Highest High (14)", "RSI Lowest Low (14)"), STEP),
    "ta_bukosabino/cs-tsi.csv": dict.fromkeys(
        ("25-period EMA Mo", "13-Period EMA of EMA", "Absolute Momentum", "25-period EMA AbMo"), STEP
    ),
    "ta_bukosabino/cs-ui.csv": dict.fromkeys(
        ("max_price", "percent_drawdown", "percent_drawdown_squared", "squared_average", "ulcer_index"), NONE
    ),
    "ta_bukosabino/cs-ultosc.csv": dict.fromkeys(("Buying Pressure", "AVG-7", "AVG-14", "AVG-28"), STEP),
    "ta_bukosabino/cs-vortex.csv": dict.fromkeys(("+VM", "-VM", "+VM14", "-VM14", "TR14"), STEP),
    "ta_bukosabino/cs-vpt.csv": dict.fromkeys(("pct_change", "pct_change x Volume", "14-smoothed vpt"), STEP),
}  # fmt: skip
OWN = {("stock_indicators/results/pivots.standard.json", column) for column in ("highPoint", "lowPoint")}
OWN |= {("ta_bukosabino/cs-kama.csv", "ER")}
