"""Facts about AWS that the rules check against: names, Fargate's sizes, limits.

Source: the user guides of ECS (task size, service metrics, Container Insights), Elastic Load
Balancing (attributes, metrics), CloudWatch, and Application Auto Scaling.
"""

from __future__ import annotations

import re

from contract import metrics

# deployment strategies that shift traffic between two target groups
SHIFTING = ("CANARY", "LINEAR", "BLUE_GREEN")
ACTIONS_WITHOUT_RESOURCE = re.compile(  # IAM has no resource for them
    r"ecr:GetAuthorizationToken|xray:Put\w+|xray:GetSampling\w+|logs:\w+LogDelivery|"
    r"logs:ListLogDeliveries|logs:PutResourcePolicy|logs:DescribeResourcePolicies|"
    r"logs:DescribeLogGroups|ssmmessages:\w+"
)

ALGORITHM = "load_balancing.algorithm.type"
BLOCKS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
FARGATE_MEMORY_MIB = {
    256: (512, 1024, 2048),
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
}
PROMISED_ALARMS = [
    "p99",
    "errors",
    "shed",
    "unhealthy",
    "stuck-deployment",
    "drift-silent",
    "rejects",
    "drift",
    "retrain",
    "dead-letters",
    "at-maximum",
    "running-tasks",
    "healthy-hosts",
    "task-start-impaired",
    "version-difference",
    "synthetic-read",
    "flood",
]
# what an environment without comforts lacks: settings.Environment.has_comforts
COMFORT_ALARMS = ["retrain", "running-tasks", "at-maximum", "stuck-deployment"]
PROMISED_GRAPHS = {  # traffic, latency, shed, saturation, tasks, rejects, drift, cost
    "RequestCount",
    "TargetResponseTime",
    "Shed",
    "CPUUtilization",
    "MemoryUtilization",
    "RunningTaskCount",
    "DesiredTaskCount",
    "Rejected",
    "DriftSeverity",
    "EstimatedCharges",
}
COMFORT_JOBS = ("training retrain --until gate",)
PROMISED_JOBS = ("training retrain --until gate", "monitoring report", "monitoring compact")
TARGET_GROUP_ATTRIBUTES = frozenset(
    {
        ALGORITHM,
        "deregistration_delay.timeout_seconds",
        "load_balancing.algorithm.anomaly_mitigation",
        "load_balancing.cross_zone.enabled",
        "slow_start.duration_seconds",
        "stickiness.enabled",
        "stickiness.type",
    }
)
LOAD_BALANCER_ATTRIBUTES = frozenset(
    {
        "access_logs.s3.bucket",
        "access_logs.s3.enabled",
        "access_logs.s3.prefix",
        "client_keep_alive.seconds",
        "deletion_protection.enabled",
        "idle_timeout.timeout_seconds",
        "routing.http.desync_mitigation_mode",
        "routing.http.drop_invalid_header_fields.enabled",
        "routing.http2.enabled",
    }
)


def _with(*dimension_sets: str) -> set[frozenset[str]]:
    return {frozenset(names.split()) for names in dimension_sets}


_ALB = _with("LoadBalancer", "LoadBalancer TargetGroup")
_INSIGHT = _with("ClusterName ServiceName")
METRICS = {
    "AWS/ApplicationELB": {
        "RequestCount": _ALB,
        "TargetResponseTime": _ALB,
        "HTTPCode_Target_5XX_Count": _ALB,
        "HTTPCode_ELB_5XX_Count": _with("LoadBalancer"),
        "UnHealthyHostCount": _with("LoadBalancer TargetGroup"),
        "HealthyHostCount": _with("LoadBalancer TargetGroup"),
    },
    "AWS/Lambda": dict.fromkeys(("Invocations", "Errors"), _with("FunctionName")),
    "AWS/Events": {"TriggeredRules": _with("RuleName")},
    "ECS/ContainerInsights": {
        "RunningTaskCount": _INSIGHT,
        "DesiredTaskCount": _INSIGHT,
        "DeploymentCount": _INSIGHT,
    },
    "AWS/ECS": {
        "CPUUtilization": _with("ClusterName ServiceName"),
        "MemoryUtilization": _with("ClusterName ServiceName"),
    },
    "AWS/States": {"ExecutionsFailed": _with("StateMachineArn")},
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible": _with("QueueName")},
    "AWS/RDS": {"FreeStorageSpace": _with("DBInstanceIdentifier")},
    "AWS/Billing": {"EstimatedCharges": _with("Currency")},
    metrics.NAMESPACE: dict.fromkeys(metrics.UNITS, _with("Service"))
    | dict.fromkeys(metrics.BY_VERSION, _with("Service", "Service Version")),
}
