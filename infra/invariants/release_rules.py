"""Deployments: canary, rollback, zones."""

from __future__ import annotations

from collections.abc import Iterator

from infra import aws, lookups
from infra.invariants.rule import must_hold
from infra.world import World, dig


@must_hold(
    "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentCircuitBreaker.html"
)
def releases_roll_back_automatically(world: World) -> Iterator[str]:
    """Traffic shifting needs alarms and no circuit breaker; rolling needs the circuit breaker."""
    alarm_names = {a.ref for a in world.all("CloudWatch::Alarm")}
    alarm_names |= {a.get("AlarmName") for a in world.all("CloudWatch::Alarm")}
    for service in world.all("ECS::Service"):
        strategy = service.get("DeploymentConfiguration.Strategy", "ROLLING")
        breaker = service.get("DeploymentConfiguration.DeploymentCircuitBreaker", {})
        if strategy == "ROLLING":
            if not (breaker.get("Enable") and breaker.get("Rollback")):
                yield f"{service}: rolling without a circuit breaker that rolls back"
            continue
        alarms = service.get("DeploymentConfiguration.Alarms", {})
        if breaker.get("Enable"):
            yield f"{service}: a circuit breaker works with ROLLING only, not {strategy}"
        if not (alarms.get("Enable") and alarms.get("Rollback") and alarms.get("AlarmNames")):
            yield f"{service}: {strategy} without alarms that roll back"
        for name in alarms.get("AlarmNames", []):
            if name not in alarm_names:
                yield f"{service}: rollback alarm {name} does not exist"


@must_hold("https://docs.aws.amazon.com/AmazonECS/latest/developerguide/canary-deployment.html")
def a_canary_is_compared_with_the_version_before_it(world: World) -> Iterator[str]:
    """A tenth of the traffic moves no alarm on the whole: one reads the new version alone.

    The alarm's version, the task's and the image's tag are the same parameter.
    """
    for service in world.all("ECS::Service"):
        alarms = map(world.at, service.get("DeploymentConfiguration.Alarms.AlarmNames", []))
        compared = {
            dimension["Value"]
            for alarm in alarms
            for stat in map(lookups.stat_of, alarm.get("Metrics", []) if alarm else [])
            for dimension in (stat or {}).get("Dimensions", [])
            if dimension["Name"] == "Version"
        }
        if service.get("DeploymentConfiguration.Strategy") not in aws.SHIFTING:
            continue
        for container in lookups.containers(world, service).values():
            release = lookups.variables(container).get("DIGITS_RELEASE")
            if release and (compared != {release} or not container["Image"].endswith(release)):
                yield f"{service}: runs {release}, its alarms compare {sorted(compared)}"
        hooks = service.get("DeploymentConfiguration.LifecycleHooks", [])
        if not any("POST_TEST_TRAFFIC_SHIFT" in hook["LifecycleStages"] for hook in hooks):
            yield f"{service}: nothing reads golden crops before the first traffic"
        for _, balancer in lookups.balanced(world):
            if world.at(dig(balancer, "AdvancedConfiguration.TestListenerRule")) is None:
                yield f"{service}: no rule sends test requests to the new version"
        if not compared:
            yield f"{service}: no rollback alarm reads the new version alone"


@must_hold(
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/alb-resources-for-blue-green.html"
)
def traffic_shifts_between_two_target_groups(world: World) -> Iterator[str]:
    """The listener rule sends all traffic to the first group."""
    for service, balancer in lookups.balanced(world):
        if service.get("DeploymentConfiguration.Strategy", "ROLLING") not in aws.SHIFTING:
            yield f"{service}: deploys without a canary"
            continue
        if not service.get("DeploymentConfiguration.BakeTimeInMinutes"):
            yield f"{service}: no bake time"
        advanced = balancer.get("AdvancedConfiguration", {})
        first, second = balancer["TargetGroupArn"], advanced.get("AlternateTargetGroupArn")
        if second is None or first == second:
            yield f"{service}: needs a second target group"
        if world.at(advanced.get("RoleArn")) is None:
            yield f"{service}: no role that may shift traffic"
        rule = world.at(advanced.get("ProductionListenerRule"))
        weights = lookups.weights(rule)
        if weights.get(first) != 100 or weights.get(second) != 0:
            yield f"{service}: the listener rule's weights are {weights}"


@must_hold("https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CanaryConfiguration.html")
def rollback_alarms_can_fire_within_the_canary(world: World) -> Iterator[str]:
    """An alarm slower than the canary step lets a bad release reach all traffic."""
    for service in world.all("ECS::Service"):
        canary = service.get("DeploymentConfiguration.CanaryConfiguration")
        for name in service.get("DeploymentConfiguration.Alarms.AlarmNames", []) if canary else []:
            alarm = world.at(name)
            if alarm is None:
                continue
            needed = alarm.get("DatapointsToAlarm", alarm.get("EvaluationPeriods"))
            minutes = needed * max(lookups.periods(alarm)) / 60
            if minutes >= canary["CanaryBakeTimeInMinutes"]:
                yield f"{alarm}: needs {minutes} min, the canary lasts {canary}"


@must_hold("https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html")
def one_zone_can_fail(world: World) -> Iterator[str]:
    """Two zones or more, rebalanced; a task in each while trucks unload, and always two."""
    for service, _ in lookups.balanced(world):
        subnets = service.get("NetworkConfiguration.AwsvpcConfiguration.Subnets", [])
        zones = {str(world.at(s).get("AvailabilityZone")) for s in subnets if world.at(s)}  # type: ignore[union-attr]
        if len(zones) < 2:
            yield f"{service}: in {len(zones)} zones"
        if service.get("AvailabilityZoneRebalancing") != "ENABLED":
            yield f"{service}: does not rebalance zones"
        if service.get("DeploymentConfiguration.MaximumPercent", 200) <= 100:
            yield f"{service}: rebalancing needs a maximum above 100 %"
        if service.get("DeploymentConfiguration.MinimumHealthyPercent", 100) < 100:
            yield f"{service}: a deployment may stop tasks before it starts new ones"
        for target in lookups.targets_of(world, service):
            actions = [a["ScalableTargetAction"] for a in target.get("ScheduledActions", [])]
            if max((a["MinCapacity"] for a in actions), default=0) < len(zones):
                yield f"{target}: the scheduled minimum is below one for each zone"
            if min(limits["MinCapacity"] for limits in (target.properties, *actions)) < 2:
                yield f"{target}: a minimum of one task, which a zone may take"
