"""Draws the architecture out of the templates: ``docs/images/architecture.svg``.

Where a box stands is written here; whether it exists, how many there are and every number in it is
read from the templates, and an arrow is refused unless the templates link its two ends. So the
picture cannot show what is not deployed.
"""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from infra import find
from infra.world import Resource, World

WIDTH, HEIGHT = 1422, 990
_BOX_W, _BOX_H = 228, 76
_COLUMNS = (24, 292, 560, 890, 1170)  # the wide gap is for labels beside the frames
_ROWS = (100, 220, 340, 460, 580, 700, 820)
_COLOURS = {  # as AWS colours its own icons
    "compute": "#c2571a",
    "network": "#6f3fc4",
    "storage": "#4d7d1a",
    "database": "#3a4fc4",
    "manage": "#b8286f",
    "integrate": "#b8286f",
    "security": "#b3262d",
    "outside": "#47505c",
}


class NotDeployedError(ValueError):
    """The picture names something, or a link, that the templates do not have."""


@dataclass(frozen=True, slots=True)
class Box:
    """A group of resources drawn as one box; ``kinds`` empty for what is outside AWS."""

    name: str
    title: str
    colour: str
    column: int
    row: int
    kinds: tuple[str, ...] = ()
    prefix: str | tuple[str, ...] = ""  # of the logical ids
    detail: Callable[[World], str] = lambda world: ""  # noqa: ARG005

    @property
    def x(self) -> int:
        """Left edge."""
        return _COLUMNS[self.column]

    @property
    def y(self) -> int:
        """Upper edge."""
        return _ROWS[self.row]

    def resources(self, world: World) -> list[Resource]:
        """What the box stands for."""
        return [
            resource
            for kind in self.kinds
            for resource in world.all(kind)
            if resource.ref.split(".", 1)[1].startswith(self.prefix)
        ]


@dataclass(frozen=True, slots=True)
class Arrow:
    """From one box to another; ``route`` gives the corners between, as x,y pairs.

    ``label_at`` is for labels that a frame or another arrow would cross in their usual place.
    """

    start: str
    end: str
    label: str = ""
    route: tuple[tuple[int, int], ...] = ()
    label_at: tuple[int, int] | None = None


def _service(world: World) -> Resource:
    return next(service for service, _ in find.balanced(world))


def _tasks(world: World) -> str:
    target = world.all("ApplicationAutoScaling::ScalableTarget")[0]
    low, high = target.get("MinCapacity"), target.get("MaxCapacity")
    task = world.at(_service(world).get("TaskDefinition"))
    assert task is not None
    size = f"{int(task.get('Cpu')) / 1024:g} vCPU, {int(task.get('Memory')) / 1024:g} GiB"
    return f"{low} to {high} ARM64 tasks, {size}|server + shipper, read-only root"


def _canary(world: World) -> str:
    deployment = _service(world).get("DeploymentConfiguration")
    canary = deployment["CanaryConfiguration"]
    return (
        f"canary {canary['CanaryPercent']:g} % for {canary['CanaryBakeTimeInMinutes']} min|"
        f"then bake {deployment['BakeTimeInMinutes']} min"
    )


def _balancer(world: World) -> str:
    listener = world.all("ElasticLoadBalancingV2::Listener")[0]
    idle = find.attribute(find.albs(world)[0], "idle_timeout.timeout_seconds", "60")
    return f"{listener.get('Protocol')} {listener.get('Port')}, TLS 1.2+|idle {idle} s"


def _firewall(world: World) -> str:
    rules = world.all("WAFv2::WebACL")[0].get("Rules")
    rate = rules[0]["Statement"]["RateBasedStatement"]
    return f"{len(rules)} rules|{rate['Limit']} a minute from one address"


def _scaling(world: World) -> str:
    actions = world.all("ApplicationAutoScaling::ScalableTarget")[0].get("ScheduledActions")
    kinds = [p.get("PolicyType") for p in world.all("ApplicationAutoScaling::ScalingPolicy")]
    tracking, steps = kinds.count("TargetTrackingScaling"), kinds.count("StepScaling")
    return f"{tracking} tracking, {steps} step policy|{len(actions)} scheduled minimums"


def _bucket(world: World, name: str) -> str:
    bucket = next(b for b in world.all("S3::Bucket") if f"-{name}-" in str(b.get("BucketName")))
    days = bucket.get("LifecycleConfiguration.Rules")[0].get("ExpirationInDays")
    return "S3, KMS|" + (f"forgotten after {days} days" if days else "versions kept 30 days")


