"""What a person must say yes to before anything is sent; a flag says it beforehand.

Refused at once where nobody can answer, so that a schedule does not plan for an hour first.
"""

from collections.abc import Sequence
from datetime import timedelta

from runner.errors import Refused
from runner.options import ResumeOptions
from runner.output.console import Console
from runner.send.safety import Question, is_stale
from runner.stop import Stop
from runner.text import many

__all__ = ["answered", "asked", "confirmed", "fresh_enough"]


def confirmed(text: str, options: ResumeOptions, screen: Console) -> list[Question]:
    """Return the question that `--yes` answers; Refused where it is not given and nobody can say it."""
    return [] if options.yes else asked(text, "--yes", screen)


def fresh_enough(age: timedelta, what: str, options: ResumeOptions, screen: Console) -> list[Question]:
    """Return the question that something over a day old raises; `--stale-ok` answers it."""
    if options.stale_ok or not is_stale(age):
        return []
    words = f"The {what} is {many(age.days, 'day')} old: rows imported since then would go as well. Go on?"
    return asked(words, "--stale-ok", screen)


def asked(text: str, flag: str, screen: Console) -> list[Question]:
    """Return a question; Refused where nobody can answer it."""
    if not screen.may_ask:
        raise Refused(f"not confirmed: {text}", hint=f"there is no terminal to ask on: add {flag}")
    return [Question(text, flag)]


async def answered(questions: Sequence[Question], screen: Console, stop: Stop) -> None:
    """Ask one question after the other; raises Refused at the first that is not answered with yes."""
    for question in questions:
        await screen.ask(question.text, stop, unless=question.flag)
