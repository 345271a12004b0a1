"""Builds the service of another model on our server, edge, batcher, capture and metrics.

serving/build.py is the same for the digit reader, which has sites, a challenger and pages too.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from model.champion_files import FileRules, VerifiedFiles, verify_files
from serving.api.probes import ProbeHandlers
from serving.config import Settings, load_settings
from serving.edge.assembly import assemble_edge
from serving.edge.edge import Edge
from serving.logs import configure_logging
from serving.messages import Model
from serving.reading.answerer import Answerer, Kind
from serving.reading.champion_source import open_source, refusing_unfit
from serving.reading.champion_watch import ChampionWatch
from serving.reading.health import Health
from serving.request_telemetry import RequestTelemetry
from serving.route import Route

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def compose(
    *,
    kind: Kind[Item, Outcome, Model],
    rules: FileRules,
    load: Callable[[VerifiedFiles], Model],
    shipped: Path,
    build_routes: Callable[[Answerer[Item, Outcome, Model], Settings], Mapping[str, Route[Model]]],
) -> Edge[Model]:
    """Build the application of one worker; refuse to start if a part is unfit.

    Args:
        kind: the model's items and answers.
        rules: of the champion's files.
        load: verified files -> the model, loaded; raises ModelError. It has the version and the
            sha256 of its files.
        shipped: the champion's folder where DIGITS_CHAMPION names none.
        build_routes: path -> route, beside those of health and metrics.

    Raises:
        ConfigError: the environment has mistakes, or the champion is unfit.
        KeysError, SpoolError: a file or folder that a setting names is unfit.
    """
    settings = load_settings()
    configure_logging(settings.log_level)
    source = open_source(settings.champion or str(shipped), rules)
    with refusing_unfit(source):
        files = source.read()
        model = load(verify_files(files, rules))
    telemetry = RequestTelemetry(settings, model)
    answerer = Answerer(model, kind, settings, telemetry.on_batch)

    def build(found: Mapping[str, bytes]) -> Model:
        built = load(verify_files(found, rules))
        answerer.check(built)
        return built

    champion = ChampionWatch(
        source, files, build, answerer, telemetry.on_swap, telemetry.on_refused
    )
    health = Health(answerer, answerer, champion)
    return assemble_edge(
        routes={**ProbeHandlers(telemetry, health).routes(), **build_routes(answerer, settings)},
        settings=settings,
        health=health,
        telemetry=telemetry,
        champion=champion,
        model_in_force=lambda: answerer.model,
        on_close=answerer.close,
    )