def _database(world: World) -> str:
    database = world.all("RDS::DBInstance")[0]
    return f"PostgreSQL {database.get('EngineVersion')}|{database.get('DBInstanceClass')}"


def _schedule(world: World, name: str) -> str:
    schedules = world.all("Scheduler::Schedule")
    found = next(s for s in schedules if str(s.get("Name")).endswith(f"-{name}"))
    minute, hour, day, *_ = found.get("ScheduleExpression").removeprefix("cron(").split()
    often = "daily" if day == "*" else f"monthly, on day {day},"
    command = found.get("Description").removeprefix("python -m ").split(" --work")[0]
    return f"{command}|{often} at {int(hour):02}:{int(minute):02}"


def _alarms(world: World) -> str:
    return f"{len(world.all('CloudWatch::Alarm'))} alarms, budget|1 dashboard"


def _endpoints(world: World) -> str:
    interface = [e for e in world.all("EC2::VPCEndpoint") if e.get("SubnetIds")]
    return f"{len(interface)} interface endpoints|and S3's gateway; no NAT"


BOXES = (
    Box("scanners", "Scanners", "outside", 0, 0, detail=lambda _: "post offices|API keys"),
    Box("waf", "Firewall", "security", 0, 1, ("WAFv2::WebACL",), detail=_firewall),
    Box(
        "alb",
        "Load balancer",
        "network",
        1,
        1,
        ("ElasticLoadBalancingV2::LoadBalancer", "ElasticLoadBalancingV2::ListenerRule"),
        detail=_balancer,
    ),
    Box(
        "groups",
        "Target groups blue, green",
        "network",
        1,
        2,
        ("ElasticLoadBalancingV2::TargetGroup",),
        detail=_canary,
    ),
    Box(
        "service",
        "ECS service on Fargate",
        "compute",
        2,
        1,
        ("ECS::Service", "ECS::TaskDefinition"),
        ("Service", "Task"),
        _tasks,
    ),
    Box(
        "scaling",
        "Application Auto Scaling",
        "manage",
        3,
        0,
        ("ApplicationAutoScaling::ScalableTarget", "ApplicationAutoScaling::ScalingPolicy"),
        detail=_scaling,
    ),
    Box("endpoints", "VPC endpoints", "network", 1, 3, ("EC2::VPCEndpoint",), detail=_endpoints),
    Box(
        "captures",
        "Captures",
        "storage",
        3,
        2,
        ("S3::Bucket",),
        "Captures",
        lambda world: _bucket(world, "captures"),
    ),
    Box(
        "reports",
        "Drift reports",
        "storage",
        3,
        6,
        ("S3::Bucket",),
        "Reports",
        lambda world: _bucket(world, "reports"),
    ),
    Box(
        "training",
        "Training data",
        "storage",
        3,
        3,
        ("S3::Bucket",),
        "Training",
        lambda world: _bucket(world, "training"),
    ),
    Box(
        "artifacts",
        "MLflow's artifacts",
        "storage",
        3,
        4,
        ("S3::Bucket",),
        "Artifacts",
        lambda world: _bucket(world, "artifacts"),
    ),
    Box(
        "keys",
        "API keys",
        "security",
        3,
        1,
        ("SecretsManager::Secret",),
        "ApiKeys",
        lambda _: "Secrets Manager|read at start",
    ),
    Box(
        "retrain",
        "Retrain",
        "compute",
        2,
        3,
        ("Scheduler::Schedule", "StepFunctions::StateMachine", "ECS::TaskDefinition"),
        "Retrain",
        lambda world: _schedule(world, "retrain"),
    ),
    Box(
        "compact",
        "Compact",
        "compute",
        2,
        2,
        ("Scheduler::Schedule", "StepFunctions::StateMachine", "ECS::TaskDefinition"),
        "Compact",
        lambda world: _schedule(world, "compact"),
    ),
    Box(
        "drift",
        "Drift",
        "compute",
        2,
        6,
        ("Scheduler::Schedule", "StepFunctions::StateMachine", "ECS::TaskDefinition"),
        "Drift",
        lambda world: _schedule(world, "drift"),
    ),
    Box(
        "mlflow",
        "MLflow",
        "compute",
        2,
        4,
        ("ECS::Service", "ECS::TaskDefinition", "SecretsManager::Secret"),
        "Mlflow",
        lambda _: "registry, private|sign-in, allowed hosts",
    ),
    Box(
        "database",
        "MLflow's database",
        "database",
        2,
        5,
        ("RDS::DBInstance",),
        detail=_database,
    ),
    Box(
        "dead",
        "Dead letters",
        "integrate",
        4,
        3,
        ("SQS::Queue",),
        detail=lambda _: "SQS|starts that were lost",
    ),
    Box("github", "GitHub Actions", "outside", 0, 3, detail=lambda _: "build, test, push|no keys"),
    Box(
        "oidc",
        "Deployer role",
        "security",
        0,
        4,
        ("IAM::OIDCProvider", "IAM::Role", "IAM::Policy"),
        ("GitHub", "Deployer"),
        lambda _: "OIDC token of one|repository, environment",
    ),
    Box(
        "images",
        "Images",
        "compute",
        0,
        5,
        ("ECR::Repository",),
        detail=lambda world: (
            f"ECR, {len(world.all('ECR::Repository'))} repositories|immutable, scanned"
        ),
    ),
    Box(
        "release",
        "Release",
        "integrate",
        0,
        6,
        ("StepFunctions::StateMachine", "Events::Rule"),
        "Release",
        lambda _: "on a pushed champion-*: tags|to SSM, update two stacks",
    ),
    Box(
        "watch",
        "CloudWatch",
        "manage",
        4,
        4,
        ("CloudWatch::Alarm", "CloudWatch::Dashboard"),
        detail=_alarms,
    ),
    Box(
        "topics",
        "Topics",
        "integrate",
        4,
        5,
        ("SNS::Topic", "SNS::Subscription"),
        detail=lambda _: "alerts and notices|SNS, encrypted",
    ),
    Box("people", "Operators", "outside", 4, 6, detail=lambda _: "mail, with a runbook|link"),
)
ARROWS = (
    Arrow("scanners", "waf", "PNG"),
    Arrow("waf", "alb"),
    Arrow("alb", "groups"),
    Arrow("groups", "service", "", ((533, 378), (533, 270))),
    Arrow("scaling", "service", "tasks", ((674, 138),)),
    Arrow("keys", "service"),
    Arrow("service", "captures", "Parquet", ((850, 284), (850, 360)), (820, 278)),
    Arrow("compact", "captures"),
    Arrow("captures", "retrain", "labels", ((850, 400), (850, 480)), (856, 446)),
    Arrow("training", "retrain", "MNIST", (), (820, 516)),
    Arrow("retrain", "mlflow", "runs"),
    Arrow("mlflow", "artifacts"),
    Arrow("mlflow", "database"),
    Arrow("captures", "drift", "", ((1136, 378), (1136, 798), (674, 798))),
    Arrow("drift", "reports"),
    Arrow("drift", "topics", "severity", ((764, 966), (1152, 966), (1152, 738))),
    Arrow("dead", "watch"),
    Arrow("watch", "topics"),
    Arrow("topics", "people"),
    Arrow("github", "oidc", "token"),
    Arrow("oidc", "images", "push"),
    Arrow("images", "release", "champion-*"),
    Arrow("release", "service", "new tag, through the canary", ((10, 858), (10, 64), (620, 64))),
)
_OURS = frozenset({"scanners", "github", "people"})


