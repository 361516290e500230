"""Which of the staged runs are to be started now, and why the others wait: a pure function of what there is.

Runs are taken in the order of their priority, then of their stage time. One that waits for a resource keeps
what it needs from those behind it: smaller runs may overtake it only where that does not delay it. One that waits
for anything else (another run, its group, a time) holds nobody up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, structs

from orchestra.model.ids import short_id
from orchestra.model.resources import Resources, format_memory
from orchestra.model.run import Run, State

SUCCEEDED: frozenset[State] = frozenset(("completed", "skipped"))
SHARE = 1e-9
"""How far a sum of shares of a device may be from a whole one."""


class Machine(Struct, frozen=True, kw_only=True):
    """What there is to be given to runs. None: as much as anybody wants."""

    cpus: float | None = None
    memory: int | None = None
    """Bytes."""
    devices: tuple[str, ...] = ()
    """In the order in which they are to be taken."""


class Group(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is set for the runs of a group (of the group ``""``: for all)."""

    limit: int | None = None
    """Runs at once, in all queues together; of the group ``""``: in each queue."""
    paused: bool = False


class Ended(Struct, frozen=True):
    """How a run has ended that others come after."""

    state: State
    trial: str | None = None
    """Of a batch: the trial that ended so, though the batch itself may have completed."""


class Situation(Struct, frozen=True, kw_only=True):
    """All that a choice depends on."""

    now: int
    """Microseconds since the epoch."""
    slots: int
    """How many runs may be started."""
    machine: Machine = Machine()
    plain_cpus: float = 0
    """The processors that a run counts for which says nothing of them."""
    elsewhere: frozenset[str] = frozenset()
    """Executors that are schedulers of their own: their runs take nothing of this computer."""
    active: Sequence[Run] = ()
    """Claimed and running runs on this computer: what they were given is taken."""
    busy: Sequence[str] = ()
    """Devices that others use just now."""
    groups: Mapping[str, Group] = {}
    members: Mapping[str, int] = {}
    """Active runs of each group, on all computers."""
    away: frozenset[str] = frozenset()
    """Staged runs of whose directory nothing is there now: its disk may be away."""
    targets: Mapping[str, Ended | None] = {}
    """Of runs that others come after: how they ended; None: not yet. Absent: there is no such run."""


class Start(Struct, frozen=True, kw_only=True):
    """A run that is to be started, and the devices that it gets: ``ID``, or ``ID:SHARE``."""

    run: Run
    devices: tuple[str, ...] = ()


class Choice(Struct, kw_only=True):
    """What is to be done with the staged runs that were looked at."""

    starts: list[Start] = []
    spares: list[Run] = []
    """Runs that need nothing but a slot: any of them may be started in the place of one that somebody else takes."""
    waits: dict[str, str] = {}
    """Why runs wait."""
    never: set[str] = set()
    """Those of them that ask for more than there ever is here."""
    hopeful: set[str] = set()
    """Those of them that wait for what other runs hold, or for their end."""
    aborts: dict[str, str] = {}
    """Runs that can never be started, and why."""
    look_at: int | None = None
    """When the next of them is due, if only time keeps it."""

    @property
    def exclusive(self) -> bool:
        """Whether it holds only as long as nobody else claims."""
        return any(needs_turn(start.run) for start in self.starts)


def needs_turn(run: Run) -> bool:
    """Whether other runs can be in this one's way: such are claimed by one worker at a time."""
    return bool(run.needs) or run.group is not None


def choose(staged: Iterable[Run], situation: Situation) -> Choice:
    """Which of ``staged`` (in their order) are to be started."""
    return _Choosing(situation).among(staged)


def device_shares(devices: Iterable[str]) -> dict[str, float]:
    """How much of which device ``devices`` are: ``('0', '1:0.5')`` is the whole of 0 and half of 1."""
    shares: dict[str, float] = {}
    for device in devices:
        name, separator, share = device.rpartition(":")
        if not separator:
            name, share = device, "1"
        shares[name] = shares.get(name, 0) + float(share)
    return shares


def never(needs: Resources, machine: Machine) -> str | None:
    """What ``machine`` has too little of, however long a run waits; None if it has all that the run ``needs``."""
    total = _total(machine)
    if needs.gpus > total.gpus:
        return f"{needs.gpus:g} GPU(s), of which there are {total.gpus:g}"
    if needs.cpus > total.cpus:
        return f"{needs.cpus:g} CPU(s), of which there are {total.cpus:g}"
    if needs.memory > total.memory:
        return f"{format_memory(needs.memory)} of memory, of which there are {format_memory(total.memory)}"
    return None


def _total(machine: Machine) -> Resources:
    return Resources(
        gpus=len(machine.devices),
        cpus=float("inf") if machine.cpus is None else machine.cpus,
        memory=1 << 62 if machine.memory is None else machine.memory,
    )


