"""The load balancer: security groups, listener and two target groups.

There are two target groups because ECS shifts traffic between them. Knows nothing about tasks.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from contract import timeouts
from infra import settings
from infra.acknowledge import acknowledge
from infra.foundation_stack import Foundation
from infra.settings import Environment


def security_groups(
    scope: Construct, foundation: Foundation
) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup]:
    """For the load balancer and for the tasks: the first may reach the second on one port."""
    alb = ec2.SecurityGroup(
        scope,
        "AlbGroup",
        vpc=foundation.vpc,
        description="HTTPS from scanners",
        allow_all_outbound=False,
    )
    alb.add_ingress_rule(
        ec2.Peer.any_ipv4(), ec2.Port.tcp(settings.HTTPS_PORT), "scanners, from anywhere"
    )
    acknowledge(
        alb,
        "AwsSolutions-EC23",
        "scanners call it over the internet: TLS only, firewall, an API key for each request",
    )
    tasks = ec2.SecurityGroup(
        scope,
        "TasksGroup",
        vpc=foundation.vpc,
        description="Requests from the load balancer, HTTPS to AWS endpoints",
        allow_all_outbound=False,
    )
    tasks.add_ingress_rule(alb, ec2.Port.tcp(settings.SERVICE_PORT), "load balancer")
    alb.add_egress_rule(tasks, ec2.Port.tcp(settings.SERVICE_PORT), "tasks")
    # isolated subnets: only the VPC's endpoints and S3's gateway are reachable
    tasks.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(settings.HTTPS_PORT), "endpoints")
    return alb, tasks


def load_balancer(
    scope: Construct, foundation: Foundation, group: ec2.SecurityGroup, *, is_protected: bool
) -> elbv2.ApplicationLoadBalancer:
    """Internet-facing, with access logs in foundation's log bucket."""
    alb = elbv2.ApplicationLoadBalancer(
        scope,
        "Alb",
        vpc=foundation.vpc,
        internet_facing=True,
        vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
        security_group=group,
        idle_timeout=cdk.Duration.seconds(timeouts.ALB_IDLE_S),
        drop_invalid_header_fields=True,
        desync_mitigation_mode=elbv2.DesyncMitigationMode.STRICTEST,
        deletion_protection=is_protected,
    )
    alb.log_access_logs(foundation.log_bucket, "alb")
    if not is_protected:
        acknowledge(alb, "CKV_AWS_150", "deleted with its environment, or by a failed creation")
    return alb


def target_group(
    scope: Construct, name: str, foundation: Foundation
) -> elbv2.ApplicationTargetGroup:
    """A target group of task addresses, checked by ``/readyz``."""
    return elbv2.ApplicationTargetGroup(
        scope,
        name,
        vpc=foundation.vpc,
        target_type=elbv2.TargetType.IP,
        protocol=elbv2.ApplicationProtocol.HTTP,
        port=settings.SERVICE_PORT,
        load_balancing_algorithm_type=(
            elbv2.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS
        ),
        deregistration_delay=cdk.Duration.seconds(timeouts.DEREGISTRATION_S),
        health_check=elbv2.HealthCheck(
            path=settings.HEALTH_PATH,
            healthy_http_codes="200",
            interval=cdk.Duration.seconds(settings.HEALTH_INTERVAL_S),
            timeout=cdk.Duration.seconds(settings.HEALTH_TIMEOUT_S),
            healthy_threshold_count=settings.HEALTHY_CHECKS,
            unhealthy_threshold_count=settings.UNHEALTHY_CHECKS,
        ),
    )


def listener_rule(
    scope: Construct,
    environment: Environment,
    alb: elbv2.ApplicationLoadBalancer,
    blue: elbv2.ApplicationTargetGroup,
    green: elbv2.ApplicationTargetGroup,
) -> tuple[elbv2.ApplicationListenerRule, elbv2.ApplicationListenerRule]:
    """An HTTPS listener that hides /metrics, and its two rules whose weights a release shifts.

    The first takes all requests, the second those that test a release before it gets traffic.
    """
    certificate = ssm.StringParameter.value_for_string_parameter(
        scope, environment.parameter("certificate-arn")
    )
    no_such_path = elbv2.ListenerAction.fixed_response(
        404, content_type="text/plain", message_body="no such path"
    )
    listener = alb.add_listener(
        "Https",
        port=settings.HTTPS_PORT,
        certificates=[acm.Certificate.from_certificate_arn(scope, "Certificate", certificate)],
        ssl_policy=elbv2.SslPolicy.RECOMMENDED_TLS,  # TLS 1.2 and 1.3
        open=False,
        default_action=no_such_path,
    )

    def rule(
        name: str, priority: int, condition: elbv2.ListenerCondition, action: elbv2.ListenerAction
    ) -> elbv2.ApplicationListenerRule:
        return elbv2.ApplicationListenerRule(
            scope,
            name,
            listener=listener,
            priority=priority,
            conditions=[condition],
            action=action,
        )

    # ECS shifts these weights during a release: 100/0 -> 90/10 -> 0/100. An edit of the rule would
    # write 100/0 back; the stack policy in docs/deploy.md refuses it (aws/aws-cdk issue 36649).
    everything = elbv2.ListenerCondition.path_patterns(["/*"])
    production = rule(
        "Production", settings.PRODUCTION_PRIORITY, everything, _weighted(blue, green)
    )
    # No release moves this rule: ECS changes only the one that the service names.
    hidden = elbv2.ListenerCondition.path_patterns(["/metrics", "/metrics/*"])
    metrics = rule("Metrics", settings.METRICS_PRIORITY, hidden, no_such_path)
    marked = elbv2.ListenerCondition.http_header(settings.TEST_HEADER, ["yes"])
    test = rule("Test", settings.TEST_PRIORITY, marked, _weighted(blue, green))
    metrics.node.add_dependency(production)  # which may have this priority in an older stack
    return production, test


def _weighted(
    blue: elbv2.ApplicationTargetGroup, green: elbv2.ApplicationTargetGroup
) -> elbv2.ListenerAction:
    return elbv2.ListenerAction.weighted_forward(
        [
            elbv2.WeightedTargetGroup(target_group=blue, weight=100),
            elbv2.WeightedTargetGroup(target_group=green, weight=0),
        ]
    )
