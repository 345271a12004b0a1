import pytest

from serving.edge.repeated_fields import check_repeated
from serving.problems import Problem


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        (b"x-api-key", b"one", b"two"),
        (b"content-type", b"image/png", b"text/plain"),
        (b"idempotency-key", b"1", b"2"),
        (b"x-deadline-ms", b"100", b"5"),
        (b"x-request-id", b"a", b"b"),
    ],
)
def test_a_field_with_two_values_is_refused_by_its_name(name, value, other):
    with pytest.raises(Problem, match=f"two {name.decode()} headers") as refused:
        check_repeated([(name, value), (b"accept", b"x"), (name, other)])
    assert refused.value.status == 400


def test_the_same_value_twice_and_lists_are_accepted():
    check_repeated([(b"content-type", b"image/png")] * 2 + [(b"accept", b"a"), (b"accept", b"b")])


async def test_a_request_with_two_deadlines_is_answered_400(client, crops):
    async def twice(scope, receive, send):
        fields = [*scope["headers"], (b"x-deadline-ms", b"100"), (b"x-deadline-ms", b"5")]
        await app({**scope, "headers": fields}, receive, send)

    app, client.app = client.app, twice
    reply = await client.post("/v1/digit", crops[0].png)
    assert reply.status == 400
    assert "two x-deadline-ms headers" in reply.json["detail"]
