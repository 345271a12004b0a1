"""/openapi.json and the files of /docs."""

from dataclasses import dataclass

from serving.api import openapi
from serving.messages import Answer, Request


@dataclass(frozen=True, slots=True)
class OpenApiHandler:
    """The handler of /openapi.json."""

    version: str

    async def openapi(self, request: Request) -> Answer:
        """The OpenAPI 3.1 document; built at the first request, then cached."""
        return Answer(openapi.to_json(self.version))


@dataclass(frozen=True, slots=True)
class PageHandler:
    """The handler of one file of the page /docs."""

    answer: Answer

    async def page(self, request: Request) -> Answer:
        """The file; read at start."""
        return self.answer
