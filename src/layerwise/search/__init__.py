"""What finds, matches, groups and sorts with frozen features."""

from __future__ import annotations

from layerwise.search._base_transformer import BaseTransformer
from layerwise.search._correspond import Matches, correspond
from layerwise.search._delf import Delf
from layerwise.search._dense import dense
from layerwise.search._fisher_vector import FisherVector
from layerwise.search._fused_features import FusedFeatures
from layerwise.search._gradient_features import GradientFeatures
from layerwise.search._label_embedding import LabelEmbedding
from layerwise.search._local import LocalFeatures, LocalIndex, Ranking, Verified
from layerwise.search._loftr import LoFTR
from layerwise.search._logistic import Logistic
from layerwise.search._mixture import Mixture
from layerwise.search._nearest_mean import NearestMean
from layerwise.search._neighbours import Found, Neighbours
from layerwise.search._off_the_shelf import OffTheShelf
from layerwise.search._patch_retrieval import PatchRetrieval
from layerwise.search._picture_matches import PictureMatches, match_pictures
from layerwise.search._propagate_masks import objects, propagate_masks
from layerwise.search._self_supervised import OwnPatches, Uniform
from layerwise.search._views import jitter, patches

__all__ = [
    "BaseTransformer",
    "Delf",
    "FisherVector",
    "Found",
    "FusedFeatures",
    "GradientFeatures",
    "LabelEmbedding",
    "LoFTR",
    "LocalFeatures",
    "LocalIndex",
    "Logistic",
    "Matches",
    "Mixture",
    "NearestMean",
    "Neighbours",
    "OffTheShelf",
    "OwnPatches",
    "PatchRetrieval",
    "PictureMatches",
    "Ranking",
    "Uniform",
    "Verified",
    "correspond",
    "dense",
    "jitter",
    "match_pictures",
    "objects",
    "patches",
    "propagate_masks",
]
