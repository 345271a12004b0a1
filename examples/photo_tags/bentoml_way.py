"""The same model as BentoML's documentation serves one, for `compare`. Not on our rails."""

from typing import Any

import bentoml
from PIL import Image

from examples.photo_tags.photo_input import preprocess
from examples.photo_tags.tag_model import CHAMPION, RULES, load_model
from model.champion_files import read_files, verify_files


@bentoml.service(name="photo-tags", workers=1)
class PhotoTags:
    """Tags of a photo."""

    def __init__(self) -> None:
        self.model = load_model(verify_files(read_files(CHAMPION, RULES), RULES))

    @bentoml.api  # type: ignore[untyped-decorator]
    def tags(self, photo: Image.Image) -> list[dict[str, Any]]:
        """At most five tags, the most probable first."""
        image = preprocess(photo, self.model.scaling)
        return [one._asdict() for one in self.model.tag([image])[0]]
