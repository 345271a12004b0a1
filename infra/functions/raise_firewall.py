"""Puts the web application firewall in front of the load balancer, when the flood alarm rings.

The source of an AWS Lambda function; it runs without the rest of the repository.
"""

from __future__ import annotations

import os

import boto3


def raise_it(event: object, context: object) -> None:  # noqa: ARG001
    """Associate the two; asking again changes nothing."""
    boto3.client("wafv2").associate_web_acl(
        WebACLArn=os.environ["FIREWALL"], ResourceArn=os.environ["BALANCER"]
    )
