"""The vendor's API on this machine, to rehearse against: with data, faults and a ledger of what happened.

It answers as the vendor would and breaks as the world does. It shares nothing with the client, or both could
be wrong together; it listens on a loopback address only, and forgets everything when it ends.

    async with serve(SandboxSettings(token="t"), Pool()) as running:
        ...  # requests to running.url; then running.ledger says what was really deleted
"""

from runner.sandbox.control import Control, Running
from runner.sandbox.faults import FAULTS, FaultSettings, parse_faults
from runner.sandbox.ledger import Ledger, LedgerEntry
from runner.sandbox.pool import CustomerRow, Pool, Swept
from runner.sandbox.server import run, serve
from runner.sandbox.settings import RateLimit, SandboxSettings

__all__ = [
    "FAULTS",
    "Control",
    "CustomerRow",
    "FaultSettings",
    "Ledger",
    "LedgerEntry",
    "Pool",
    "RateLimit",
    "Running",
    "SandboxSettings",
    "Swept",
    "parse_faults",
    "run",
    "serve",
]
