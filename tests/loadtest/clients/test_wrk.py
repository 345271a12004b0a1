import pytest

from loadtest.clients.http1 import Request
from loadtest.clients.wrk import lua_script, parse


def test_the_result_line_is_found_in_wrks_output():
    result = parse(
        "Running 1s test\n  Requests/sec: 5\n"
        'RESULT {"requests":1000,"duration_us":2000000,"status_errors":90,"socket_errors":10,'
        '"p50_us":1500,"p99_us":9000}\n'
    )
    assert result.errors == 100
    assert result.rps == 450  # failed requests are not throughput
    assert (result.p50_ms, result.p99_ms) == (1.5, 9.0)


def test_output_without_a_result_is_an_error():
    with pytest.raises(ValueError, match="no result line"):
        parse("unable to connect")


def test_every_byte_of_a_request_is_escaped():
    script = lua_script(80, [Request("/d", "image/png", b'"\\\n\x00')])
    assert "\\034\\092\\010\\000" in script
