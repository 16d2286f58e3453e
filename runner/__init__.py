"""Bulk deletion of phone numbers from a vendor's customer pool: plan, send, audit.

What a script may use is named here and nowhere else. It is loaded when it is first asked for, so that the
command line stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from runner.errors import AuditDamaged as AuditDamaged
    from runner.errors import Busy as Busy
    from runner.errors import Faults as Faults
    from runner.errors import Interrupted as Interrupted
    from runner.errors import Refused as Refused
    from runner.errors import RunnerError as RunnerError
    from runner.library import pace_run as pace_run
    from runner.library import plan_job as plan_job
    from runner.library import report_audits as report_audits
    from runner.library import rerun_audits as rerun_audits
    from runner.library import resume_run as resume_run
    from runner.library import run_job as run_job
    from runner.library import status_of as status_of
    from runner.library import verify_audits as verify_audits
    from runner.options import AccessOptions as AccessOptions
    from runner.options import PaceOptions as PaceOptions
    from runner.options import PlanOptions as PlanOptions
    from runner.options import ResumeOptions as ResumeOptions
    from runner.options import RunOptions as RunOptions
    from runner.options import StatusOptions as StatusOptions
    from runner.output.report_fields import Report as Report
    from runner.output.results import PlanResult as PlanResult
    from runner.output.results import ReportResult as ReportResult
    from runner.output.results import RunResult as RunResult
    from runner.output.results import Verified as Verified
    from runner.output.results import VerifyResult as VerifyResult
    from runner.output.run_results import PaceResult as PaceResult
    from runner.output.run_results import RunStatusLine as RunStatusLine
    from runner.output.run_results import StatusResult as StatusResult
    from runner.settings import LimitsGiven as LimitsGiven
    from runner.settings import Rate as Rate
    from runner.version import __version__ as __version__

_ROOMS: Final = (
    *("version", "errors", "settings", "options"),
    *("output.report_fields", "output.run_results", "output.results", "library"),
)
"""Where the names are, the lightest first."""

__all__ = [
    "AccessOptions",
    "AuditDamaged",
    "Busy",
    "Faults",
    "Interrupted",
    "LimitsGiven",
    "PaceOptions",
    "PaceResult",
    "PlanOptions",
    "PlanResult",
    "Rate",
    "Refused",
    "Report",
    "ReportResult",
    "ResumeOptions",
    "RunOptions",
    "RunResult",
    "RunStatusLine",
    "RunnerError",
    "StatusOptions",
    "StatusResult",
    "Verified",
    "VerifyResult",
    "__version__",
    "pace_run",
    "plan_job",
    "report_audits",
    "rerun_audits",
    "resume_run",
    "run_job",
    "status_of",
    "verify_audits",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    for room in _ROOMS if name in __all__ else ():
        module = import_module(f"{__name__}.{room}")
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
