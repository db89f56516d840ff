"""What a run was: versions, platform, settings, inputs. Equal bytes are claimed per platform, so a run says which it was."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from config import Settings
from events.identity import tree_hash
from events.schema import SCHEMA_VERSION
from flows.plan import Origin, Plan

_LIBRARIES: Final = ("bytewax", "numpy", "numba", "llvmlite", "TA-Lib", "polars", "pyarrow", "pydantic")


def version_of(library: str) -> str:
    """The version that is installed, or that it is not."""
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def processor_features() -> list[str]:
    """The processor features that compiled maths may use, as the compiler names them."""
    from llvmlite import binding  # noqa: PLC0415  (slow to import, and only runs need it)

    return sorted(name for name, has in binding.get_host_cpu_features().items() if has)


def run_header(settings: Settings, inputs: Origin, plan: Plan) -> dict[str, Any]:
    """The part of run.json that is known before the run.

    Args:
        settings: as they were given.
        inputs: the files, the tape, or the exchanges.
        plan: what those settings come to with them.
    """
    return {
        "tidewax": version_of("tidewax"),
        "schema_v": SCHEMA_VERSION,
        "python": platform.python_version(),
        "libraries": {library: version_of(library) for library in _LIBRARIES},
        "platform": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "processor_features": processor_features(),
        },
        "analysis_hash": plan.analysis_hash,
        "analysis": plan.tree,
        "settings": settings.model_dump(mode="json"),
        "settings_hash": tree_hash(settings.model_dump(mode="json")),
        "feeds": sorted(plan.feeds),
        "lacking": {name: sorted(feeds) for name, feeds in plan.lacking.items()},
        "lateness_s": {name: plan.lateness_s(name) for name in inputs.instruments},
        "presets": {name: plan.electorate.preset_of(name) for name in inputs.instruments},
        "inputs": inputs.describe(),
        "fingerprint": inputs.fingerprint,
        "plugins": plan.plugins.described(),
        "streams": list(plan.streams),
        "cross": plan.cross.where,
    }
