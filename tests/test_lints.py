"""Lints of this project: cores read no clock, and leave transcendentals and reductions to `operators.maths`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORES = sorted((ROOT / "operators").rglob("*.py")) + sorted((ROOT / "events").rglob("*.py"))

CLOCKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
VECTOR_MATHS = set(
    """exp exp2 expm1 log log2 log10 log1p tanh sinh cosh sin cos tan arctan power float_power sqrt cbrt
    sum nansum cumsum nancumsum prod cumprod mean nanmean average std nanstd var nanvar dot vdot inner matmul einsum
    convolve correlate median percentile quantile trapezoid""".split()  # noqa: SIM905
)
OF_COORDINATORS = {
    f"{verb}_consumer_group{noun}"
    for verb, noun in [("list", "s"), ("describe", "s"), ("delete", "s"), ("list", "_offsets"), ("alter", "_offsets")]
}
ARRAY_METHODS = {"sum", "mean", "std", "var", "cumsum", "prod", "cumprod", "dot", "trace"}


def calls(path: Path) -> list[tuple[int, str, str]]:
    """(line, object, attribute) of every attribute call."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            found.append((node.lineno, owner.id if isinstance(owner, ast.Name) else "", node.func.attr))
    return found


def faults(path: Path) -> list[str]:
    """What a core must not do, by line."""
    said = []
    for line, owner, attribute in calls(path):
        if attribute in CLOCKS.get(owner, ()):
            said.append(f"{path.name}:{line} reads a clock: {owner}.{attribute}")
        if owner in ("np", "numpy") and attribute in VECTOR_MATHS:
            said.append(
                f"{path.name}:{line} {owner}.{attribute}: its bits depend on the vector unit, use operators.maths"
            )
        if owner not in ("np", "math", "") and attribute in ARRAY_METHODS:
            said.append(f"{path.name}:{line} .{attribute}() reduces an array: its bits depend on the vector unit")
    return said


@pytest.mark.parametrize("path", CORES, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_is_free_of_clocks_and_vector_maths(path):
    assert faults(path) == []


def test_the_lint_finds_what_it_looks_for(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import time\nimport numpy as np\nx = np.tanh(a)\ny = time.time()\nz = a.sum()\nt = datetime.now()\n"
    )
    assert len(faults(bad)) == 4


def test_cores_do_not_import_clocks():
    for path in CORES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"time", "datetime", "random"} & set(names), path


def test_no_admin_client_of_kafka_asks_coordinators_of_groups():
    """librdkafka aborts the process where their connection breaks amid that."""
    for path in sorted((ROOT / "connectors").rglob("*.py")) + sorted((ROOT / "flows").rglob("*.py")):
        assert not [found for found in calls(path) if found[2] in OF_COORDINATORS], path
