"""What finds, matches, groups and sorts with frozen features."""

from __future__ import annotations

from layerwise.search._asking import ask, cut, scales
from layerwise.search._average_precision import average_precision
from layerwise.search._base_transformer import BaseTransformer
from layerwise.search._behind import Behind
from layerwise.search._card import Card
from layerwise.search._choose import Choice, Trial, choose
from layerwise.search._correspond import Matches, correspond
from layerwise.search._delf import Delf
from layerwise.search._dense import dense
from layerwise.search._descriptor import Descriptor
from layerwise.search._expand import expand
from layerwise.search._exploit import Exploit
from layerwise.search._faiss import Faiss
from layerwise.search._fisher_vector import FisherVector
from layerwise.search._fused_features import FusedFeatures
from layerwise.search._gradient_features import GradientFeatures
from layerwise.search._index import Index
from layerwise.search._indexing import Described, Indexed, describe, index_samples
from layerwise.search._label_embedding import LabelEmbedding
from layerwise.search._local import LocalFeatures, LocalIndex, Ranking, Verified
from layerwise.search._loftr import LoFTR
from layerwise.search._logistic import Logistic
from layerwise.search._mahalanobis import Mahalanobis
from layerwise.search._memory import Hit
from layerwise.search._mixture import Mixture
from layerwise.search._nearest_mean import NearestMean
from layerwise.search._neighbours import Found, Neighbours
from layerwise.search._off_the_shelf import OffTheShelf
from layerwise.search._patch_retrieval import PatchRetrieval
from layerwise.search._picture_matches import PictureMatches, match_pictures
from layerwise.search._propagate_masks import objects, propagate_masks
from layerwise.search._rerank import Ranked, SuperGlobalSearch, rerank
from layerwise.search._self_supervised import OwnPatches, Uniform
from layerwise.search._standard_scores import standard_scores
from layerwise.search._super_global import scale_gem, super_global
from layerwise.search._usearch import Usearch
from layerwise.search._views import jitter, patches

__all__ = [
    "BaseTransformer",
    "Behind",
    "Card",
    "Choice",
    "Delf",
    "Described",
    "Descriptor",
    "Exploit",
    "Faiss",
    "FisherVector",
    "Found",
    "FusedFeatures",
    "GradientFeatures",
    "Hit",
    "Index",
    "Indexed",
    "LabelEmbedding",
    "LoFTR",
    "LocalFeatures",
    "LocalIndex",
    "Logistic",
    "Mahalanobis",
    "Matches",
    "Mixture",
    "NearestMean",
    "Neighbours",
    "OffTheShelf",
    "OwnPatches",
    "PatchRetrieval",
    "PictureMatches",
    "Ranked",
    "Ranking",
    "SuperGlobalSearch",
    "Trial",
    "Uniform",
    "Usearch",
    "Verified",
    "ask",
    "average_precision",
    "choose",
    "correspond",
    "cut",
    "dense",
    "describe",
    "expand",
    "index_samples",
    "jitter",
    "match_pictures",
    "objects",
    "patches",
    "propagate_masks",
    "rerank",
    "scale_gem",
    "scales",
    "standard_scores",
    "super_global",
]
