"""The API's description: the OpenAPI document, and the page that shows it."""

from dataclasses import dataclass

from serving.api import openapi
from serving.messages import Answer, Request


@dataclass(frozen=True, slots=True)
class DocumentHandlers:
    """The handlers of /openapi.json and /docs."""

    version: str

    async def openapi(self, request: Request) -> Answer:
        """The OpenAPI 3.1 description."""
        return Answer(openapi.to_json(self.version))

    async def docs(self, request: Request) -> Answer:
        """The same as a page to read; it loads nothing from elsewhere."""
        page = openapi.to_page(self.version)
        return Answer(page, content_type=b"text/html; charset=utf-8")
