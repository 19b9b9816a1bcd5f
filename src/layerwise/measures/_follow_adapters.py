"""`Follow` inside other people's training loops: Lightning and the Trainer of `transformers`."""

from __future__ import annotations

from typing import Any

from layerwise.errors import LayerwiseError
from layerwise.measures._follow import Follow


def for_trainer(follow: Follow) -> Any:
    """A callback for `transformers.Trainer(callbacks=[...])`.

    Args:
        follow: made of the model that is trained.

    Example:
        >>> import layerwise, torch
        >>> network = layerwise.open(torch.nn.Linear(4, 3), example=torch.zeros(1, 4))
        >>> type(for_trainer(Follow(network, torch.randn(9, 4), layers="all"))).__name__
        'Following'
    """
    from transformers import TrainerCallback

    class Following(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            follow.at(state.global_step)

    return Following()


def for_lightning(follow: Follow) -> Any:
    """A callback for `lightning.Trainer(callbacks=[...])`.

    Args:
        follow: made of the module that is trained.

    Raises:
        LayerwiseError: neither `lightning` nor `pytorch_lightning` is installed.
    """
    try:
        from lightning.pytorch import Callback
    except ImportError:
        try:
            from pytorch_lightning import Callback
        except ImportError as error:
            raise LayerwiseError(
                "lightning is not installed; pip install lightning, or call follow.step() after "
                "every step of the training"
            ) from error

    class Following(Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            follow.at(trainer.global_step)

    return Following()