class _Choosing:
    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.choice = Choice()
        machine = situation.machine
        self.total = _total(machine)
        self.cpus, self.memory = self.total.cpus, self.total.memory
        self.devices = {name: 0.0 if name in situation.busy else 1.0 for name in machine.devices}
        self.members = dict(situation.members)
        for run in situation.active:
            if run.needs and not run.granted and run.executor not in situation.elsewhere:
                # It waits for what it needs itself.
                continue
            self._take(self._needs(run), device_shares(run.devices))
        self.free = self.cpus, self.memory, dict(self.devices)
        """What nobody has; of that, the runs that come first are kept what they wait for."""

    def _needs(self, run: Run) -> Resources:
        if run.executor in self.situation.elsewhere:
            return Resources()
        needs = run.needs
        if needs.cpus or not self.situation.plain_cpus or run.kind == "queue":
            return needs
        return structs.replace(needs, cpus=min(self.situation.plain_cpus, self.total.cpus))

    def among(self, staged: Iterable[Run]) -> Choice:
        for run in staged:
            if not self._keeps_waiting(run):
                self._consider(run)
        return self.choice

    def _consider(self, run: Run) -> None:
        needs = self._needs(run)
        lacking = never(needs, self.situation.machine)
        if lacking is not None:
            self.choice.waits[run.id] = lacking
            self.choice.never.add(run.id)
            return
        full = len(self.choice.starts) >= self.situation.slots
        devices = self._devices_for(needs.gpus, self.devices)
        fits = devices is not None and needs.cpus <= self.cpus and needs.memory <= self.memory
        if full or not fits:
            if full and not needs_turn(run):
                self.choice.spares.append(run)
            self.choice.waits[run.id] = "a free slot" if fits else self._missing(needs)
            self.choice.hopeful.add(run.id)
            # What it waits for is kept for it.
            self._take(needs, devices or self._most_of(needs.gpus))
            return
        self._take(needs, devices or {})
        cpus, memory, free = self.free
        self.free = cpus - needs.cpus, memory - needs.memory, _without(free, devices or {})
        if run.group is not None:
            self.members[run.group] = self.members.get(run.group, 0) + 1
        self.choice.starts.append(Start(run=run, devices=_names(devices or {})))

    def _keeps_waiting(self, run: Run) -> bool:
        """Whether it isn't to be started whatever is free."""
        reason = self._paused(run) or self._not_due(run) or self._after(run) or self._away(run)
        if reason is not None:
            self.choice.waits[run.id] = reason
        return reason is not None or run.id in self.choice.aborts

    def _paused(self, run: Run) -> str | None:
        if self.situation.groups.get("", Group()).paused:
            return "the queue to be resumed"
        if run.group is None:
            return None
        group = self.situation.groups.get(run.group, Group())
        if group.paused:
            return f"group {run.group} to be resumed"
        members = self.members.get(run.group, 0)
        if group.limit is not None and members >= group.limit:
            self.choice.hopeful.add(run.id)
            return f"a place in group {run.group}, of which {members} of {group.limit} are taken"
        return None

    def _away(self, run: Run) -> str | None:
        if run.id not in self.situation.away:
            return None
        return f"its directory '{run.directory}', of which nothing is there"

    def _not_due(self, run: Run) -> str | None:
        if run.not_before is None or run.not_before <= self.situation.now:
            return None
        earliest = self.choice.look_at
        self.choice.look_at = run.not_before if earliest is None else min(earliest, run.not_before)
        return "the time of its next try"

    def _after(self, run: Run) -> str | None:
        """What it waits for among other runs; notes that it can't be started if one of them failed it."""
        waiting: list[str] = []
        for condition in run.after:
            target, _, how = condition.partition(":")
            if target not in self.situation.targets:
                if how != "any":
                    self.choice.aborts[run.id] = f"run {target}, which it was to follow, was deleted"
                    return None
                continue
            ended = self.situation.targets[target]
            if ended is None:
                waiting.append(short_id(target))
            elif how != "any" and ended.state not in SUCCEEDED:
                what = f"run {target}" if ended.trial is None else f"trial {ended.trial} of batch {target}"
                self.choice.aborts[run.id] = f"{what}, which it was to follow, ended as {ended.state}"
                return None
        if waiting:
            self.choice.hopeful.add(run.id)
        return f"run(s) to end: {', '.join(waiting)}" if waiting else None

    def _missing(self, needs: Resources) -> str:
        cpus, memory, devices = self.free
        if needs.cpus > cpus:
            return f"{needs.cpus:g} CPU(s), of which {max(0.0, cpus):g} are free"
        if needs.memory > memory:
            return (
                f"{format_memory(needs.memory)} of memory, of which {format_memory(max(0, memory))} are free"
            )
        if self._devices_for(needs.gpus, devices) is None:
            free = sum(share > 1 - SHARE for share in devices.values())
            return f"{needs.gpus:g} GPU(s), of which {free} are free"
        return "its turn"

    @staticmethod
    def _devices_for(gpus: float, devices: Mapping[str, float]) -> dict[str, float] | None:
        """The devices for a run that wants so many of them, or that share of one; None: they aren't free."""
        if not gpus:
            return {}
        if gpus < 1:
            # Where the least is left: whole devices stay whole for those who want such.
            fitting = [name for name, free in devices.items() if free >= gpus - SHARE]
            return {min(fitting, key=lambda name: devices[name]): gpus} if fitting else None
        free = [name for name, share in devices.items() if share > 1 - SHARE]
        return dict.fromkeys(free[: int(gpus)], 1.0) if len(free) >= gpus else None

    def _most_of(self, gpus: float) -> dict[str, float]:
        """The devices to be kept for a run that waits for more than are free: the freest."""
        freest = sorted(self.devices, key=lambda name: -self.devices[name])
        return {name: self.devices[name] for name in freest[: max(1, int(gpus))]} if gpus else {}

    def _take(self, needs: Resources, devices: Mapping[str, float]) -> None:
        self.cpus -= needs.cpus
        self.memory -= needs.memory
        for name, share in devices.items():
            if name in self.devices:
                self.devices[name] -= share


def _without(devices: Mapping[str, float], taken: Mapping[str, float]) -> dict[str, float]:
    return {name: share - taken.get(name, 0.0) for name, share in devices.items()}


def _names(devices: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(name if share > 1 - SHARE else f"{name}:{share:g}" for name, share in devices.items())
