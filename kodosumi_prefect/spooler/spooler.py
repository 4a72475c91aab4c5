"""Where Spooler actors of 0.2.0 and before find what they pickled; see ``spooler.append``."""

from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.storing import GapError

__all__ = ["GapError", "ProtocolError", "Spooler"]
