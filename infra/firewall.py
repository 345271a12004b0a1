"""The web application firewall (WAF) of the load balancer."""

from __future__ import annotations

from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from infra import capacity, settings
from infra.settings import Environment


def firewall(
    scope: Construct,
    environment: Environment,
    plan: capacity.Plan,
    alb: elbv2.ApplicationLoadBalancer,
) -> None:
    """Block addresses above the rate limit and requests that AWS's managed rules match."""
    name = f"digitline-{environment.name}"
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
            _managed(1, "AWSManagedRulesKnownBadInputsRuleSet"),
            _managed(2, "AWSManagedRulesAmazonIpReputationList"),
            # Rules on bodies only count: a crop is binary and may be larger than 8 KiB. So does the
            # rule on a missing User-Agent: embedded scanners send none, and each has an API key.
            _managed(
                3,
                "AWSManagedRulesCommonRuleSet",
                count=(
                    "SizeRestrictions_BODY",
                    "CrossSiteScripting_BODY",
                    "GenericLFI_BODY",
                    "GenericRFI_BODY",
                    "EC2MetaDataSSRF_BODY",
                    "NoUserAgent_HEADER",
                ),
            ),
        ],
    )
    wafv2.CfnWebACLAssociation(
        scope,
        "FirewallOnAlb",
        resource_arn=alb.load_balancer_arn,
        web_acl_arn=acl.attr_arn,
    )


def _visible(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=True
    )


def _managed(
    priority: int, rule_set: str, count: tuple[str, ...] = ()
) -> wafv2.CfnWebACL.RuleProperty:
    """One of AWS's managed rule sets; rules in ``count`` are counted and never block."""
    return wafv2.CfnWebACL.RuleProperty(
        name=rule_set,
        priority=priority,
        override_action=wafv2.CfnWebACL.OverrideActionProperty(none={}),
        statement=wafv2.CfnWebACL.StatementProperty(
            managed_rule_group_statement=wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(
                vendor_name="AWS",
                name=rule_set,
                rule_action_overrides=[
                    wafv2.CfnWebACL.RuleActionOverrideProperty(
                        name=rule, action_to_use=wafv2.CfnWebACL.RuleActionProperty(count={})
                    )
                    for rule in count
                ]
                or None,
            )
        ),
        visibility_config=_visible(rule_set),
    )
