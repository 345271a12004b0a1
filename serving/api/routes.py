"""The table path -> handler, with the checks that the edge makes before it calls the handler."""

from typing import Final

from serving.api import sites
from serving.api.codes import Postcodes
from serving.api.counting import ReadingCounter
from serving.api.digits import DigitHandlers
from serving.api.documents import OpenApiHandler, PageHandler
from serving.api.explanation import ExplainHandler
from serving.api.label_intake import LabelHandler
from serving.api.openinference import MODEL_PATH, OpenInferenceHandlers
from serving.api.payloads import FORM_TYPE, IMAGE_TYPES, NPY_TYPE
from serving.api.postcode import PostcodeHandler
from serving.api.probes import ProbeHandlers
from serving.api.status import StatusHandlers
from serving.api.whole_field import FieldHandler
from serving.config import Settings
from serving.messages import Answer
from serving.reading.capture_sink import CaptureSink
from serving.reading.champion_watch import ChampionWatch
from serving.reading.explainer import Explainer
from serving.reading.field_reader import FieldReader
from serving.reading.health import Health
from serving.reading.reader import Reader
from serving.reading.site_watch import SiteWatch
from serving.route import JSON_TYPE, Route
from serving.telemetry import Telemetry
from serving.tracing import Tracer

OCTET_TYPE: Final = "application/octet-stream"
NO_TYPE: Final = ""  # Triton's client sends no content type


def build_routes(
    *,
    reader: Reader,
    settings: Settings,
    telemetry: Telemetry,
    tracer: Tracer,
    health: Health,
    champion: ChampionWatch,
    valid_codes: Postcodes | None,
    docs: dict[str, Answer],
    tryit: dict[str, Answer],
    watch: SiteWatch | None,
    capture: CaptureSink,
) -> dict[str, Route]:
    """Path -> route, for every path of the API.

    Args:
        reader: reads crops.
        settings: the limits that /v1/model shows.
        telemetry: counts readings; /metrics shows it.
        tracer: traces readings.
        health: decides readiness.
        champion: follows the champion.
        valid_codes: the possible postcodes; None: all codes are possible.
        docs: path -> file, of the page /docs.
        tryit: path -> file, of the page /.
        watch: watches the sites; None: nothing does.
        capture: stores labels.
    """
    counter = ReadingCounter(telemetry, tracer, watch)
    digits = DigitHandlers(reader, counter)
    postcode = PostcodeHandler(reader, counter, valid_codes)
    fields = FieldReader(reader)
    field = FieldHandler(fields, counter, valid_codes)
    explainer = Explainer(reader, fields, patience_s=settings.request_deadline_ms / 2e3)
    status = StatusHandlers(settings, champion)
    probes = ProbeHandlers(telemetry, health)
    document = OpenApiHandler()
    site_handlers = sites.SiteHandlers(watch)
    inference = OpenInferenceHandlers(reader, counter, probes)
    single, bulk = (*IMAGE_TYPES, FORM_TYPE), (FORM_TYPE, NPY_TYPE)
    return {
        "/v1/digit": Route("digit", "POST", digits.digit, content_types=single),
        "/v1/digits": Route("digits", "POST", digits.digits, content_types=bulk, is_bulk=True),
        "/v1/postcode": Route(
            "postcode", "POST", postcode.postcode, content_types=bulk, is_bulk=True
        ),
        "/v1/field": Route("field", "POST", field.field, content_types=single),
        "/v1/explain": Route(
            "explain",
            "POST",
            ExplainHandler(explainer, postcode, field).explain,
            content_types=single,
        ),
        "/v1/labels": Route(
            "labels",
            "POST",
            LabelHandler(capture).labels,
            scope="label",
            content_types=(JSON_TYPE,),
        ),
        "/v1/model": Route("model", "GET", status.model),
        "/v1/sites": Route("sites", "GET", site_handlers.sites, scope="admin"),
        sites.RELEASE: Route("site-release", "POST", site_handlers.release, scope="admin"),
        **probes.routes(),
        "/openapi.json": Route("openapi", "GET", document.openapi, scope=None),
        **{
            path: Route(name, "GET", PageHandler(answer).page, scope=None)
            for name, page in (("docs", docs), ("tryit", tryit))
            for path, answer in page.items()
        },
        "/v2": Route("v2", "GET", inference.server, scope=None),
        "/v2/health/live": Route("v2-live", "GET", inference.live, scope=None),
        "/v2/health/ready": Route("v2-ready", "GET", inference.ready, scope=None),
        **_model_routes(MODEL_PATH, inference),
    }


def path_in_table(path: str, version: str) -> str:
    """The table's path that stands for a path: one with the model's version, or a site's name."""
    versioned = f"{MODEL_PATH}/versions/{version}"
    if path.startswith(versioned):
        return MODEL_PATH + path.removeprefix(versioned)
    if path.startswith(sites.PREFIX) and path.endswith(sites.SUFFIX):
        return sites.RELEASE
    return path


def _model_routes(path: str, inference: OpenInferenceHandlers) -> dict[str, Route]:
    """Open Inference Protocol: the model's paths. `path_in_table` takes the version out."""
    types = (JSON_TYPE, OCTET_TYPE, NO_TYPE)
    return {
        path: Route("v2-model", "GET", inference.model),
        f"{path}/ready": Route("v2-model-ready", "GET", inference.ready, scope=None),
        f"{path}/infer": Route(
            "v2-infer", "POST", inference.infer, content_types=types, is_bulk=True
        ),
    }
