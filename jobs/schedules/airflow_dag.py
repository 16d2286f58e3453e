"""A DAG for Airflow 3: one run a night, gone on with where an attempt was interrupted."""

import os
import signal
import subprocess
from datetime import timedelta

import pendulum
from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

FOLDER = "/srv/cleanup"
FINAL = {1, 2, 3}
"""Codes that another attempt must not follow: ended, refused, or stopped by a rule that a person looks at."""
DRAIN_S = 90
"""A stop drains: one --timeout for what is on the wire, then at most 10 s of messages."""


@dag(
    schedule="15 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    catchup=False,
    max_active_runs=1,
)
def nightly_cleanup() -> None:
    """Delete the night's list from the customer pool."""

    @task(retries=3, retry_delay=timedelta(minutes=15), execution_timeout=timedelta(hours=5))
    def run(ds_nodash: str | None = None) -> None:
        """Run, or go on with, the night's audit; its name is the same for all attempts."""
        command = [
            ".venv/bin/bulk-delete",
            "run",
            "jobs/nightly-cleanup.yaml",
            "--yes",
            "--deadline=4h",
            f"--audit=audit/nightly-{ds_nodash}.jsonl",
            "--or-resume",
            f"--reason=airflow {ds_nodash}",
            "--config=config/config.toml",
        ]
        environment = {**os.environ, "BULK_DELETE_TOKEN_FILE": f"{FOLDER}/token"}
        process = subprocess.Popen(command, cwd=FOLDER, env=environment)
        try:
            code = process.wait()
        except BaseException:  # the task is stopped: let it drain, and never leave it running
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DRAIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        if code in FINAL:
            raise AirflowFailException(f"bulk-delete ended with {code}")
        if code:
            raise AirflowException(f"bulk-delete ended with {code}: another attempt goes on")

    run()


nightly_cleanup()
