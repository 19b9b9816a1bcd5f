"""What finds, matches, groups and sorts with frozen features."""

from __future__ import annotations

from layerwise.search._asking import ask, cut, scales
from layerwise.search._average_precision import average_precision
from layerwise.search._behind import Behind
from layerwise.search._card import Card
from layerwise.search._choose import Choice, Trial, choose
from layerwise.search._descriptor import Descriptor
from layerwise.search._expand import expand
from layerwise.search._faiss import Faiss
from layerwise.search._index import Index
from layerwise.search._indexing import Described, Indexed, describe, index_samples
from layerwise.search._logistic import Logistic
from layerwise.search._memory import Hit
from layerwise.search._nearest_mean import NearestMean
from layerwise.search._neighbours import Found, Neighbours
from layerwise.search._off_the_shelf import OffTheShelf
from layerwise.search._patch_retrieval import PatchRetrieval
from layerwise.search._rerank import Ranked, SuperGlobalSearch, rerank
from layerwise.search._standard_scores import standard_scores
from layerwise.search._super_global import scale_gem, super_global
from layerwise.search._usearch import Usearch
from layerwise.search._views import jitter, patches

__all__ = [
    "Behind",
    "Card",
    "Choice",
    "Described",
    "Descriptor",
    "Faiss",
    "Found",
    "Hit",
    "Index",
    "Indexed",
    "Logistic",
    "NearestMean",
    "Neighbours",
    "OffTheShelf",
    "PatchRetrieval",
    "Ranked",
    "SuperGlobalSearch",
    "Trial",
    "Usearch",
    "ask",
    "average_precision",
    "choose",
    "cut",
    "describe",
    "expand",
    "index_samples",
    "jitter",
    "patches",
    "rerank",
    "scale_gem",
    "scales",
    "standard_scores",
    "super_global",
]
