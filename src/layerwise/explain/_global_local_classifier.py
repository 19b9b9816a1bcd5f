"""The trained end of global-local similarity: a transformer layer over two class tokens (P163).

The class tokens of the whole picture and of its crop, as `global_local_similarity` gives them side
by side, are a sequence of two. One pre-norm transformer layer lets each look at the other, and a
linear layer reads the class off the first. All that is trained are this layer and the readout, with
cross-entropy; the encoder stays as it was.

Ours: both tokens are standardised by the training samples first, so that one rate suits all
encoders, and there is no dropout.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise._paper import paper
from layerwise.errors import LayerwiseError
from layerwise.explain._ascent import Progress
from layerwise.explain._training import descend
from layerwise.features._finite import require_finite
from layerwise.models._seeded import seeded

_HEAD = 64  # channels of a head, as in vision transformers


@final
@paper(
    "Global-Local Similarity for Efficient Fine-Grained Image Recognition with Vision Transformers",
    year=2024,
    arxiv="2407.12891",
    no=(163,),
)
class GlobalLocalClassifier(nn.Module):
    """Tells classes by a picture and its crop together. Build it with `fit`.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> features = torch.randn(64, 32, generator=generator)
        >>> labels = (features[:, 0] > 0).long()
        >>> model = GlobalLocalClassifier.fit(features, labels, epochs=60, rate=1e-2)
        >>> bool((model(features).argmax(1) == labels).float().mean() > 0.9)
        True
    """

    mean: Float[Tensor, " e"]
    scale: Float[Tensor, " e"]

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        heads = math.gcd(width, max(1, width // _HEAD))
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, classes)
        self.register_buffer("mean", torch.zeros(2 * width))
        self.register_buffer("scale", torch.ones(2 * width))

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        *,
        epochs: int = 40,
        batch: int = 32,
        rate: float = 1e-3,
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> GlobalLocalClassifier:
        """Train it.

        Args:
            features: of each picture the token of the whole and that of the crop, one after the
                other, as `Regions.features` has them.
            labels: the class of each picture, counted from 0.
            epochs: times that all samples come by.
            batch: samples in a step.
            rate: of AdamW, falling along a cosine.
            generator: for the first weights and the order; seed 0 without it.
            progress: called as `progress(stage, done, total)` after every step.

        Raises:
            LayerwiseError: no samples, features that are no two tokens or not finite, a negative
                label, or an option below 1.
        """
        require_finite(features)
        n, width = features.shape
        if n == 0 or width % 2 or min(epochs, batch) < 1 or int(labels.min()) < 0:
            raise LayerwiseError(
                f"{n} rows of {width} numbers, {epochs} epochs of batches of {batch}; give rows of "
                "two tokens of one width, labels from 0, and at least 1 of everything else"
            )
        generator = generator or torch.Generator().manual_seed(0)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        with seeded(seed):
            model = cls(width // 2, int(labels.max()) + 1).to(features)
        spread = features.std(dim=0, correction=0)
        model.mean = features.mean(dim=0)
        model.scale = torch.where(spread > 1e-6 * features.abs().amax(dim=0), spread, 1)
        descend(
            model,
            lambda rows: nn.functional.cross_entropy(model(features[rows]), labels[rows]),
            n,
            epochs=epochs,
            batch=batch,
            rate=rate,
            decay=1e-2,
            generator=generator,
            progress=progress,
        )
        return model

    def forward(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Logits of the classes.

        Raises:
            LayerwiseError: a row is not finite.
        """
        require_finite(features)
        tokens = ((features - self.mean) / self.scale).unflatten(1, (2, -1))
        return self.readout(self.norm(self.layer(tokens))[:, 0])
