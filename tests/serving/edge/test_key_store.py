"""Keys from Secrets Manager: moto checks each signature and each permission, as AWS does."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto import settings as moto_settings

from serving import aws_signature
from serving.edge import key_store, lifecycle
from serving.edge.key_ring import KeysError
from serving.telemetry import Telemetry

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:keys-AbCdEf"
NOW = datetime(2026, 11, 27, 8, 30, tzinfo=UTC)


@pytest.fixture
def aws(s3, monkeypatch):
    """moto with a user who may read secrets; returns a client that may do everything."""
    for name in ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    admin = boto3.client("secretsmanager")
    iam = boto3.client("iam")
    iam.create_user(UserName="reader")
    allow = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    return admin


@pytest.fixture
def secret(aws, key_entry, monkeypatch):
    """Writes these keys to a secret; returns its ARN. moto enforces permissions afterwards."""
    arn = aws.create_secret(Name="keys", SecretString="{}")["ARN"]

    def write(*keys):
        monkeypatch.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", float("inf"))
        content = json.dumps({"keys": [key_entry(key) for key in keys]})
        aws.put_secret_value(SecretId=arn, SecretString=content)
        monkeypatch.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        return arn

    return write


@pytest.mark.parametrize("token", ["", "a/session+token=="])
def test_a_signature_is_the_one_that_botocore_makes(token, monkeypatch):
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": "secretsmanager.eu-west-1.amazonaws.com",
        "x-amz-target": "secretsmanager.GetSecretValue",
    }
    keys = {"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "s/ecret", "Token": token}
    ours = aws_signature.sign(headers, b"{}", credentials=keys, region="eu-west-1", now=NOW)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW.replace(tzinfo=None))
    url = f"https://{headers['host']}/"
    theirs = AWSRequest(method="POST", url=url, data=b"{}", headers=headers)
    credentials = Credentials("AKIDEXAMPLE", "s/ecret", token or None)
    SigV4Auth(credentials, "secretsmanager", "eu-west-1").add_auth(theirs)
    assert ours["authorization"] == theirs.headers["Authorization"]


def test_a_secret_is_read_with_a_signed_request(secret):
    content = json.loads(key_store.read_secret(secret("old")))
    assert [entry["site"] for entry in content["keys"]] == ["berlin-1"]


def test_a_wrong_signature_is_refused(secret, monkeypatch):
    arn = secret("old")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(OSError, match="SignatureDoesNotMatch"):
        key_store.read_secret(arn)


def test_a_task_takes_its_roles_credentials(monkeypatch):
    class Agent(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"AccessKeyId": f"of {self.path}"}).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Agent) as agent:
        threading.Thread(target=agent.handle_request).start()
        address = f"http://127.0.0.1:{agent.server_port}"
        monkeypatch.setattr(aws_signature, "_TASK_ADDRESS", address)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1")
        assert aws_signature.find_credentials()["AccessKeyId"] == "of /v2/credentials/1"


@pytest.mark.parametrize("arn", ["keys", "arn:aws:s3:::keys", ARN.replace("eu-west-1", "")])
def test_what_is_no_secrets_arn_is_refused(arn):
    with pytest.raises(ValueError, match="is no ARN of a secret"):
        key_store.read_secret(arn)


async def status(client, crops, key):
    return (await client.post("/v1/digit", crops[0].png, x_api_key=key)).status


async def test_a_changed_secret_takes_effect_without_a_restart(serve, crops, secret):
    client = await serve(auth="on", key_store=secret("leaked"))
    assert await status(client, crops, "leaked") == 200
    secret("new")
    client.app.lifecycle.reload_keys()
    assert await status(client, crops, "leaked") == 401
    assert await status(client, crops, "new") == 200


async def test_the_keys_stay_in_force_while_aws_does_not_answer(serve, crops, secret, s3, logs):
    client = await serve(auth="on", key_store=secret("old"))
    s3.start("503 Service Unavailable")
    client.app.lifecycle.reload_keys()
    assert await status(client, crops, "old") == 200
    assert any("old ones stay in force" in entry["event"] for entry in logs)


async def test_only_keys_that_were_read_end_the_age_of_the_old_ones(serve, secret, s3, monkeypatch):
    client = await serve(auth="on", key_store=secret("old"))
    num_read = []
    monkeypatch.setattr(Telemetry, "on_keys_read", lambda self: num_read.append(1))
    s3.start("503 Service Unavailable")
    client.app.lifecycle.reload_keys()
    assert num_read == []
    s3.stop()
    client.app.lifecycle.reload_keys()
    assert num_read == [1]


async def test_a_service_without_its_secret_does_not_start(serve, secret, monkeypatch):
    arn = secret("old")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(KeysError, match="cannot be read"):
        await serve(auth="on", key_store=arn)


def test_two_polls_and_a_timeout_fit_in_a_minute():
    """The promise of docs/operations.md holds with one failed poll."""
    assert 2 * lifecycle.STORE_RELOAD_EVERY_S + 2 * key_store.TIMEOUT_S < 60
