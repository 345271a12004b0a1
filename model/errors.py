"""The errors between a crop and its answer: the caller's fault (CropError) or ours (ModelError)."""


class CropError(ValueError):
    """The crop cannot be read, and a retry will not help. The caller's fault."""


class UnsupportedFormat(CropError):
    """The bytes are neither PNG nor JPEG."""


class UnreadableCrop(CropError):
    """The bytes claim to be PNG or JPEG but do not decode."""


class CropSizeError(CropError):
    """A side or the area of the crop is outside the limits."""


class ManyFrames(CropError):
    """The file holds an animation or several pages; a crop is one picture."""


class BlankCrop(CropError):
    """Nothing in the crop stands out from the paper."""


class ModelError(RuntimeError):
    """The model could not be loaded or run. Our fault."""


class ArtifactRefused(ModelError):
    """The champion folder is not one that may be served: tampered, foreign or incomplete."""


class TooManyParts(UnreadableCrop):
    """The file has more chunks or segments than are walked."""
