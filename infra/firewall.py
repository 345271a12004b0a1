"""The web application firewall (WAF), which goes in front of the load balancer during a flood.

WAF bills each request that it inspects, more than everything else costs for one. The service itself
refuses requests without a key and malformed bodies, so what it needs from a firewall is the rate
rule. A web ACL that is associated with nothing costs its rules only. So the flood alarm associates
it, and an operator takes it away again (docs/deploy.md).
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as event_targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from infra import capacity, settings
from infra.acknowledge import acknowledge
from infra.foundation_stack import Foundation
from infra.lambda_function import function
from infra.settings import Environment


def firewall(scope: Construct, environment: Environment, plan: capacity.Plan) -> wafv2.CfnWebACL:
    """Block addresses above the rate limit and those that AWS knows as attackers."""
    name = f"digitline-{environment.name}"
    reputation = "AWSManagedRulesAmazonIpReputationList"
    acl = wafv2.CfnWebACL(
        scope,
        "Firewall",
        name=name,
        scope="REGIONAL",
        default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
        visibility_config=_visible(name),
        rules=[
            wafv2.CfnWebACL.RuleProperty(
                name="rate",
                priority=0,
                action=wafv2.CfnWebACL.RuleActionProperty(
                    block=wafv2.CfnWebACL.BlockActionProperty(
                        custom_response=wafv2.CfnWebACL.CustomResponseProperty(response_code=429)
                    )
                ),
                statement=wafv2.CfnWebACL.StatementProperty(
                    rate_based_statement=wafv2.CfnWebACL.RateBasedStatementProperty(
                        aggregate_key_type="IP",
                        limit=plan.waf_limit,
                        evaluation_window_sec=settings.WAF_WINDOW_S,
                    )
                ),
                visibility_config=_visible("rate"),
            ),
            wafv2.CfnWebACL.RuleProperty(
                name=reputation,
                priority=1,
                override_action=wafv2.CfnWebACL.OverrideActionProperty(none={}),
                statement=wafv2.CfnWebACL.StatementProperty(
                    managed_rule_group_statement=(
                        wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(
                            vendor_name="AWS", name=reputation
                        )
                    )
                ),
                visibility_config=_visible(reputation),
            ),
        ],
    )
    reason = "nothing here runs Java: the rules against Log4j would cost without protecting"
    acknowledge(acl, "CKV_AWS_192", reason)
    return acl


def raise_on(
    scope: cdk.Stack,
    alarm: cloudwatch.Alarm,
    acl: wafv2.CfnWebACL,
    alb: elbv2.ApplicationLoadBalancer,
    foundation: Foundation,
) -> None:
    """Associate the two when the alarm rings."""
    made = function(
        scope,
        "RaiseFirewall",
        entry="raise_firewall.raise_it",
        environment={"FIREWALL": acl.attr_arn, "BALANCER": alb.load_balancer_arn},
        foundation=foundation,
        timeout_s=30,
    )
    # both are needed for a load balancer (WAF developer guide, actions that require permissions)
    made.add_to_role_policy(
        iam.PolicyStatement(
            actions=["wafv2:AssociateWebACL"], resources=[acl.attr_arn, alb.load_balancer_arn]
        )
    )
    made.add_to_role_policy(
        iam.PolicyStatement(
            actions=["elasticloadbalancing:SetWebAcl"], resources=[alb.load_balancer_arn]
        )
    )
    events.Rule(
        scope,
        "Flood",
        description="The flood alarm rings: put the firewall in front of the load balancer",
        event_pattern=events.EventPattern(
            source=["aws.cloudwatch"],
            detail_type=["CloudWatch Alarm State Change"],
            resources=[alarm.alarm_arn],
            detail={"state": {"value": ["ALARM"]}},
        ),
        targets=[event_targets.LambdaFunction(made)],
    )


def _visible(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=True
    )
