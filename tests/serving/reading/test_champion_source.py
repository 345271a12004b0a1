"""The champion in S3: moto checks each signature, as AWS does."""

import http.client

import boto3
import pytest
from champions import write_champion
from moto import settings as moto_settings

from model.artifact import RULES, SERVED_FILES
from model.errors import ModelError
from serving.config import ConfigError
from serving.reading import champion_source
from serving.reading.champion_source import open_source, refusing_unfit

URL = "s3://models/digits/champion"


@pytest.fixture
def bucket(s3, monkeypatch):
    """A bucket with a place for the champion; `put(folder)` uploads one, the manifest last."""
    for name in ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    client = boto3.client("s3")
    client.create_bucket(
        Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )

    def put(folder, names=SERVED_FILES[::-1]):
        for name in names:
            client.put_object(
                Bucket="models", Key=f"digits/champion/{name}", Body=(folder / name).read_bytes()
            )

    return put


def test_the_files_under_a_prefix_are_read(bucket, tiny_champion):
    bucket(tiny_champion)
    files = open_source(URL, RULES).read()
    assert files == {name: (tiny_champion / name).read_bytes() for name in SERVED_FILES}


def test_a_file_that_is_not_there_is_absent(bucket, tiny_champion):
    bucket(tiny_champion, ["model.onnx"])
    assert set(open_source(URL, RULES).read()) == {"model.onnx"}


def test_what_has_not_changed_is_not_sent_again(bucket, tiny_champion, monkeypatch):
    bucket(tiny_champion)
    source = open_source(URL, RULES)
    first = source.read()
    num_sent = []
    opener = champion_source.OPENER

    class Counting:
        def open(self, request, timeout):
            answer = opener.open(request, timeout=timeout)
            num_sent.append(request)
            return answer

    monkeypatch.setattr(champion_source, "OPENER", Counting())
    assert source.read() == first
    assert num_sent == []  # 304 is no answer but an HTTPError


def test_a_file_whose_connection_breaks_is_read_again(bucket, tiny_champion, monkeypatch):
    bucket(tiny_champion)
    source = open_source(URL, RULES)
    read = http.client.HTTPResponse.read
    with monkeypatch.context() as broken:
        broken.setattr(http.client.HTTPResponse, "read", lambda self, size: read(self, 10))
        with pytest.raises(OSError, match="ended after 10 of"):
            source.read()
    assert source.read()["golden.png"] == (tiny_champion / "golden.png").read_bytes()


def test_a_bucket_that_refuses_is_an_error_with_its_reason(bucket, tiny_champion, monkeypatch):
    bucket(tiny_champion)
    monkeypatch.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    source = open_source(URL, RULES)
    with pytest.raises(OSError, match="403 from s3://models/digits/champion"):
        source.read()


@pytest.mark.parametrize("url", ["s3://", "s3://models", "s3://models/"])
def test_a_url_without_bucket_or_prefix_is_refused(url):
    with pytest.raises(ConfigError, match="s3://BUCKET/PREFIX"):
        open_source(url, RULES)


def test_a_missing_region_is_named(monkeypatch):
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(ConfigError, match="AWS_REGION"):
        open_source(URL, RULES)


async def test_a_running_service_picks_up_the_champion_of_its_prefix(
    serve, bucket, tiny_champion, tmp_path, tiny_model, crops
):
    bucket(tiny_champion)
    client = await serve(URL)
    assert (await client.get("/v1/model")).json["version"] == "tiny-1"
    bucket(write_champion(tmp_path / "new", tiny_model, crops[0], version="tiny-2"))
    await client.app.health._champion.look()
    assert (await client.get("/v1/model")).json["version"] == "tiny-2"
    assert (await client.get("/readyz")).status == 200


async def test_a_bucket_that_cannot_be_reached_changes_nothing(
    serve, bucket, tiny_champion, monkeypatch, logs
):
    bucket(tiny_champion)
    client = await serve(URL)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    await client.app.health._champion.look()
    await client.app.health._champion.look()
    assert (await client.get("/readyz")).status == 200
    assert [one["event"] for one in logs].count("champion not looked at; the old one stays") == 1


async def test_a_bucket_that_cannot_be_reached_at_start_prevents_the_start(
    serve, bucket, monkeypatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="DIGITS_CHAMPION"):
        await serve(URL)


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("no JSON"), ModelError("cut")])
def test_an_unfit_champion_at_start_is_told_with_its_place_and_the_setting(tmp_path, error):
    source = open_source(str(tmp_path), RULES)
    expected = pytest.raises(ConfigError, match=rf"{tmp_path}.*{error}.*DIGITS_CHAMPION")
    with expected, refusing_unfit(source):
        raise error
