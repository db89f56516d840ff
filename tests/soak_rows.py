"""What the long runs measured, kept while they run; as a program, the page of the documentation that shows it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

KEPT: Final = Path(__file__).resolve().parent.parent / ".cache" / "soak"


def keep(kind: str, name: str, seed: int, row: dict[str, Any]) -> None:
    """Keep a row of a long run; of a short one, nothing."""
    if os.environ.get("TIDEWAX_SOAK"):
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / f"{kind}_{name.replace(' ', '_')}_{seed}.json").write_text(
            json.dumps({"name": name, "seed": seed} | row)
        )
