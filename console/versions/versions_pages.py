"""The pages under /models: models side by side, what changed, and who changed the champion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.responses import Response

from capture.store import StoreError
from console.config import ConsoleSettings
from console.versions import (
    action_commands,
    action_pages,
    candidate_folder,
    champions,
    changed_crops,
    comparison_table,
    replayed_mail,
    shadow_reads,
)
from console.versions.action_commands import Tools
from console.versions.candidate_folder import Candidate
from console.versions.champions import Champion
from console.versions.model_facts import ModelFacts
from console.visit import Page, Refusal, Visit

_PNG: Final = "image/png"
_PICTURE_NAME: Final = re.compile(r"[a-z0-9_]{1,40}\.png")
_REPORT: Final = "report.html"
_CHAMPION: Final = "champion"  # its name in addresses
# An evaluation report is one file with its own style; nothing in it may run or load.
_REPORT_POLICY: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
)


def pages(tools: Tools | None = None) -> list[Page]:
    """The room's pages.

    Args:
        tools: how commands are run.
    """
    return [
        Page("/models", lambda visit: _models(visit, tools or Tools()), "review"),
        Page("/models/changed/{candidate}/{number}.png", _changed_png, "review"),
        Page("/models/pictures/{model}/{name}", _picture, "review"),
        Page("/models/reports/{model}", _report, "review"),
        Page("/models/mail/{candidate}", _mail, "review"),
        *action_pages.pages(tools or Tools()),
    ]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What there is."""

    champion: Champion | None
    candidates: Sequence[Candidate]

    def named(self, name: str) -> Candidate:
        """The candidate of an address. Raises Refusal."""
        found = next((one for one in self.candidates if one.name == name), None)
        if found is None:
            raise Refusal(404, f"There is no candidate {name!r}; see the page Models.")
        return found


def _see(settings: ConsoleSettings) -> _Seen:
    champion = champions.served(settings.champion)
    sha256 = None if champion is None else champion.facts.sha256
    return _Seen(champion, candidate_folder.find(settings.work, sha256))


def _models(visit: Visit, tools: Tools) -> Response:
    """Champion and candidates side by side."""
    console, settings = visit.console, visit.console.settings
    seen = _see(settings)
    wanted = visit.request.query_params.get("candidate", "")
    chosen = seen.named(wanted) if wanted else next(iter(seen.candidates), None)
    kept, beside, trouble = _kept(visit)
    columns = [one for one in (seen.champion.facts if seen.champion else None, beside) if one]
    columns += [one.facts for one in seen.candidates if one.facts]
    changed: changed_crops.Changed | str | None = None
    if chosen is not None and not chosen.missing and seen.champion is not None:
        changed = changed_crops.find(chosen.folder, settings.champion)
    try:
        shadow = shadow_reads.latest(console.reports)
        monthly = shadow_reads.retrain_state(console.reports)
    except (StoreError, OSError) as error:
        shadow, monthly, trouble = None, None, str(error)
    return visit.page(
        "console_models.html",
        champion=seen.champion,
        candidates=seen.candidates,
        chosen=chosen,
        table=comparison_table.rows(columns, {} if chosen is None else chosen.lost_won),
        columns=columns,
        reported=_reported(settings.champion, seen.candidates),
        changed=changed if isinstance(changed, changed_crops.Changed) else None,
        no_changes=changed if isinstance(changed, str) else "",
        pictures=_shared_pictures(settings.champion, chosen),
        has_replay=chosen is not None and (chosen.folder / replayed_mail.LISTING).is_file(),
        replay_command=_replay_command(settings, chosen),
        shadow=shadow,
        monthly=monthly,
        history=champions.changes(settings.champion),
        kept=kept,
        trouble=trouble,
        settings=settings,
        mlflow_command="mlflow ui --backend-store-uri sqlite:///mlflow.db",
        actions=action_pages.shown_on_models(visit, tools, seen.champion, seen.candidates, kept),
        titles=action_commands.TITLES,
        max_why_chars=action_commands.MAX_WHY_CHARS,
        may_change=visit.may("admin"),
    )


