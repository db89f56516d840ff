"""The identity of the reliability table that settings name: the SHA-256 of its bytes, for the path is nobody's business."""

from __future__ import annotations

import hashlib
from pathlib import Path

from config.settings import Settings
from events.errors import SettingsError


def table_bytes(path: str) -> tuple[bytes, str]:
    """The bytes of a table and their SHA-256.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        found = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"the reliability table {path} cannot be read: {error.strerror or error}") from None
    return found, hashlib.sha256(found).hexdigest()


def with_table(settings: Settings) -> Settings:
    """The settings, knowing the bytes of their reliability table; as they are where they name none.

    Raises:
        SettingsError: the table cannot be read, or is not the one that `signals.calibration_sha256` asks for.
    """
    path, wanted = settings.signals.calibration, settings.signals.calibration_sha256
    if path is None:
        return settings
    _, sha256 = table_bytes(path)
    if wanted not in (None, sha256):
        raise SettingsError(
            f"the reliability table {path} has the SHA-256 {sha256}, calibration_sha256 asks for {wanted}"
        )
    signals = settings.signals.model_copy(update={"calibration_sha256": sha256})
    return settings.model_copy(update={"signals": signals})