def draw(world: World) -> str:
    """The picture as SVG.

    Raises:
        NotDeployedError: a box has no resource, or an arrow no link, in the templates.
    """
    boxes = {box.name: box for box in BOXES}
    for box in BOXES:
        if box.kinds and not box.resources(world):
            raise NotDeployedError(f"no {box.kinds} {box.prefix}* for the box {box.title!r}")
    for arrow in ARROWS:
        if not _linked(world, boxes[arrow.start], boxes[arrow.end]):
            raise NotDeployedError(f"nothing links {arrow.start} and {arrow.end}")
    subnets = len(_service(world).get("NetworkConfiguration.AwsvpcConfiguration.Subnets"))
    parts = [
        _HEAD,
        _frame(280, 190, 534, 748, f"VPC over {subnets} availability zones", "#6f3fc4"),
        _frame(546, 202, 256, 716, "isolated: no way to the internet", "#2f7d6b"),
        *(_arrow(arrow, boxes) for arrow in ARROWS),
        *(_box(box, world) for box in BOXES),
        _text(24, 32, "Digitline on AWS", 22, weight=700),
        _text(220, 32, "drawn from the synthesised templates by infra/diagram.py", 13, "#47505c"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _linked(world: World, start: Box, end: Box) -> bool:
    """Whether the templates refer from one to the other, directly or over one resource."""
    if {start.name, end.name} & _OURS:
        return True
    one, other = start.resources(world), end.resources(world)
    marks_one, marks_other = _marks(one), _marks(other)
    if _mentions(one, marks_other) or _mentions(other, marks_one):
        return True
    between = [r for r in world.resources.values() if _mentions([r], marks_one)]
    return any(_mentions([r], marks_other) for r in between)


def _marks(resources: list[Resource]) -> list[str]:
    """Strings by which other resources refer to these."""
    marks = [resource.ref[:-1] for resource in resources]
    marks += [str(r.get("BucketName")).split("$")[0] for r in resources if r.get("BucketName")]
    marks += [str(r.get("RepositoryName")) for r in resources if r.get("RepositoryName")]
    facts = [re.findall(r"\{ssm:([^}]+)\}", json.dumps(r.properties)) for r in resources]
    return marks + [fact for found in facts for fact in found if fact.endswith("-image-tag")]


def _mentions(resources: list[Resource], marks: list[str]) -> bool:
    text = json.dumps([resource.properties for resource in resources])
    return any(mark in text for mark in marks)


_HEAD = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    'font-family="Helvetica, Arial, sans-serif">\n'
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#47505c"/></marker></defs>\n'
    f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
)


def _frame(x: int, y: int, width: int, height: int, title: str, colour: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="none" '
        f'stroke="{colour}" stroke-dasharray="6 4"/>'
        + _text(x + 10, y + height - 7, title, 13, colour)
    )


def _box(box: Box, world: World) -> str:
    colour = _COLOURS[box.colour]
    lines = box.detail(world).split("|")
    parts = [
        f'<g fill="#ffffff" stroke="{colour}" stroke-width="1.5">{_rect(box, _BOX_W)}</g>',
        f'<g fill="{colour}">{_rect(box, 6)}</g>',
        _text(box.x + 16, box.y + 24, box.title, 15, weight=700),
    ]
    parts += [
        _text(box.x + 16, box.y + 45 + 18 * number, line, 13, "#47505c")
        for number, line in enumerate(lines)
    ]
    return "\n".join(parts)


def _rect(box: Box, width: int) -> str:
    return f'<rect x="{box.x}" y="{box.y}" width="{width}" height="{_BOX_H}" rx="5"/>'


def _arrow(arrow: Arrow, boxes: dict[str, Box]) -> str:
    start, end = boxes[arrow.start], boxes[arrow.end]
    corners = list(arrow.route)
    first = _side(start, corners[0] if corners else _centre(end))
    last = _side(end, corners[-1] if corners else _centre(start))
    points = [first, *corners, last]
    path = " ".join(f"{x},{y}" for x, y in points)
    line = (
        f'<polyline points="{path}" fill="none" stroke="#47505c" stroke-width="1.4" '
        'marker-end="url(#tip)"/>'
    )
    if not arrow.label:
        return line
    x, y = arrow.label_at or _label_place(points)
    return line + _text(x, y, arrow.label, 13, "#47505c")


def _label_place(points: list[tuple[int, int]]) -> tuple[int, int]:
    """Above the start of the longest level piece, or else beside the middle of the first."""
    pieces = [(a, b) for a, b in itertools.pairwise(points) if a[1] == b[1]]
    if not pieces:
        (x1, y1), (x2, y2) = points[:2]
        return (x1 + x2) // 2 + 6, (y1 + y2) // 2
    (x1, y), (x2, _) = max(pieces, key=lambda piece: abs(piece[0][0] - piece[1][0]))
    return min(x1, x2) + 12, y - 6


def _centre(box: Box) -> tuple[int, int]:
    return box.x + _BOX_W // 2, box.y + _BOX_H // 2


def _side(box: Box, towards: tuple[int, int]) -> tuple[int, int]:
    """Where a straight line from the box's edge goes level or plumb towards a point."""
    x, y = towards
    if box.x <= x <= box.x + _BOX_W:
        return x, box.y if y < box.y else box.y + _BOX_H
    level = y if box.y <= y <= box.y + _BOX_H else box.y + _BOX_H // 2
    return (box.x if x < box.x else box.x + _BOX_W), level


def _text(x: int, y: int, text: str, size: int, colour: str = "#16191f", weight: int = 400) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}">'
        f"{html.escape(text)}</text>"
    )
