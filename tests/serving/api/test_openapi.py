import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from serving.api import schemas
from serving.problems import TITLES

NOT_DESCRIBED = {
    "/metrics", "/openapi.json", "/", "/tryit/tryit.js", "/tryit/style.css",  # not for scanners
    "/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js",
    "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/digits",
    "/v2/models/digits/ready",  # the protocol describes them
    *(f"/v2/models/digits/versions/tiny-1{rest}" for rest in ("", "/ready", "/infer")),
    "/schema.json", "/classify",  # BentoML's
}  # fmt: skip


@pytest.fixture
async def spec(client):
    return (await client.get("/openapi.json")).json


async def test_the_document_is_valid_openapi_3_1(spec):
    assert spec["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(spec).validate()


async def test_every_route_for_scanners_is_described_and_nothing_else(client, spec):
    assert set(spec["paths"]) == set(client.app.routes) - NOT_DESCRIBED


async def test_a_described_method_is_the_one_that_is_answered(client, spec):
    for path, methods in spec["paths"].items():
        assert [method.upper() for method in methods] == [client.app.routes[path].method]


async def test_a_described_body_is_one_that_is_read(client, spec):
    for path, methods in spec["paths"].items():
        for operation in methods.values():
            described = set(operation.get("requestBody", {}).get("content", {}))
            assert described <= set(client.app.routes[path].content_types)


async def test_every_problem_status_is_described_somewhere(spec):
    described = {
        int(status)
        for methods in spec["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
    }
    # No described operation answers 405; 417, 501 and 505 are for requests that HTTP allows
    # and no client of ours sends; 500 is not part of the contract.
    assert described == {200} | set(TITLES) - {405, 417, 500, 501, 505}


async def test_the_examples_fit_their_schemas(spec):
    for name, schema in spec["components"]["schemas"].items():
        for property_schema in schema.get("properties", {}).values():
            for example in property_schema.get("examples", []):
                whole = {**property_schema, "components": spec["components"]}
                jsonschema.validate(example, whole)
        for example in schema.get("examples", []):
            getattr(schemas, name).model_validate(example)


async def test_an_answer_fits_its_published_schema(client, crops, spec):
    reply = await client.post("/v1/digit", crops[0].png)
    schema = {"$ref": "#/components/schemas/DigitAnswer", "components": spec["components"]}
    jsonschema.validate(reply.json, schema)


async def test_open_paths_need_no_key_and_the_others_may(spec):
    for path, methods in spec["paths"].items():
        for operation in methods.values():
            is_open = operation.get("security") == [{}]
            assert is_open is path.endswith("z")


async def test_the_statuses_of_an_operation_are_in_order(spec):
    for methods in spec["paths"].values():
        for operation in methods.values():
            assert list(operation["responses"]) == sorted(operation["responses"])


async def test_the_document_is_made_once(client):
    assert (await client.get("/openapi.json")).body is (await client.get("/openapi.json")).body
