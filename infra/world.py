"""Synthesised templates as one flat set of resources, so that rules can check across stacks.

References become readable strings: ``{service.Blue}`` is the resource, ``{service.Blue.Arn}`` one
of its attributes, ``{ssm:/digitline/prod/...}`` an SSM parameter. An import from another stack
becomes the value that the stack exports. Knows nothing about CDK, only about its output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Template = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource with every reference resolved."""

    ref: str  # {stack.LogicalId}
    type: str
    properties: dict[str, Any]

    def get(self, path: str, default: Any = None) -> Any:  # JSON
        """Follow dots into the properties: ``get("NetworkConfiguration.AwsvpcConfiguration")``."""
        return dig(self.properties, path, default)

    def __str__(self) -> str:
        return f"{self.type} {self.ref}"


class World:
    """All resources of one environment."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        """Resolve every reference.

        Args:
            templates: stack's short name (``foundation``, ``service``, ...) -> template.
        """
        self.templates = templates
        self._exports = {
            output["Export"]["Name"]: (stack, output["Value"])
            for stack, template in templates.items()
            for output in template.get("Outputs", {}).values()
            if isinstance(output.get("Export", {}).get("Name"), str)
        }
        self.resources = {
            resource.ref: resource
            for stack, template in templates.items()
            for resource in self._resources(stack, template)
        }

    def all(self, kind: str) -> list[Resource]:
        """Every resource of a type; ``AWS::`` may be left out."""
        kind = kind if kind.startswith("AWS::") else f"AWS::{kind}"
        return [r for r in self.resources.values() if r.type == kind]

    def at(self, reference: object) -> Resource | None:
        """The resource that a resolved reference (with or without attribute) means."""
        if not isinstance(reference, str) or not reference.startswith("{"):
            return None
        stack, _, rest = reference.strip("{}").partition(".")
        return self.resources.get(f"{{{stack}.{rest.split('.')[0]}}}")

    def _resources(self, stack: str, template: Template) -> Iterator[Resource]:
        for name, body in template["Resources"].items():
            properties = self._resolve(stack, body.get("Properties", {}))
            yield Resource(f"{{{stack}.{name}}}", body["Type"], properties)

    def _resolve(self, stack: str, value: Any) -> Any:  # JSON in, JSON out
        if isinstance(value, list):
            return [self._resolve(stack, item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(stack, function, argument)
        return {key: self._resolve(stack, item) for key, item in value.items()}

    def _call(self, stack: str, function: str, argument: Any) -> Any:
        if function == "Ref":
            return self._ref(stack, argument)
        if function == "Fn::GetAtt":
            return f"{{{stack}.{argument[0]}.{argument[1]}}}"
        if function == "Fn::ImportValue":
            exporter, exported = self._exports.get(argument, (stack, f"no export {argument}"))
            return self._resolve(exporter, exported)
        if function == "Fn::Join":
            separator, parts = argument
            return str(separator).join(str(self._resolve(stack, part)) for part in parts)
        # Fn::Select, Fn::Split, Fn::GetAZs: the value is known to AWS only
        return f"{function}({self._resolve(stack, argument)})".replace('"', "'")

    def _ref(self, stack: str, name: str) -> str:
        parameter = self.templates[stack].get("Parameters", {}).get(name)
        if parameter is not None:
            return f"{{ssm:{parameter.get('Default')}}}"
        return f"${{{name}}}" if name.startswith("AWS::") else f"{{{stack}.{name}}}"


def dig(value: Any, path: str, default: Any = None) -> Any:  # JSON
    """Follow dots into nested dictionaries; ``default`` where the way ends."""
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return default
        value = value[key]
    return value


def read(assembly: Path) -> dict[str, Template]:
    """The templates of one environment out of a CDK assembly folder, by short stack name."""
    artifacts = json.loads((assembly / "manifest.json").read_text())["artifacts"]
    return {
        artifact["properties"]["stackName"].split("-")[-1]: json.loads(
            (assembly / artifact["properties"]["templateFile"]).read_text()
        )
        for artifact in artifacts.values()
        if artifact["type"] == "aws:cloudformation:stack"
    }


def text(template: Template) -> str:
    """A template as text for ``infra/snapshots``: readable, and equal on every machine."""
    return json.dumps(template, indent=1, sort_keys=True) + "\n"
