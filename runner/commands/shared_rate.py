"""`--rate-from`: a session whose rate is the origin's, shared through a database with whoever sends there."""

from runner.access import Access
from runner.cluster.database import Database
from runner.cluster.origin import Origin, open_origin
from runner.cluster.slots import check_shared
from runner.commands.vendor import OpenPace
from runner.output.console import Console
from runner.settings import Rate

__all__ = ["shared_pace"]


def shared_pace(access: Access, asked: Rate, screen: Console) -> OpenPace:
    """Return what opens the gate of such a session; a rate in use that is lower than its own is said aloud.

    Raises:
        Refused: The rate cannot be shared, or there is no such database.
    """
    check_shared(asked)
    assert access.given.rate_from is not None  # noqa: S101 - who calls has looked
    database = Database(access.given.rate_from, "--rate-from")

    def on_lower(in_use: Rate) -> None:
        screen.warn(
            f"the rate that is shared is {in_use}, lower than {asked}: it holds;"
            " `pace --rate` of a run that shares it sets another"
        )

    origin = Origin(database, access.base_url, on_lower)
    return lambda rate, stop: open_origin(origin, rate, stop)
