"""What can go wrong, as one tree. Every message says what was wrong, where, and what to do.

TidewaxError
├── InputError       a file or feed cannot be used as it is
├── SettingsError    a setting is unknown, of the wrong type or out of range
├── RunError         a run directory or store cannot be used for this run
├── StateMismatch    stored state is of other settings or of another version
└── StepError        a step failed on what it was given: a mistake in the program or a plugin
"""

from __future__ import annotations


class TidewaxError(Exception):
    """Base of the errors that a user can do something about; the command line prints them as a sentence, exit code 1."""


class InputError(TidewaxError):
    """A file or feed cannot be used as it is."""


class SettingsError(TidewaxError):
    """A setting is unknown, of the wrong type or out of range."""


class RunError(TidewaxError):
    """A run directory or store cannot be used for this run."""


class StateMismatch(TidewaxError):
    """Stored state is of other settings or of another version."""


class StepError(TidewaxError):
    """A step failed on what it was given: a mistake in the program or a plugin."""
