"""The tape: the write-ahead log of a live run. Frames are appended before they are handed out, and come back bit for bit."""

from connectors.tape.header import Universe
from connectors.tape.recording import Recording
from connectors.tape.retention import Keep, remove_old, roll_closed
from connectors.tape.source import TapeSource, TapeState
from connectors.tape.tape import SEGMENT_BYTES, Sync, Tape

__all__ = [
    "SEGMENT_BYTES",
    "Keep",
    "Recording",
    "Sync",
    "Tape",
    "TapeSource",
    "TapeState",
    "Universe",
    "remove_old",
    "roll_closed",
]
