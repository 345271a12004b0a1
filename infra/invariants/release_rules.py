"""How a new version comes in: canary, rollback, zones."""

from __future__ import annotations

from collections.abc import Iterator

from infra import aws, find, settings
from infra.invariants.rule import must_hold
from infra.world import World


@must_hold
def releases_roll_back_by_themselves(world: World) -> Iterator[str]:
    """Shifting traffic: alarms and no circuit breaker. Rolling: the circuit breaker."""
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


@must_hold
def traffic_shifts_between_two_target_groups(world: World) -> Iterator[str]:
    """And the listener rule starts with all of it on the first."""
    for service, balancer in find.balanced(world):
        if service.get("DeploymentConfiguration.Strategy", "ROLLING") not in aws.SHIFTING:
            yield f"{service}: replaces its tasks without a canary"
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
        weights = find.weights(rule)
        if weights.get(first) != 100 or weights.get(second) != 0:
            yield f"{service}: the listener rule's weights are {weights}"


@must_hold
def rollback_alarms_can_ring_within_the_canary(world: World) -> Iterator[str]:
    """An alarm that needs longer than the canary step lets a bad release through to everyone."""
    for service in world.all("ECS::Service"):
        canary = service.get("DeploymentConfiguration.CanaryConfiguration")
        for name in service.get("DeploymentConfiguration.Alarms.AlarmNames", []) if canary else []:
            alarm = world.at(name)
            if alarm is None:
                continue
            needed = alarm.get("DatapointsToAlarm", alarm.get("EvaluationPeriods"))
            minutes = needed * max(find.periods(alarm)) / 60
            if minutes >= canary["CanaryBakeTimeInMinutes"]:
                yield f"{alarm}: needs {minutes} min, the canary lasts {canary}"


@must_hold
def a_lost_zone_is_survived(world: World) -> Iterator[str]:
    """Three zones, rebalanced, never less than one task each."""
    for service, _ in find.balanced(world):
        subnets = service.get("NetworkConfiguration.AwsvpcConfiguration.Subnets", [])
        zones = {str(world.at(s).get("AvailabilityZone")) for s in subnets if world.at(s)}  # type: ignore[union-attr]
        if len(zones) < settings.NUM_AZS:
            yield f"{service}: in {len(zones)} zones"
        if service.get("AvailabilityZoneRebalancing") != "ENABLED":
            yield f"{service}: does not rebalance zones"
        if service.get("DeploymentConfiguration.MaximumPercent", 200) <= 100:
            yield f"{service}: rebalancing needs a maximum above 100 %"
        if service.get("DeploymentConfiguration.MinimumHealthyPercent", 100) < 100:
            yield f"{service}: a release may take tasks away before it adds new ones"
        for target in find.targets_of(world, service):
            if target.get("MinCapacity") < len(zones):
                yield f"{target}: minimum {target.get('MinCapacity')} leaves a zone empty"
