"""The service: Fargate tasks behind a load balancer, released by canary.

Two target groups, because ECS moves traffic between them; the alarms that undo a release live
here, beside it. Knows nothing about how many tasks run (``autoscaling.py``).
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from infra import capacity, fargate_task, grants, settings
from infra.acknowledge import acknowledge
from infra.cloudwatch_metrics import TrafficMetrics, runbook
from infra.foundation_stack import Foundation
from infra.settings import Environment

_SPOOL = f"{settings.WRITABLE}/spool"


class Service(cdk.Stack):
    """Load balancer, tasks, canary and the alarms that roll it back."""

    def __init__(
        self,
        scope: Construct,
        environment: Environment,
        foundation: Foundation,
        plan: capacity.Plan,
    ) -> None:
        super().__init__(
            scope,
            "service",
            stack_name=f"digitline-{environment.name}-service",
            description=f"Digitline {environment.name}: the service behind its load balancer",
            env=cdk.Environment(region=environment.region),
        )
        self.environment_settings = environment
        self.foundation = foundation
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=foundation.vpc,
            # RunningTaskCount, the denominator of the scaling metric, comes from here
            container_insights_v2=ecs.ContainerInsights.ENABLED,
        )
        self.alb_group, self.tasks_group = self._security_groups()
        self.alb = self._load_balancer()
        self.blue = self._target_group("Blue")
        self.green = self._target_group("Green")
        self.rule = self._listener()
        self._firewall(plan)
        self.traffic = TrafficMetrics(alb=self.alb, groups=(self.blue, self.green))
        self.rollback_alarms = self._rollback_alarms()
        self.task = self._task_definition()
        self.service = self._service()
        cdk.CfnOutput(self, "PeakRps", value=f"{environment.peak_rps:g}")
        cdk.CfnOutput(self, "Address", value=self.alb.load_balancer_dns_name)
        cdk.CfnOutput(self, "ClusterName", value=self.cluster.cluster_name)
        cdk.CfnOutput(self, "ServiceName", value=self.service.service_name)

    def _security_groups(self) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup]:
        alb = ec2.SecurityGroup(
            self,
            "AlbGroup",
            vpc=self.foundation.vpc,
            description="HTTPS from scanners",
            allow_all_outbound=False,
        )
        alb.add_ingress_rule(
            ec2.Peer.any_ipv4(), ec2.Port.tcp(settings.HTTPS_PORT), "scanners, from anywhere"
        )
        acknowledge(
            alb,
            "AwsSolutions-EC23",
            "the public entrance: TLS only, behind a firewall, every request carries an API key",
        )
        tasks = ec2.SecurityGroup(
            self,
            "TasksGroup",
            vpc=self.foundation.vpc,
            description="Requests from the load balancer, HTTPS to AWS endpoints",
            allow_all_outbound=False,
        )
        tasks.add_ingress_rule(alb, ec2.Port.tcp(settings.SERVICE_PORT), "load balancer")
        alb.add_egress_rule(tasks, ec2.Port.tcp(settings.SERVICE_PORT), "tasks")
        # isolated subnets: the only places this can reach are the VPC's endpoints and S3's gateway
        tasks.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(settings.HTTPS_PORT), "endpoints")
        return alb, tasks

    def _load_balancer(self) -> elbv2.ApplicationLoadBalancer:
        alb = elbv2.ApplicationLoadBalancer(
            self,
            "Alb",
            vpc=self.foundation.vpc,
            internet_facing=True,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
            security_group=self.alb_group,
            idle_timeout=cdk.Duration.seconds(settings.ALB_IDLE_S),
            drop_invalid_header_fields=True,
            desync_mitigation_mode=elbv2.DesyncMitigationMode.STRICTEST,
            deletion_protection=self.environment_settings.keeps_data,
        )
        alb.log_access_logs(self.foundation.log_bucket, "alb")
        if not self.environment_settings.keeps_data:
            acknowledge(alb, "CKV_AWS_150", "an environment that is torn down in one command")
        return alb

    def _target_group(self, name: str) -> elbv2.ApplicationTargetGroup:
        return elbv2.ApplicationTargetGroup(
            self,
            name,
            vpc=self.foundation.vpc,
            target_type=elbv2.TargetType.IP,
            protocol=elbv2.ApplicationProtocol.HTTP,
            port=settings.SERVICE_PORT,
            load_balancing_algorithm_type=(
                elbv2.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS
            ),
            deregistration_delay=cdk.Duration.seconds(settings.DEREGISTRATION_S),
            health_check=elbv2.HealthCheck(
                path=settings.HEALTH_PATH,
                healthy_http_codes="200",
                interval=cdk.Duration.seconds(settings.HEALTH_INTERVAL_S),
                timeout=cdk.Duration.seconds(settings.HEALTH_TIMEOUT_S),
                healthy_threshold_count=settings.HEALTHY_CHECKS,
                unhealthy_threshold_count=settings.UNHEALTHY_CHECKS,
            ),
        )

    def _listener(self) -> elbv2.ApplicationListenerRule:
        certificate = ssm.StringParameter.value_for_string_parameter(
            self, self.environment_settings.parameter("certificate-arn")
        )
        listener = self.alb.add_listener(
            "Https",
            port=settings.HTTPS_PORT,
            certificates=[acm.Certificate.from_certificate_arn(self, "Certificate", certificate)],
            ssl_policy=elbv2.SslPolicy.RECOMMENDED_TLS,  # TLS 1.2 and 1.3
            open=False,
            default_action=elbv2.ListenerAction.fixed_response(
                404, content_type="text/plain", message_body="no such path"
            ),
        )
        # ECS shifts these weights during a release: 100/0 -> 90/10 -> 0/100
        return elbv2.ApplicationListenerRule(
            self,
            "Production",
            listener=listener,
            priority=1,
            conditions=[elbv2.ListenerCondition.path_patterns(["/*"])],
            action=elbv2.ListenerAction.weighted_forward(
                [
                    elbv2.WeightedTargetGroup(target_group=self.blue, weight=100),
                    elbv2.WeightedTargetGroup(target_group=self.green, weight=0),
                ]
            ),
        )

    def _firewall(self, plan: capacity.Plan) -> None:
        name = f"digitline-{self.environment_settings.name}"
        acl = wafv2.CfnWebACL(
            self,
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
                            custom_response=wafv2.CfnWebACL.CustomResponseProperty(
                                response_code=429
                            )
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
                # a crop is binary and larger than 8 KiB: rules that read bodies only count
                _managed(
                    3,
                    "AWSManagedRulesCommonRuleSet",
                    count=(
                        "SizeRestrictions_BODY",
                        "CrossSiteScripting_BODY",
                        "GenericLFI_BODY",
                        "GenericRFI_BODY",
                        "EC2MetaDataSSRF_BODY",
                    ),
                ),
            ],
        )
        wafv2.CfnWebACLAssociation(
            self,
            "FirewallOnAlb",
            resource_arn=self.alb.load_balancer_arn,
            web_acl_arn=acl.attr_arn,
        )

    def _rollback_alarms(self) -> list[cloudwatch.Alarm]:
        """Alarms that undo a release while it is still baking, and page someone at any time."""
        one_minute = cdk.Duration.minutes(1)
        specs = (
            (
                "p99",
                self.traffic.p99_ms(one_minute),
                settings.P99_MS,
                "The 99th percentile of answer times is above the objective",
            ),
            (
                "errors",
                self.traffic.error_frac(one_minute),
                settings.ALARM_ERROR_FRAC,
                "The share of 5xx answers is ten times the objective",
            ),
            (
                "unhealthy",
                self.traffic.unhealthy_hosts(one_minute),
                0,
                "A task does not pass its health check",
            ),
            (
                "rejects",
                self.traffic.reject_frac(one_minute),
                settings.ALARM_REJECT_FRAC,
                "The model refuses far more crops than it should",
            ),
        )
        return [self._rollback_alarm(*spec) for spec in specs]

    def _rollback_alarm(
        self, name: str, metric: cloudwatch.IMetric, threshold: float, what: str
    ) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            self,
            f"Alarm-{name}",
            alarm_name=f"digitline-{self.environment_settings.name}-{name}",
            alarm_description=runbook(self, self.environment_settings, name, what),
            metric=metric,
            threshold=threshold,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=3,
            datapoints_to_alarm=2,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        action = actions.SnsAction(self.foundation.alerts)
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)
        return alarm

    def _task_definition(self) -> ecs.FargateTaskDefinition:
        task = fargate_task.task(
            self,
            "Task",
            family=f"digitline-{self.environment_settings.name}-service",
            size=settings.SERVICE_TASK,
            volume="spool",
        )
        shipper = self._shipper(task)
        server = self._server(task)
        # the server starts after the shipper and so is stopped before it: what a draining task
        # still answers is shipped too
        server.add_container_dependencies(
            ecs.ContainerDependency(
                container=shipper, condition=ecs.ContainerDependencyCondition.START
            )
        )
        grants.objects(
            task.task_role,
            self.foundation.captures,
            "captures",
            grants.WRITE,
            "the shipper writes captures, and can neither read nor delete one",
        )
        return task

    def _server(self, task: ecs.FargateTaskDefinition) -> ecs.ContainerDefinition:
        return fargate_task.container(
            task,
            "server",
            image=self._image(self.foundation.service_images, "service-image-tag"),
            command=["python", "-m", "serving"],
            environment={
                "DIGITS_HOST": "0.0.0.0",  # noqa: S104  # the task's own interface
                "DIGITS_PORT": str(settings.SERVICE_PORT),
                "DIGITS_ERROR_TARGET": str(settings.ERROR_TARGET),
                "DIGITS_AUTH": "on",
                "DIGITS_REQUEST_DEADLINE_MS": str(1000 * settings.REQUEST_DEADLINE_S),
                "DIGITS_DRAIN_S": str(settings.DRAIN_S),
                "DIGITS_CAPTURE_DIR": _SPOOL,
                "DIGITS_EMF": "on",
                "DIGITS_LOG_LEVEL": "info",
            },
            secrets={"DIGITS_API_KEYS_JSON": self._api_keys(task)},
            port=settings.SERVICE_PORT,
            health_check=ecs.HealthCheck(
                command=fargate_task.probe(settings.SERVICE_PORT, "/livez"),
                interval=cdk.Duration.seconds(settings.HEALTH_INTERVAL_S),
                timeout=cdk.Duration.seconds(settings.HEALTH_TIMEOUT_S),
                retries=settings.UNHEALTHY_CHECKS,
                start_period=cdk.Duration.seconds(settings.START_GRACE_S),
            ),
            log_group=self.foundation.log_group(self, "ServerLogs"),
            volume="spool",
        )

    def _shipper(self, task: ecs.FargateTaskDefinition) -> ecs.ContainerDefinition:
        """The process that turns spool segments into Parquet on S3.

        It may die and be restarted without the service: records wait in the spool meanwhile.
        """
        return fargate_task.container(
            task,
            "shipper",
            image=self._image(self.foundation.jobs_images, "jobs-image-tag"),
            command=["python", "-m", "monitoring", "ship", "--follow"],
            environment={
                "DIGITS_CAPTURE_DIR": _SPOOL,
                "DIGITS_CAPTURE_STORE": self.foundation.captures.url("captures"),
                "DIGITS_EMF": "on",
            },
            essential=False,
            memory_limit_mib=settings.SHIPPER_MEMORY_MIB,
            log_group=self.foundation.log_group(self, "ShipperLogs"),
            volume="spool",
        )

    def _image(self, repository: ecr.IRepository, fact: str) -> ecs.ContainerImage:
        return fargate_task.image(self, self.environment_settings, repository, fact)

    def _api_keys(self, task: ecs.FargateTaskDefinition) -> ecs.Secret:
        """The secret by its ARN.

        A grant on the construct itself would write into foundation's key policy, and foundation
        must not depend on this stack.
        """
        secret = secretsmanager.Secret.from_secret_complete_arn(
            self, "ApiKeys", self.foundation.api_keys.secret_arn
        )
        self.foundation.key.grant_decrypt(task.obtain_execution_role())
        return ecs.Secret.from_secrets_manager(secret)

    def _service(self) -> ecs.FargateService:
        service = ecs.FargateService(
            self,
            "Service",
            cluster=self.cluster,
            task_definition=self.task,
            # no desired_count: autoscaling owns it, and a deployment would set it back
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[self.tasks_group],
            assign_public_ip=False,
            availability_zone_rebalancing=ecs.AvailabilityZoneRebalancing.ENABLED,
            min_healthy_percent=100,
            max_healthy_percent=200,
            health_check_grace_period=cdk.Duration.seconds(settings.START_GRACE_S),
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            deployment_strategy=ecs.DeploymentStrategy.CANARY,
            canary_configuration=ecs.TrafficShiftConfig(
                step_percent=settings.CANARY_PERCENT,
                step_bake_time=cdk.Duration.minutes(settings.CANARY_MIN),
            ),
            bake_time=cdk.Duration.minutes(settings.BAKE_MIN),
            # no circuit breaker: it works with rolling deployments only; these alarms roll back
            deployment_alarms=ecs.DeploymentAlarmConfig(
                alarm_names=[alarm.alarm_name for alarm in self.rollback_alarms],
                behavior=ecs.AlarmBehavior.ROLLBACK_ON_ALARM,
            ),
        )
        target = service.load_balancer_target(
            container_name="server",
            container_port=settings.SERVICE_PORT,
            alternate_target=ecs.AlternateTarget(
                "Alternate",
                alternate_target_group=self.green,
                production_listener=ecs.ListenerRuleConfiguration.application_listener_rule(
                    self.rule
                ),
                role=self._traffic_role(),
            ),
        )
        self.blue.add_target(target)
        resource = service.node.default_child
        assert isinstance(resource, ecs.CfnService)
        acknowledge(service, "W3005", "CDK says aloud that the service waits for its listener rule")
        resource.monitoring = ecs.CfnService.MonitoringConfigurationProperty(
            metric_configurations=[
                ecs.CfnService.MetricConfigurationProperty(
                    metric_names=["CPUUtilization"],
                    resolution_seconds=settings.CPU_METRIC_RESOLUTION_S,
                )
            ]
        )
        return service

    def _traffic_role(self) -> iam.Role:
        """What ECS may do to the listener and the target groups while it shifts traffic."""
        policy = "arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"
        role = iam.Role(
            self,
            "TrafficRole",
            assumed_by=iam.ServicePrincipal("ecs.amazonaws.com"),
            managed_policies=[
                iam.ManagedPolicy.from_managed_policy_arn(self, "TrafficPolicy", policy)
            ],
        )
        acknowledge(
            role, f"AwsSolutions-IAM4[Policy::{policy}]", "AWS's own policy for exactly this role"
        )
        return role


def _visible(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=True
    )


def _managed(
    priority: int, rule_set: str, count: tuple[str, ...] = ()
) -> wafv2.CfnWebACL.RuleProperty:
    """One of AWS's rule sets; the rules in ``count`` are counted and never block."""
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
