"""Builds the parts of one worker process; refuses to start if one of them is unfit."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from starlette.types import ASGIApp

from capture.site_states import SiteStates
from model.artifact import CHAMPION, RULES, load, verify
from model.errors import ModelError
from serving.api import swagger
from serving.api.codes import load_postcodes
from serving.api.letter_deadline import letter_deadline_ms
from serving.api.routes import build_routes, path_in_table
from serving.api.tryit import load_tryit
from serving.config import ConfigError, Settings, load_settings
from serving.edge import bento
from serving.edge.assembly import assemble_edge
from serving.edge.edge import Edge
from serving.logs import configure_logging
from serving.messages import Reading
from serving.reading.batch_reading import ReadRequest, check_golden
from serving.reading.capture_sink import CaptureSink
from serving.reading.champion_source import open_source, refusing_unfit
from serving.reading.champion_watch import ChampionWatch
from serving.reading.health import Health
from serving.reading.reader import Reader
from serving.reading.shadow import Shadow
from serving.reading.site_watch import SiteWatch
from serving.served_model import ServedModel, build_model
from serving.telemetry import Telemetry
from serving.tracing import Tracer


def build_edge(bento_app: ASGIApp) -> Edge[ServedModel]:
    """Build the application that stands in front of BentoML's.

    Raises:
        ConfigError: the environment has mistakes, or the champion is unfit.
        KeysError, PostcodesError, SpoolError: a file or folder that a setting names is unfit.
        AssetRefused: a file of the page /docs is not the pinned one.
    """
    settings = load_settings()
    configure_logging(settings.log_level)
    source = open_source(settings.champion or str(CHAMPION), RULES)
    with refusing_unfit(source):
        files = source.read()
        model = build_model(verify(files), settings.error_target)
    telemetry = Telemetry(settings, model.artifact)
    capture = CaptureSink(settings)
    watch = _build_watch(settings, model, telemetry)
    on_hold = () if watch is None else watch.on_hold
    shadow = _build_shadow(settings, capture, telemetry)

    def persist(
        requests: Sequence[ReadRequest], outcomes: Sequence[Reading | Exception]
    ) -> dict[int, Exception]:
        failures = capture.persist(requests, outcomes)
        if shadow is not None:
            shadow.offer(requests, outcomes, failures)
        return failures

    reader = Reader(model, settings, telemetry.on_batch, persist, on_hold)
    if shadow is not None:
        shadow.start(reader.is_idle)

    def on_swap(old: ServedModel, new: ServedModel) -> None:
        telemetry.on_swap(old.artifact, new.artifact)
        if watch is not None:
            watch.change_model(new)

    def build_champion(files: Mapping[str, bytes]) -> ServedModel:
        built = build_model(verify(files), settings.error_target)
        check_golden(built)
        return built

    champion = ChampionWatch(source, files, build_champion, reader, on_swap, telemetry.on_refused)
    health = Health(reader, capture, champion)
    tracer = Tracer(settings)
    routes = build_routes(
        reader=reader,
        settings=settings,
        telemetry=telemetry,
        tracer=tracer,
        health=health,
        champion=champion,
        valid_codes=load_postcodes(settings.postcodes) if settings.postcodes else None,
        docs=swagger.load_page(swagger.package_folder()),
        tryit=load_tryit(),
        watch=watch,
        capture=capture,
    )

    def close() -> None:
        reader.close()
        if shadow is not None:
            shadow.close()
        if watch is not None:
            watch.close()
        capture.close()
        tracer.close()

    return assemble_edge(
        routes={**routes, **bento.ROUTES},
        settings=settings,
        health=health,
        telemetry=telemetry,
        champion=champion,
        model_in_force=lambda: reader.model,
        on_close=close,
        watch=watch,
        behind=bento_app,
        forward=bento.forwarding(bento_app, reader.wait_turn),
        path_in_table=path_in_table,
        deadline_of=letter_deadline_ms,
    )


def _build_watch(settings: Settings, model: ServedModel, telemetry: Telemetry) -> SiteWatch | None:
    """Build the watch of the sites; None where it is off.

    Raises:
        ConfigError: its folder cannot be made or read.
    """
    if settings.site_breaker == "off":
        return None
    folder = settings.site_states_dir
    if folder is None and settings.capture_dir is not None:
        folder = settings.capture_dir / "sites"
    if folder is None and (shared := os.environ.get("PROMETHEUS_MULTIPROC_DIR")):
        folder = Path(shared) / "sites"  # of the workers of one supervisor, until it exits
    try:
        if settings.site_states_dir is not None:
            settings.site_states_dir.mkdir(parents=True, exist_ok=True)
        return SiteWatch(
            SiteStates(folder),
            model,
            may_hold=settings.site_breaker == "hold",
            on_change=telemetry.on_site,
        )
    except OSError as error:
        raise ConfigError(
            f"the folder of the sites' states, {folder}, cannot be used: {error}; "
            "set DIGITS_SITE_STATES_DIR"
        ) from error


def _build_shadow(settings: Settings, capture: CaptureSink, telemetry: Telemetry) -> Shadow | None:
    """Load the challenger; None where there is none.

    Raises:
        ConfigError: it is unfit.
    """
    if settings.challenger is None:
        return None
    try:
        challenger = build_model(load(settings.challenger), settings.error_target)
        check_golden(challenger)
    except ModelError as error:
        raise ConfigError(
            f"DIGITS_CHALLENGER={settings.challenger}: {error}; name a champion folder, or unset it"
        ) from error
    return Shadow(
        challenger,
        settings.challenger_frac,
        capture.persist_compared,
        telemetry.on_compared,
        telemetry.on_shadow_dropped,
    )
