"""Names that the rules check against: AWS's metrics, and what this deployment promises.

Source: the user guides of ECS (service metrics, Container Insights), Elastic Load Balancing,
CloudWatch and Application Auto Scaling.
"""

from __future__ import annotations

from contract import metrics

# deployment strategies that shift traffic between two target groups
SHIFTING = ("CANARY", "LINEAR", "BLUE_GREEN")
ALGORITHM = "load_balancing.algorithm.type"
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
