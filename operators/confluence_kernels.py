"""Kernels of the score: features into dimensions, dimensions into a score, the score into an entry state."""

from __future__ import annotations

import math

import numpy as np

from events.frames import Array
from events.schema import MISSING, SILENT, WARMING
from operators.maths import kernel


@kernel
def blend(
    u: Array,
    status: Array,
    freshness: Array,
    blend_weight: Array,
    feature_weight: Array,
    dimension_of: Array,
    u_dimension: Array,
    q_dimension: Array,
    status_dimension: Array,
    share: Array,
    warming: Array,
) -> None:
    """Per row: u and q of each dimension from (row, timeframe, feature) values, and each feature's share in its dimension's u.

    A feature counts with its weight times its freshness, and asks for its whole weight. `blend_weight` is by (dimension,
    timeframe). Sums run in registry order. Source: file 05 section 3.
    """
    rows, timeframes, features = u.shape
    dimensions = u_dimension.shape[1]
    for i in range(rows):
        for d in range(dimensions):
            weighted, filled, asked = 0.0, 0.0, 0.0
            for s in range(timeframes):
                whole_weight, value_weight, value_sum, missing_weight = 0.0, 0.0, 0.0, 0.0
                for f in range(features):
                    if dimension_of[f] != d:
                        continue
                    code = status[i, s, f]
                    if code <= WARMING:
                        fresh = feature_weight[f] * freshness[i, s, f]
                        whole_weight += feature_weight[f]
                        value_weight += fresh
                        value_sum += fresh * u[i, s, f]
                        if code == WARMING:
                            warming[i] = 1
                    elif code != SILENT:
                        missing_weight += feature_weight[f]
                if whole_weight + missing_weight == 0.0:
                    continue  # silent: in none of the sums
                asked += blend_weight[d, s]
                if value_weight > 0.0:
                    q = value_weight / (whole_weight + missing_weight)
                    weighted += blend_weight[d, s] * q * (value_sum / value_weight)
                    filled += blend_weight[d, s] * q
                    for f in range(features):
                        if dimension_of[f] == d and status[i, s, f] <= WARMING:
                            fresh = feature_weight[f] * freshness[i, s, f]
                            share[i, s, f] = blend_weight[d, s] * q * fresh * u[i, s, f] / value_weight
            if filled > 0.0:
                u_dimension[i, d], q_dimension[i, d], status_dimension[i, d] = (
                    weighted / filled,
                    filled / asked,
                    0,
                )
                for s in range(timeframes):
                    for f in range(features):
                        if dimension_of[f] == d:
                            share[i, s, f] /= filled
            else:
                u_dimension[i, d], q_dimension[i, d] = math.nan, 0.0
                status_dimension[i, d] = SILENT if asked == 0.0 else MISSING


@kernel
def combine(
    u: Array,
    q: Array,
    status: Array,
    weight: Array,
    m: Array,
    coverage: Array,
    agreement: Array,
    dispersion: Array,
    unit: Array,
    mask: Array,
) -> None:
    """Per row: the weighted mean m of the dimensions with a value, and how complete and how one-sided it is.

    `unit` is the score points that a u of 1 is worth in each dimension, NaN where it did not vote, so that points are
    unit * u and sum to the score less 50. `mask` has bit d for each dimension d that voted; m is NaN where none did.
    """
    rows, dimensions = u.shape
    for i in range(rows):
        total, enabled, plain, absolute = 0.0, 0.0, 0.0, 0.0
        for d in range(dimensions):
            unit[i, d] = math.nan
            if status[i, d] != SILENT:
                enabled += weight[d]
            if not math.isnan(u[i, d]):
                e = weight[d] * q[i, d]
                total += e
                plain += e * u[i, d]
                absolute += e * abs(u[i, d])
                mask[i] |= 1 << d
        if total <= 0.0:
            m[i] = agreement[i] = dispersion[i] = math.nan
            coverage[i] = 0.0
            continue
        coverage[i] = total / enabled
        m[i] = plain / total
        agreement[i] = abs(plain) / absolute if absolute >= 1e-12 else math.nan
        spread = 0.0
        for d in range(dimensions):
            if not math.isnan(u[i, d]):
                e = weight[d] * q[i, d]
                spread += e * (u[i, d] - m[i]) * (u[i, d] - m[i])
                unit[i, d] = 50.0 * e / total
        dispersion[i] = spread / total


@kernel
def prior_theta(weight: Array, mask: int, base: float) -> float:
    """The threshold of a voting set before anything is known of its spread: fewer voters spread more.

    >>> prior_theta(np.array([.30, .18, .15, .10, .07, .20]), 0b011111, 16.0)
    18.0
    """
    total, squares, voted, voted_squares = 0.0, 0.0, 0.0, 0.0
    for d in range(len(weight)):
        total += weight[d]
        squares += weight[d] * weight[d]
        if mask >> d & 1:
            voted += weight[d]
            voted_squares += weight[d] * weight[d]
    if voted == 0.0:
        return min(max(math.floor(base + 0.5), 10.0), 35.0)
    effective, effective_voted = total * total / squares, voted * voted / voted_squares
    return min(max(math.floor(base * math.sqrt(effective / effective_voted) + 0.5), 10.0), 35.0)


@kernel
def hysteresis(
    score: Array, theta: Array, release: float, times: Array, state: Array, out: Array, since: Array
) -> None:
    """The entry state per row: LONG (+1) from 50 + theta on, until the score falls below 50 + theta - release; SHORT mirrored.

    `state` holds (state, time of its last change) and is carried on. A row without a score is NEUTRAL.
    """
    for i in range(len(score)):
        now = state[0]
        long, short = score[i] >= 50.0 + theta[i], score[i] <= 50.0 - theta[i]
        if math.isnan(score[i]):
            now = 0
        elif now == 0:
            now = 1 if long else -1 if short else 0
        elif now == 1:
            if score[i] < 50.0 + theta[i] - release:
                now = -1 if short else 0
        elif score[i] > 50.0 - theta[i] + release:
            now = 1 if long else 0
        if now != state[0]:
            state[0], state[1] = now, times[i]
        out[i], since[i] = now, state[1]


def empty_scores(rows: int, dimensions: int) -> tuple[Array, ...]:
    """Arrays for `combine`: m, coverage, agreement, dispersion, unit, mask."""
    flat = [np.empty(rows) for _ in range(4)]
    return (*flat, np.empty((rows, dimensions)), np.zeros(rows, np.int64))
