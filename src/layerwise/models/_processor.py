"""What an image processor of `transformers` says it does, as one preparation of this library."""

from __future__ import annotations

from typing import Any, cast

from layerwise.errors import LayerwiseError
from layerwise.models._preparation import ImagePreparation, Interpolation

_BEYOND = (
    "do_pad",
    "do_image_splitting",
    "do_thumbnail",
    "do_flip_channel_order",
    "rescale_offset",
)


def image_preparation(place: str, *, local: bool) -> ImagePreparation:
    """Read the image processor that lies beside a network's weights.

    Args:
        place: a folder, or a name on the hub.
        local: do not ask the hub, only its local cache.

    Raises:
        LayerwiseError: it does more than resize, cut out the centre and normalise.
    """
    from PIL import Image
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(
        place, trust_remote_code=False, local_files_only=local
    )
    said = processor.to_dict()
    size, crop = _given(said.get("size")), _given(said.get("crop_size"))
    beyond = [key for key in _BEYOND if said.get(key)]
    shorter, exact = size.get("shortest_edge"), (size.get("height", 0), size.get("width", 0))
    scaled = said.get("do_rescale", True) and abs(said.get("rescale_factor", 0) * 255 - 1) < 1e-6
    known = (shorter and not size.get("longest_edge")) or all(exact)
    if beyond or not (scaled and known and said.get("do_resize", True)):
        raise LayerwiseError(
            f"the image processor of {place} ({type(processor).__name__}) does more than resize, "
            "cut out the centre and normalise; give prepare= and modality='image'"
        )
    normal = said.get("do_normalize", True)
    centre = (crop["height"], crop["width"]) if said.get("do_center_crop") else None
    return ImagePreparation(
        int(shorter) if shorter else exact,
        centre,
        cast(Interpolation, Image.Resampling(said["resample"]).name.lower()),
        tuple(said["image_mean"]) if normal else (0.0, 0.0, 0.0),
        tuple(said["image_std"]) if normal else (1.0, 1.0, 1.0),
        "down",
    )


def _given(sizes: Any) -> dict[str, int]:
    """The sizes that are set; absent ones may also stand there as None."""
    return {name: int(value) for name, value in dict(sizes or {}).items() if value}
