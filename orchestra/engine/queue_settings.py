"""What a queue is told by its flags, checked before there is a run."""

from __future__ import annotations

from msgspec import Struct

from orchestra.errors import FlagError
from orchestra.model.flags import encode
from orchestra.model.operation import FlagValue

LONGEST_POLL_INTERVAL = 86_400
MOST_JOBS = 512
MAX_FAILS = "max-fails"
EXECUTOR = "executor"
AUTO = "auto"


class QueueSettings(Struct, frozen=True, kw_only=True):
    """A queue's flags, typed."""

    run_once: bool = False
    poll_interval: float = 10
    """Seconds."""
    ignore_running: bool = False
    gpus: str | None = None
    jobs: int | None = 1
    """Runs at once; None: as many as the computer has processors for."""
    max_fails: int | None = None
    """Failed runs after which no other is started."""
    executor: str | None = None
    """The executor to give all runs to, whatever was set when they were staged."""

    @classmethod
    def from_flags(cls, flags: dict[str, FlagValue]) -> QueueSettings:
        """Check and take over the flags of a queue run.

        Raises:
            FlagError: a value is out of range.
        """
        poll = flags.get("poll-interval", 10)
        if not _is_number(poll) or not 0 < poll <= LONGEST_POLL_INTERVAL:
            raise FlagError(
                f"invalid value {encode(poll)} for poll-interval",
                f"Give seconds, more than 0 and at most {LONGEST_POLL_INTERVAL}.",
            )
        jobs = flags.get("jobs", 1)
        if jobs != AUTO and (not _is_number(jobs) or jobs != int(jobs) or not 1 <= jobs <= MOST_JOBS):
            raise FlagError(
                f"invalid value {encode(jobs)} for jobs",
                f"Give a whole number from 1 to {MOST_JOBS}, or '{AUTO}'.",
            )
        max_fails = flags.get(MAX_FAILS)
        if max_fails is not None and (
            not _is_number(max_fails) or max_fails != int(max_fails) or max_fails < 1
        ):
            raise FlagError(
                f"invalid value {encode(max_fails)} for {MAX_FAILS}", "Give a whole number, 1 or more."
            )
        gpus = flags.get("gpus")
        ignore = bool(flags.get("ignore-running", False))
        if flags.get("wait-for-running") is not None:
            ignore = not flags["wait-for-running"]
        executor = flags.get(EXECUTOR)
        return cls(
            run_once=bool(flags.get("run-once", False)),
            poll_interval=poll,
            ignore_running=ignore,
            gpus=None if gpus is None else str(gpus),
            jobs=None if jobs == AUTO else int(jobs),
            max_fails=None if max_fails is None else int(max_fails),
            executor=None if executor is None else str(executor),
        )


def _is_number(value: FlagValue) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