def _reported(champion: Path, candidates: Sequence[Candidate]) -> set[str]:
    """Those of which there is an evaluation report."""
    folders = {_CHAMPION: champion, **{one.name: one.folder for one in candidates}}
    return {name for name, folder in folders.items() if (folder / _REPORT).is_file()}


def _kept(visit: Visit) -> tuple[list[str], ModelFacts | None, str]:
    """The kept versions, the one to show beside the champion, and why there are none."""
    models, wanted = visit.console.models, visit.request.query_params.get("beside", "")
    try:
        kept = champions.kept_versions(models)
        beside = champions.kept_facts(models, wanted) if wanted in kept else None
    except (StoreError, OSError) as error:
        return [], None, f"The model store cannot be read: {error}"
    return kept, beside, ""


def _shared_pictures(champion: Path, chosen: Candidate | None) -> list[str]:
    """The evaluation's pictures that champion and candidate both have."""
    if chosen is None:
        return []
    names = {path.name for path in (chosen.folder / candidate_folder.PICTURES).glob("*.png")}
    both = names & {path.name for path in (champion / "card").glob("*.png")}
    return sorted(name for name in both if _PICTURE_NAME.fullmatch(name))


def _replay_command(settings: ConsoleSettings, chosen: Candidate | None) -> str:
    folder = settings.work if chosen is None else chosen.folder
    return (
        f"python -m training replay --candidate {folder} --days 7"
        f" --list {folder / replayed_mail.LISTING} --picture {folder / 'replay.png'}"
    )


def _changed_png(visit: Visit) -> Response:
    """One of the crops that changed; the pictures hold no mail."""
    settings = visit.console.settings
    chosen = _see(settings).named(visit.request.path_params["candidate"])
    found, number = changed_crops.find(chosen.folder, settings.champion), visit.number_of("number")
    crop = found.crop(number) if isinstance(found, changed_crops.Changed) else None
    if crop is None:
        raise Refusal(404, "This crop is not among those that changed.")
    return Response(crop.png, media_type=_PNG)


def _picture(visit: Visit) -> Response:
    """A picture of an evaluation: of the candidate, or of the champion's card."""
    folder = _folder_of(visit, champion="card", candidate=candidate_folder.PICTURES)
    name = visit.request.path_params["name"]
    if not _PICTURE_NAME.fullmatch(name) or not (folder / name).is_file():
        raise Refusal(404, "There is no such picture.")
    return Response((folder / name).read_bytes(), media_type=_PNG)


def _report(visit: Visit) -> Response:
    """The evaluation report that `evaluate` wrote, as it is."""
    path = _folder_of(visit, champion="", candidate="") / _REPORT
    if not path.is_file():
        raise Refusal(404, f"{path} is missing; `python -m training evaluate` writes it.")
    headers = {"content-security-policy": _REPORT_POLICY}
    return Response(path.read_bytes(), media_type="text/html", headers=headers)


def _folder_of(visit: Visit, *, champion: str, candidate: str) -> Path:
    settings, model = visit.console.settings, visit.request.path_params["model"]
    if model == _CHAMPION:
        return settings.champion / champion
    return _see(settings).named(model).folder / candidate


def _mail(visit: Visit) -> Response:
    """Captured mail that the two read as different digits."""
    settings = visit.console.settings
    chosen = _see(settings).named(visit.request.path_params["candidate"])
    found, trouble = None, ""
    try:
        found = replayed_mail.find(
            chosen.folder, chosen.folder / candidate_folder.MODEL, visit.console.archive
        )
    except (OSError, ValueError) as error:  # a StoreError is an OSError; Arrow's are either
        trouble = str(error)
    return visit.page(
        "console_models_mail.html",
        chosen=chosen,
        replayed=found,
        trouble=trouble,
        replay_command=_replay_command(settings, chosen),
        max_shown=replayed_mail.MAX_SHOWN,
    )
