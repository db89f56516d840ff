"""Declarations of plugins: what they make of a function, and what they refuse with a sentence."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from operators.declare import declaration_of, indicator, rule, score


def made(function, **parameters):
    return declaration_of(function).made(parameters)


def test_a_bare_indicator_takes_what_its_arguments_say():
    @indicator
    def spread(high, low):
        return high - low

    got = made(spread)
    assert (got.columns, got.inputs, got.lookback, got.stable, got.history) == (("spread",), ("high", "low"), 0, 1, 64)
    assert spread(3.0, 1.0) == 2.0
    assert declaration_of(len) is None


def test_parameters_enter_columns_lookback_history_and_identity():
    @indicator(columns=("ma_{length}",), lookback=lambda length: length - 1, version=3)
    def average(close, length=10, centred=False):
        return close

    plain, long = made(average), made(average, length=300)
    assert (plain.columns, plain.lookback, plain.stable, plain.history) == (("ma_10",), 9, 10, 64)
    assert (long.columns, long.lookback, long.stable, long.history) == (("ma_300",), 299, 300, 512)
    assert plain.source == ("plugin", "average", 3, "length", 10, "centred", False)
    assert plain.identity() != long.identity()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"lenght": 5}, "no parameter 'lenght'; it has length, factor"),
        ({"length": 5.5}, "length must be a whole number, not 5.5"),
        ({"factor": "big"}, "factor must be a number, not 'big'"),
    ],
)
def test_wrong_parameters_are_named(parameters, said):
    @indicator
    def x(close, length=10, factor=1.0):
        return close

    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        made(x, **parameters)
    assert made(x, factor=2).source[-1] == 2.0


def test_a_history_that_does_not_hold_names_one_that_does():
    @indicator(lookback=99, history=100)
    def x(close):
        return close

    with pytest.raises(ValueError, match="128 would do"):
        made(x)


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: indicator(inputs=("close", "open"))(lambda close: close), "takes 1 columns"),
        (lambda: indicator(inputs="close")(lambda close: close), "must be a tuple of names"),
        (lambda: indicator(lambda: 1), "takes no column"),
        (lambda: indicator(lambda close, x=None: 1), "the default of x"),
        (lambda: indicator(lambda close, *, x: 1), "argument x needs a default"),
        (lambda: rule()(lambda *columns: 1), "argument columns needs a default, or a name"),
        (lambda: score(dimension="d", weight=0.0)(lambda x: x), "it must be above 0"),
        (lambda: indicator(5), "stands above a function"),
    ],
)
def test_declarations_that_do_not_fit_are_refused(declare, said):
    with pytest.raises(ValueError, match=said):
        declare()


def test_inputs_cannot_be_written_to_and_results_are_checked():
    @indicator
    def writes(close):
        close[0] = 1.0
        return close

    @indicator
    def nothing(close):
        return None

    @score(dimension="d", weight=1.0)
    def one(close):
        return 0.5

    close = np.arange(3.0)
    with pytest.raises(ValueError, match="read-only"):
        made(writes).batch(close)
    assert close.flags.writeable
    assert close.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match="NoneType"):
        made(nothing).batch(close)
    with pytest.raises(ValueError, match="float"):
        made(one).function(close)


def test_compiled_functions_and_any_number_of_columns():
    @indicator(inputs=("close", "open", "volume"))
    def total(*columns):
        return sum(columns)

    @indicator
    @numba.njit
    def twice(close, factor=2.0):
        return close * factor

    ones = np.ones(4)
    assert made(total).batch(ones, ones, ones)[0].tolist() == [3.0] * 4
    assert made(twice, factor=5).batch(ones)[0].tolist() == [5.0] * 4
