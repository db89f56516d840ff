"""Plugins: an indicator, a score or a signal rule is one plain function with a declaration attached to it.

The decorators change nothing: the function stays what it was, callable in a notebook.

>>> import numpy as np
>>> @indicator(lookback=lambda length: length)
... def rise(close, length=2):
...     out = np.full(len(close), np.nan)
...     out[length:] = close[length:] - close[:-length]
...     return out
>>> rise(np.array([1.0, 2.0, 4.0])).tolist()
[nan, nan, 3.0]
>>> made = declaration_of(rise).made({"length": 5})
>>> made.columns, made.inputs, made.lookback, made.history
(('rise',), ('close',), 5, 64)
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, overload

import numpy as np

from events.frames import Array
from operators.dimensions.base import Score
from operators.indicators import BAR_INPUTS, Indicator
from operators.indicators.two_slot import Step, TwoSlot
from operators.rules import Rule

Parameter = bool | int | float | str
Number = int | Callable[..., int]
"""A number, or a function of parameters of the plugin, by their names."""
F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "__tidewax__"
_LEAST_HISTORY: Final = 64


@dataclass(frozen=True)
class Declaration(ABC):
    """What a plugin function says of itself.

    Attributes:
        function: the function as it was written.
        name: by which settings and the analysis hash know it.
        version: part of the analysis hash; raise it when the values change.
        takes: what it takes, in the order of its arguments.
        defaults: its parameters.
    """

    function: Callable[..., Any]
    name: str
    version: int
    takes: tuple[str, ...]
    defaults: Mapping[str, Parameter]

    @abstractmethod
    def made(self, parameters: Mapping[str, Parameter]) -> Indicator | Score | Rule:
        """What the graph runs, with these parameters instead of the defaults.

        Raises:
            ValueError: there is no parameter of that name or type, or the declaration does not go together with it.
        """

    def effective(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """All parameters, those given instead of the defaults."""
        for name in parameters:
            if name not in self.defaults:
                known = ", ".join(self.defaults) or "none"
                raise ValueError(f"{self.name} has no parameter {name!r}; it has {known}")
        return {name: self._typed(name, parameters.get(name, default)) for name, default in self.defaults.items()}

    def _typed(self, name: str, value: Parameter) -> Parameter:
        kind = type(self.defaults[name])
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
            raise ValueError(f"{self.name}: {name} must be {words[kind]}, not {value!r}")
        return value

    def _source(self, effective: Mapping[str, Parameter]) -> tuple[Any, ...]:
        return ("plugin", self.name, self.version, *(part for pair in effective.items() for part in pair))


@dataclass(frozen=True)
class _Indicator(Declaration):
    columns: tuple[str, ...]
    lookback: Number
    stable: Number | None
    history: Number | None
    timeframes: tuple[str, ...] | None
    silent: bool
    step: Step | None

    def made(self, parameters: Mapping[str, Parameter]) -> Indicator:
        used = self.effective(parameters)
        lookback = _number(self.lookback, used)
        stable = lookback + 1 if self.stable is None else _number(self.stable, used)
        least = max(stable, lookback + 1)
        power = 1 << (max(least, _LEAST_HISTORY) - 1).bit_length()
        history = power if self.history is None else _number(self.history, used)
        if history < least or history & (history - 1):
            raise ValueError(
                f"{self.name}: history is {history} bars; it must be a power of two and at least stable ({stable}) and "
                f"lookback + 1 ({lookback + 1}): {power} would do"
            )
        step = None if self.step is None else partial(self.step, **used)
        width = len(self.columns)
        return Indicator(
            columns=tuple(column.format(**used) for column in self.columns),
            function=partial(_columns, self.function, used),
            inputs=self.takes,
            history=history,
            stable=stable,
            lookback=lookback,
            source=self._source(used),
            silent=self.silent,
            timeframes=self.timeframes,
            wide=None if step is None else lambda _: TwoSlot(step, width, history, stable),
        )


@dataclass(frozen=True)
class _Score(Declaration):
    dimension: str
    weight: float

    def made(self, parameters: Mapping[str, Parameter]) -> Score:
        used = self.effective(parameters)
        function = partial(_one_column, self.function, used)
        return Score(self.name, self.dimension, self.weight, self.takes, function, self._source(used))


@dataclass(frozen=True)
class _Rule(Declaration):
    def made(self, parameters: Mapping[str, Parameter]) -> Rule:
        used = self.effective(parameters)
        return Rule(self.name, self.takes, partial(_one_column, self.function, used), self._source(used))


@overload
def indicator(function: F, /) -> F: ...
@overload
def indicator(
    *,
    inputs: tuple[str, ...] | None = None,
    columns: tuple[str, ...] | None = None,
    lookback: Number = 0,
    stable: Number | None = None,
    history: Number | None = None,
    timeframes: tuple[str, ...] | None = None,
    silent: bool = False,
    step: Step | None = None,
    version: int = 1,
) -> Callable[[F], F]: ...
def indicator(
    function: Any = None, /, *, inputs: tuple[str, ...] | None = None, columns: tuple[str, ...] | None = None,
    lookback: Number = 0, stable: Number | None = None, history: Number | None = None,
    timeframes: tuple[str, ...] | None = None, silent: bool = False, step: Step | None = None, version: int = 1,
) -> Any:  # fmt: skip
    """Declare an indicator: a causal function of columns that gives an array, or a tuple of arrays, of their length.

    It gets one read-only float64 array per input, and gives NaN where it has too few bars. Arguments with defaults are parameters,
    which settings may override: `plugins.parameters.NAME.PARAMETER`.

    Args:
        function: the function, where the decorator is used without parentheses.
        inputs: bar columns (open, high, low, close, volume) or columns of other indicators; the names of the arguments without
            default, if not given.
        columns: names of the results; the function's name, if not given. `{length}` in it stands for that parameter.
        lookback: bars before the first value.
        stable: bars from which on older ones no longer matter; lookback + 1, if not given, which is right for windows.
        history: bars that it is computed from at least, a power of two; the least that holds `stable`, at least 64, if not given.
        timeframes: where it is computed; everywhere, if not given. Elsewhere it is silent.
        silent: whether it gives, after its columns, one more that is true where it is ready but has no opinion.
        step: the same by steps, for long histories: `step(state, bar)` gives (state, value), or a tuple of values; the state, None
            at the start of a history, can be pickled; the bar has the fields of a bar row. Then only two states are kept, no
            bars, and the function says what the steps must come to, which `tidewax laws` holds them to.
        version: raise it when the values change.

    Raises:
        ValueError: the declaration does not fit the function.
    """

    def declare(function: Any) -> Any:
        takes, defaults = _arguments(function, inputs)
        names = (function.__name__,) if columns is None else _names(function, "columns", columns)
        where = None if timeframes is None else _names(function, "timeframes", timeframes)
        if step is not None and (silent or not set(takes) <= set(BAR_INPUTS)):
            raise ValueError(f"{function.__name__}: with a step it takes bar columns alone, and is not silent")
        common = (function, function.__name__, version, takes, defaults)
        return _attach(function, _Indicator(*common, names, lookback, stable, history, where, silent, step))

    return declare if function is None else declare(function)


def score(
    *, dimension: str, weight: float, needs: tuple[str, ...] | None = None, name: str | None = None, version: int = 1
) -> Callable[[F], F]:
    """Declare a score: a row-wise function of columns of the same bar that gives a direction u in [-1, 1] per row.

    It is only asked for rows on which all that it needs has a value.

    Args:
        dimension: in which it votes; one of its own needs a weight, `dimensions.weights.NAME` in the settings.
        weight: inside the dimension, beside the others: they need not sum to 1.
        needs: indicator or bar columns; the names of the arguments without default, if not given.
        name: the function's name, if not given; its column is "dimension.name".
        version: raise it when the values change.

    Raises:
        ValueError: the declaration does not fit the function.
    """

    def declare(function: F) -> F:
        takes, defaults = _arguments(function, needs)
        if not weight > 0:
            raise ValueError(f"{function.__name__}: weight is {weight}, it must be above 0")
        common = (function, name or function.__name__, version, takes, defaults)
        return _attach(function, _Score(*common, dimension, float(weight)))

    return declare


@overload
def rule(function: F, /) -> F: ...
@overload
def rule(*, needs: tuple[str, ...] | None = None, name: str | None = None, version: int = 1) -> Callable[[F], F]: ...
def rule(
    function: Any = None, /, *, needs: tuple[str, ...] | None = None, name: str | None = None, version: int = 1
) -> Any:
    """Declare a signal rule: a row-wise function that gives the direction +1, -1 or 0 at each close of a base bar.

    It stands in place of the score's own entry state when the settings choose it, `signals.rule: NAME`. What it needs may be NaN.

    Args:
        function: the function, where the decorator is used without parentheses.
        needs: of the score (score, m, coverage, agreement, dispersion, theta, state), of the base bar (open, high, low, close,
            volume), or feature columns as of the boundary, "rsi_14@30m"; the names of the arguments without default, if not given.
        name: the function's name, if not given.
        version: raise it when the values change.

    Raises:
        ValueError: the declaration does not fit the function.
    """

    def declare(function: Any) -> Any:
        takes, defaults = _arguments(function, needs)
        return _attach(function, _Rule(function, name or function.__name__, version, takes, defaults))

    return declare if function is None else declare(function)


def declaration_of(item: Any) -> Declaration | None:
    """The declaration that a decorator attached to a function, None without one."""
    found = getattr(item, _MARK, None)
    return found if isinstance(found, Declaration) else None


def _attach(function: F, declaration: Declaration) -> F:
    setattr(function, _MARK, declaration)
    return function


def _arguments(function: Any, given: tuple[str, ...] | None) -> tuple[tuple[str, ...], dict[str, Parameter]]:
    """What it takes, and its parameters with their defaults."""
    if not callable(function):
        raise ValueError(f"a declaration stands above a function, not above {function!r}")
    takes: list[str] = []
    defaults: dict[str, Parameter] = {}
    for argument in inspect.signature(function).parameters.values():
        if argument.default is not argument.empty:
            if type(argument.default) not in (bool, int, float, str):
                raise ValueError(
                    f"{function.__name__}: the default of {argument.name} must be a number, text or a truth"
                )
            defaults[argument.name] = argument.default
        elif argument.kind is argument.VAR_POSITIONAL and given is not None:
            takes += given
        elif argument.kind in (argument.KEYWORD_ONLY, argument.VAR_KEYWORD, argument.VAR_POSITIONAL):
            raise ValueError(f"{function.__name__}: its argument {argument.name} needs a default, or a name of its own")
        else:
            takes.append(argument.name)
    if given is not None and len(_names(function, "inputs or needs", given)) != len(takes):
        raise ValueError(
            f"{function.__name__} takes {len(takes)} columns ({', '.join(takes)}), its declaration names {len(given)}"
        )
    if not takes:
        raise ValueError(f"{function.__name__} takes no column: it needs an argument without default")
    return tuple(takes if given is None else given), defaults


def _names(function: Any, what: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{function.__name__}: {what} must be a tuple of names such as ({names!r},)")
    return tuple(names)


def _number(given: Number, parameters: Mapping[str, Parameter]) -> int:
    if not callable(given):
        return int(given)
    return int(given(**{name: parameters[name] for name in inspect.signature(given).parameters}))


def _columns(function: Callable[..., Any], parameters: Mapping[str, Parameter], *inputs: Array) -> tuple[Array, ...]:
    """What a plugin gives, as float64 columns; its inputs cannot be written to."""
    shared = []
    for column in inputs:
        view = column.view()
        view.flags.writeable = False
        shared.append(view)
    with np.errstate(all="ignore"):  # what is not finite is a fault, or missing: it is looked for in the result
        out = function(*shared, **parameters)
    columns = tuple(np.asarray(column, np.float64) for column in (out if isinstance(out, tuple) else (out,)))
    for column in columns:
        if column.ndim != 1:
            raise ValueError(f"it gave {type(out).__name__}: an array of one dimension is expected, or a tuple of such")
    return columns


def _one_column(function: Callable[..., Any], parameters: Mapping[str, Parameter], *inputs: Array) -> Array:
    columns = _columns(function, parameters, *inputs)
    if len(columns) != 1 or len(columns[0]) != len(inputs[0]):
        got = ", ".join(str(len(column)) for column in columns)
        raise ValueError(f"one value for each of {len(inputs[0])} rows is expected, it gave lengths {got}")
    return columns[0]
