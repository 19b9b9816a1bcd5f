"""From one picture to the tensor a network was trained on.

The steps are those of the published evaluation recipes: resize with Pillow, cut the centre out,
scale to 0 to 1, subtract the mean and divide by the standard deviation. The last three are one
multiplication and one addition here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import LayerwiseError

if TYPE_CHECKING:
    from PIL import Image

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


@final
@dataclass(frozen=True)
class ImagePreparation:
    """Turns a picture of any mode into what an image network takes.

    Greys and other colour spaces become RGB; transparency is laid on white.

    Args:
        size: pixels of the shorter side after resizing, or height and width, which may distort.
        crop: height and width of the centre that is cut out; None keeps everything.
        interpolation: Pillow's filter for resizing, which smooths when it shrinks.
        mean: per channel of red, green and blue, on a scale from 0 to 1.
        std: likewise.
        odd: where the centre lies when an odd number of pixels is cut off: rounded to an even
            place as in torchvision, or down as in transformers.

    Example:
        >>> from PIL import Image
        >>> prepare = ImagePreparation(8, (6, 4), "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        >>> pixels = prepare(Image.new("L", (20, 10), 255))
        >>> pixels.shape, float(pixels.min())
        (torch.Size([3, 6, 4]), 1.0)
    """

    size: int | tuple[int, int]
    crop: tuple[int, int] | None
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    odd: Literal["even", "down"] = "even"

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 h w"]:
        """Prepare one picture."""
        import numpy as np
        from PIL import Image

        picture = _rgb(image)
        target = self._resized(picture.width, picture.height)
        if target != picture.size:
            picture = picture.resize(target, Image.Resampling[self.interpolation.upper()])
        if self.crop is not None:
            picture = picture.crop(self._centre(picture.size, self.crop))
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        std = torch.tensor(self.std).view(3, 1, 1)
        scaled = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        return scaled.mul_(1 / (255 * std)).sub_(torch.tensor(self.mean).view(3, 1, 1) / std)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        if isinstance(self.size, tuple):
            return self.size[1], self.size[0]
        if width <= height:
            return self.size, max(1, int(self.size * height / width))
        return max(1, int(self.size * width / height)), self.size

    def _centre(self, size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int, int, int]:
        """The box of the centre; where the picture is smaller it reaches beyond, into black."""
        height, width = crop
        left, top = self._offset(size[0], width), self._offset(size[1], height)
        return left, top, left + width, top + height

    def _offset(self, length: int, wanted: int) -> int:
        if length < wanted:
            return -((wanted - length) // 2)
        return (length - wanted) // 2 if self.odd == "down" else round((length - wanted) / 2)


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits of red, green and blue: transparency on white, 16-bit greys divided by 257."""
    import numpy as np
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layered).convert("RGB")
    if image.mode[0] not in "IF":
        return image.convert("RGB")
    values = np.asarray(image).astype(np.float64)
    scale = 1 / 257 if image.mode[0] == "I" else 255.0
    if not (values.min() >= 0 and values.max() * scale <= 255):
        raise LayerwiseError(
            f"a picture of mode {image.mode!r} has values from {values.min():g} to "
            f"{values.max():g}, a range with no known scale; convert it to RGB first"
        )
    return Image.fromarray(np.rint(values * scale).astype(np.uint8)).convert("RGB")
