"""The verbs: one file each, and here what each is for, by when one needs it."""

from typing import Final

__all__ = ["CLUSTER_VERBS", "VERBS"]

VERBS: Final = {
    "Rehearse": {
        "demo": "Run a job of 50,000 rows against a sandbox with faults: no set-up, no network, no token.",
        "sandbox": "Serve the vendor's API on this machine, with data and faults, to rehearse against.",
        "check": "Check base URL, TLS and token without deleting: 0 or 3.",
    },
    "Delete": {
        "plan": "Show what `run` would do, in numbers; connects to nothing unless --probe.",
        "run": "Plan, confirm, delete, audit.",
        "resume": "Go on with an interrupted run: send exactly the batches that AUDIT has no end for.",
        "rerun": "Run again, with a new plan and audit, what ended failed, unknown or not_sent.",
    },
    "While it runs": {
        "status": "List runs, one line each: those of audits, or of folders (audit/, if nothing is named).",
        "pace": "Show what the process that runs AUDIT is doing; let it send faster, slower, or nothing...",
    },
    "Afterwards": {
        "report": "Show totals, failures by cause, by user, and timings of audits.",
        "verify": "Check integrity: 0 whole, 1 damaged, 3 intact but without an end (killed, torn, cut).",
    },
    "Many machines": {
        "cluster": "Share one plan and one rate among many machines, through a PostgreSQL database."
    },
    "For programs": {
        "schema": "Print the JSON Schema of the job file, of an audit line, or of what --json writes."
    },
}
CLUSTER_VERBS: Final = {
    "Set up": {"init": "Make the tables in the database, or check those that are there."},
    "Delete": {
        "submit": "Cut PLAN into shards and place them for workers; nothing is sent here.",
        "worker": "Take shards of this origin and send them, until a signal comes.",
    },
    "While it runs": {
        "status": "List the jobs in the database, or show JOB with its shards.",
        "cancel": "End JOB cleanly: what is on the wire is finished, the rest stays open.",
    },
    "Afterwards": {
        "fetch": "Write the plans and audits of JOB as ordinary files into a folder.",
        "forget": "Remove the plan and the audit of JOB from the database, once fetched.",
    },
}
