"""Where Spooler actors of 0.2.0 and before find what they pickled; see ``spooler.append``."""

from kodosumi_prefect.spooler.append import GapError, ProtocolError, Spooler

__all__ = ["GapError", "ProtocolError", "Spooler"]
