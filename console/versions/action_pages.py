"""Pages of the commands: ask, see the exact command, confirm, see what came of it.

Asking and running are two requests, so nobody runs what they have not seen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from starlette.responses import RedirectResponse, Response

from capture.store import StoreError
from console.tables import ActionRow
from console.versions import action_commands, action_rows, action_runner
from console.versions.action_commands import KINDS, TITLES, Command, Kind, Tools
from console.versions.candidate_folder import Candidate
from console.versions.champions import Champion
from console.visit import Page, Refusal, Visit

_NUM_SHOWN: Final = 10
_WHY: Final = "REASON"  # in a command that people run themselves


def pages(tools: Tools) -> list[Page]:
    """The pages under /models/actions.

    Args:
        tools: how commands are run.
    """
    return [
        Page("/models/actions", lambda visit: _ask(visit, tools), "admin", "POST"),
        Page("/models/actions/{number}", lambda visit: _action(visit, tools), "review"),
        Page("/models/actions/{number}/run", lambda visit: _run(visit, tools), "admin", "POST"),
    ]


@dataclass(frozen=True, slots=True)
class Button:
    """One thing that can be done on the page of models."""

    kind: Kind
    title: str
    obstacle: str  # why the console cannot do it; empty where it can
    command: str  # for people who run it themselves
    choices: tuple[str, ...]  # candidates or versions


@dataclass(frozen=True, slots=True)
class ActionsShown:
    """What the page of models shows of commands."""

    buttons: Sequence[Button]
    latest: Sequence[ActionRow]
    running: ActionRow | None


def shown_on_models(
    visit: Visit,
    tools: Tools,
    champion: Champion | None,
    candidates: Sequence[Candidate],
    kept: Sequence[str],
) -> ActionsShown:
    """The buttons, and the commands that were run."""
    settings = visit.console.settings
    with visit.console.transaction() as database, database.begin():
        action_rows.mark_unknown(database, now_us=visit.console.now_us())
        actions = action_rows.latest(database, _NUM_SHOWN)
        running = action_rows.running(database)
    ready = tuple(one.name for one in candidates if not one.refusal)
    work = next((one.folder for one in candidates if one.name in ready), settings.work)
    served = None if champion is None else champion.version
    earlier = tuple(version for version in kept if version != served)
    commands = {
        "promote": action_commands.promote_arguments(settings, work, _WHY),
        "rollback": action_commands.rollback_arguments(
            settings, earlier[0] if earlier else "VERSION", _WHY
        ),
        "adopt": action_commands.adopt_arguments(settings, "DAYS"),
    }
    choices: dict[str, tuple[str, ...]] = {"promote": ready, "rollback": earlier}
    buttons = [
        Button(
            kind=kind,
            title=TITLES[kind],
            obstacle=action_commands.obstacle(settings, tools, kind),
            command=action_commands.shown(("python", *commands[kind]), visit.person.who),
            choices=choices.get(kind, ()),
        )
        for kind in KINDS
    ]
    return ActionsShown(buttons, actions, running)


def _ask(visit: Visit, tools: Tools) -> Response:
    """Note what somebody wants, and show the command."""
    kind = cast(Kind, visit.field("kind"))
    if kind not in KINDS:
        raise Refusal(400, f"kind is {kind!r}; it is one of {', '.join(KINDS)}.")
    command = _prepare(visit, tools, kind, visit.field("subject"), visit.field("why"))
    with visit.console.transaction() as database, database.begin():
        number = action_rows.ask(database, command, visit.person, now_us=visit.console.now_us())
    return RedirectResponse(f"/models/actions/{number}", 303)


def _prepare(visit: Visit, tools: Tools, kind: Kind, subject: str, why: str) -> Command:
    if said := action_commands.obstacle(visit.console.settings, tools, kind):
        raise Refusal(409, said)
    try:
        return action_commands.prepare(visit.console, tools, kind, subject, why)
    except StoreError as error:
        raise Refusal(503, f"The model store cannot be read: {error}") from error


def _action(visit: Visit, tools: Tools) -> Response:
    """One command: to be confirmed, running, or ended."""
    with visit.console.transaction() as database, database.begin():
        action_rows.mark_unknown(database, now_us=visit.console.now_us())
        row = _find(database.get(ActionRow, visit.number_of("number")))
    too_old = _is_too_old(row, visit.console.now_us())
    return visit.page(
        "console_action.html",
        action=row,
        title=TITLES[row.kind],
        command=action_commands.shown(json.loads(row.arguments), row.who),
        may_run=visit.may("admin") and row.who == visit.person.who and not too_old,
        too_old=too_old,
        time_limit_min=tools.time_limit_s / 60,
    )


def _run(visit: Visit, tools: Tools) -> Response:
    """Run what was shown, if nothing it depends on has changed since."""
    console, number = visit.console, visit.number_of("number")
    with console.transaction() as database:
        row = _find(action_rows.find(database, number))
    here = RedirectResponse(f"/models/actions/{number}", 303)
    if row.state != action_rows.ASKED:
        return here  # a second click
    if row.who != visit.person.who or row.source != visit.person.source:
        raise Refusal(403, f"{row.who} asked for this; ask for it yourself to run it.")
    if _is_too_old(row, console.now_us()):
        raise Refusal(409, "This was asked for more than an hour ago; ask for it again.")
    command = _prepare(visit, tools, cast(Kind, row.kind), row.subject, row.why)
    if command.about != row.about or list(command.arguments) != json.loads(row.arguments):
        raise Refusal(409, "The champion or the candidate is another one by now; ask again.")
    try:
        action_runner.run(console, tools, number, command, visit.person)
    except action_rows.Busy as error:
        raise Refusal(409, "Another command runs; wait for its end, then confirm again.") from error
    return here


def _find(row: ActionRow | None) -> ActionRow:
    if row is None:
        raise Refusal(404, "There is no such action; see the page Models.")
    return row


def _is_too_old(row: ActionRow, now_us: int) -> bool:
    return abs(now_us - row.asked_us) > action_rows.ASKED_FOR_S * 1e6  # a clock may be set back
