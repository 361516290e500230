"""From a batch of Guild's to one of ours: what it searches, and how."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from orchestra.engine.guild_attributes import Attributes, as_mapping
from orchestra.engine.optimizers import ALIASES
from orchestra.errors import FlagError
from orchestra.model import flags as flag_rules
from orchestra.model.batch import Batch, Interval
from orchestra.model.operation import FlagValue
from orchestra.workspace.guild_runs import Opref

SEEDS = 2**32


def batch_of_guild(opref: Opref, own: Attributes, proto: Attributes, problems: list[str]) -> Batch:
    """What the batch with the operation ``opref`` (an optimizer) searches, by its attributes and its prototype's."""
    flags = proto.mapping("flags")
    expander = ALIASES.get(opref.name, opref.name)
    values = {name: _searched(value) for name, value in flags.items()}
    rows = tuple(as_mapping(row) for row in proto.items("trials"))
    settings: dict[str, Any] = {
        "seed": (own.number("random_seed") or 0) % SEEDS,
        "max_trials": own.number("max_trials"),
        "expander": expander,
        "options": own.mapping("flags"),
        "stage_trials": own.get("stage_trials") is True,
        "fail_on_trial_error": own.mapping("run_params").get("fail_on_trial_error") is True,
        "rows": rows,
    }
    try:
        batch = flag_rules.make_batch(values, **settings)
    except FlagError as error:
        problems.append(f"what the batch has searched is not known: {error.message}")
        settings["rows"] = ()
        batch = flag_rules.make_batch(
            {name: flag_rules.encode(value) for name, value in flags.items()}, **settings
        )
    return structs.replace(batch, objective=_objective(own.get("objective")))


def _searched(value: FlagValue) -> Any:
    """A search as Guild writes it, ``uniform[0.1:1]``, as one of ours."""
    if not isinstance(value, str) or not value.endswith("]") or ":" not in value:
        return value
    try:
        found = flag_rules.decode(value)
    except FlagError:
        return value
    return found if isinstance(found, Interval) else value


def _objective(given: Any) -> str | None:
    if isinstance(given, str):
        return given
    fields = as_mapping(given)
    if isinstance(fields.get("minimize"), str):
        return fields["minimize"]
    return f"-{fields['maximize']}" if isinstance(fields.get("maximize"), str) else None
