"""What ``make rehearse`` needs: its environments, and an emulator that can update a stack."""

from __future__ import annotations

import json
import re
from typing import Any

import boto3
import moto_repairs  # noqa: F401  # changes moto's classes
import pytest
import rehearsal
from moto import mock_aws

from infra.settings import REPOSITORY_ROOT

REGION = "eu-central-1"


def test_each_environment_that_the_pages_use_is_made_first() -> None:
    text = "\n".join(block for _, block in rehearsal.blocks())
    makefile = (REPOSITORY_ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    (prerequisites,) = re.findall(r"^rehearse:(.*)##", makefile, re.MULTILINE)
    made = {one.partition("/")[0] for one in prerequisites.split()}
    assert set(re.findall(r"\.venv[a-z-]*(?=/bin)", text)) <= made


def template(display_name: str) -> str:
    topic = {"TopicName": {"Ref": "Name"}, "DisplayName": display_name}
    return json.dumps(
        {
            "Parameters": {
                "Name": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/usual"}
            },
            "Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": topic}},
            "Outputs": {"Name": {"Value": {"Fn::GetAtt": ["Topic", "TopicName"]}}},
        }
    )


@pytest.mark.parametrize(
    ("given", "name"),
    [
        pytest.param([], "the-usual", id="default"),
        pytest.param(
            [{"ParameterKey": "Name", "ParameterValue": "/other"}], "the-other", id="given"
        ),
    ],
)
def test_an_update_keeps_the_parameters_of_the_creation(
    given: list[dict[str, Any]], name: str
) -> None:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
    with mock_aws():
        ssm, stacks = boto3.client("ssm", **keys), boto3.client("cloudformation", **keys)
        for key in ("usual", "other"):
            ssm.put_parameter(Name=f"/{key}", Value=f"the-{key}", Type="String")
        stacks.create_stack(StackName="one", TemplateBody=template("first"), Parameters=given)
        stacks.update_stack(
            StackName="one",
            TemplateBody=template("second"),
            Parameters=[{"ParameterKey": "Name", "UsePreviousValue": True}],
        )
        (stack,) = stacks.describe_stacks(StackName="one")["Stacks"]
        topics = boto3.client("sns", **keys)
        (topic,) = topics.list_topics()["Topics"]
        attributes = topics.get_topic_attributes(TopicArn=topic["TopicArn"])["Attributes"]
    assert [one["OutputValue"] for one in stack["Outputs"]] == [name]
    assert attributes["DisplayName"] == "second"
