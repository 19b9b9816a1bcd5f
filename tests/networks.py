"""Small networks with the traps that real ones have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class InPlace(nn.Module):
    """A batch norm that a ReLU overwrites, and a sum that is added to afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.next = nn.Conv2d(8, 8, 1)

    def forward(self, images: Tensor) -> Tensor:
        kept = self.relu(self.norm(self.conv(images)))
        out = self.next(kept)
        out += 1
        out.relu_()
        return out * 2


class Shared(nn.Module):
    """One linear map under two names, run three times, once without a call."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.again = self.first
        self.once = nn.Linear(6, 4)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.once.forward(self.first(torch.relu(self.again(vectors))))


@dataclass
class State:
    hidden: Tensor
    extra: tuple[Tensor, Tensor]


class Nested(nn.Module):
    """Tuples, dicts and dataclasses flow between its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 7, batch_first=True)
        self.attention = nn.MultiheadAttention(7, 1, batch_first=True)
        self.wrap = Wrap()

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        hidden, _ = self.lstm(tokens)
        hidden, _ = self.attention(hidden, hidden, hidden)
        state = self.wrap(hidden)
        return {"pooled": state.hidden.mean(1), "sum": state.extra[1].sum(1)}


class Wrap(nn.Module):
    def forward(self, hidden: Tensor) -> State:
        return State(hidden * 2, (hidden, hidden + 1))


class Branching(nn.Module):
    """Takes another way when its inputs are large."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.Linear(4, 4)
        self.large = nn.Linear(4, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, vectors: Tensor) -> Tensor:
        way = self.large if vectors.abs().max() > 10 else self.small
        return self.out(way(vectors))


class TimeFirst(nn.Module):
    """Works on [t n d] inside, as torch's transformers do by default."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0) for _ in range(3)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        stream = tokens.transpose(0, 1)
        for layer in self.layers:
            stream = layer(stream)
        return stream.mean(0)


class Fails(nn.Module):
    """Fails after its first layer whenever it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.fail = False

    def forward(self, vectors: Tensor) -> Tensor:
        hidden = self.first(vectors)
        if self.fail:
            raise RuntimeError("told to fail")
        return self.second(hidden)


class Unhelpful(nn.Module):
    """Swallows every exception, changes the random state, and leaves inference mode on inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.5)
        self.outer = nn.Linear(4, 4)

    def forward(self, vectors: Tensor) -> Tensor:
        try:
            with torch.inference_mode():
                hidden = self.inner(vectors)
                hidden.add_(1)
            noise = torch.rand(1) * 0
        except Exception:
            return vectors
        return self.outer(self.dropout(hidden.clone() + noise))


def tiny_bert(folder: Path) -> Path:
    """Save a BERT that knows three words, and its tokenizer, for texts of 16 tokens."""
    from transformers import BertConfig, BertModel

    _words(["[PAD]", "[UNK]", "red", "green", "apple"]).save_pretrained(folder)
    config = BertConfig(
        vocab_size=5,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


def tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """Save a CLIP that knows three words and sees 32 pixels, with tokenizer and processor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    _three_words().save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    tiny = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    ends = {"bos_token_id": 0, "pad_token_id": 0, "eos_token_id": 5}
    config = CLIPConfig(
        text_config={
            **tiny,
            **ends,
            "hidden_size": 16,
            "vocab_size": 6,
            "max_position_embeddings": 8,
        },
        vision_config={**tiny, "hidden_size": 24, "image_size": 32, "patch_size": 16},
        projection_dim=12,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(config)
        for part in (model.visual_projection, model.text_projection):
            nn.init.normal_(part.weight)
        model.save_pretrained(folder)
    return folder


def tiny_siglip(folder: Path, *, seed: int = 0) -> Path:
    """Save a SigLIP that knows three words and sees 32 pixels, with tokenizer and processor."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    _three_words().save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    tiny = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    text = {**tiny, "hidden_size": 16, "vocab_size": 6, "max_position_embeddings": 8}
    config = SiglipConfig(
        text_config={**text, "pad_token_id": 0, "bos_token_id": 5, "eos_token_id": 5},
        vision_config={**tiny, "hidden_size": 16, "image_size": 32, "patch_size": 16},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SiglipModel(config)
        text = model.text_model
        for weight in (text.head.weight, text.embeddings.token_embedding.weight):
            nn.init.normal_(weight)
        model.save_pretrained(folder)
    return folder


def _three_words() -> Any:
    """A tokenizer that ends each text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = _words(["[PAD]", "[UNK]", "red", "green", "apple", "[END]"], eos_token="[END]")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A [END]", special_tokens=[("[END]", 5)]
    )
    return tokenizer


def _words(known: list[str], **ends: str) -> Any:
    """A tokenizer of whole words; the first one fills up, the second is for unknown words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(known)}
    rules = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=rules,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=16,
        **ends,
    )
