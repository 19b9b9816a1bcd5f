"""What finds, matches, groups and sorts with frozen features."""

from __future__ import annotations

from layerwise.search._asking import ask, cut, scales
from layerwise.search._average_precision import average_precision
from layerwise.search._back_project import back_project, geodesics
from layerwise.search._base_transformer import BaseTransformer
from layerwise.search._behind import Behind
from layerwise.search._card import Card
from layerwise.search._choose import Choice, Trial, choose
from layerwise.search._composite_distiller import CompositeDistiller
from layerwise.search._contrastive import ContrastiveSelectedEmbedding
from layerwise.search._correspond import Matches, correspond
from layerwise.search._defects import synthetic_defects
from layerwise.search._delf import Delf
from layerwise.search._dense import dense
from layerwise.search._descriptor import Descriptor
from layerwise.search._document import DocumentEncoder, page_regions
from layerwise.search._earth import EarthGrid, Fragments, fragments
from layerwise.search._expand import expand
from layerwise.search._exploit import Exploit
from layerwise.search._faiss import Faiss
from layerwise.search._fisher_vector import FisherVector
from layerwise.search._fused_features import FusedFeatures
from layerwise.search._gradient_features import GradientFeatures
from layerwise.search._groups import Groups, copies, groups, parting
from layerwise.search._index import Index
from layerwise.search._indexing import Described, Indexed, describe, index_samples
from layerwise.search._judging import Judged, find_anomalies, is_judge
from layerwise.search._keypoints import Keypoints
from layerwise.search._label_embedding import LabelEmbedding
from layerwise.search._lifted_descriptor import Lifted, LiftedDescriptor
from layerwise.search._local import LocalFeatures, LocalIndex, Ranking, Verified
from layerwise.search._loftr import LoFTR
from layerwise.search._logistic import Logistic
from layerwise.search._mahalanobis import Mahalanobis
from layerwise.search._matching import Matched, match_samples
from layerwise.search._memory import Hit
from layerwise.search._methods import search_methods
from layerwise.search._mixture import Mixture
from layerwise.search._nearest_mean import NearestMean
from layerwise.search._neighbours import Found, Neighbours
from layerwise.search._off_the_shelf import OffTheShelf
from layerwise.search._partial_der import PartialDER
from layerwise.search._patch_core import Anomalous, PatchCore, coreset, stacked
from layerwise.search._patch_retrieval import PatchRetrieval
from layerwise.search._picture_matches import PictureMatches, match_pictures
from layerwise.search._propagate_masks import objects, propagate_masks
from layerwise.search._rerank import Ranked, SuperGlobalSearch, rerank
from layerwise.search._self_supervised import OwnPatches, Uniform
from layerwise.search._sorting import Sorted, cluster, dedupe
from layerwise.search._standard_scores import standard_scores
from layerwise.search._super_global import scale_gem, super_global
from layerwise.search._text_network import text_network
from layerwise.search._track_objects import Tracked, track_objects
from layerwise.search._usearch import Usearch
from layerwise.search._value_attention import (
    ValueAttentionAnomaly,
    value_attention,
    value_tokens,
)
from layerwise.search._views import jitter, patches
from layerwise.search._zoom import ZoomStudy, zoom, zoom_predict, zoom_study

__all__ = [
    "Anomalous",
    "BaseTransformer",
    "Behind",
    "Card",
    "Choice",
    "CompositeDistiller",
    "ContrastiveSelectedEmbedding",
    "Delf",
    "Described",
    "Descriptor",
    "DocumentEncoder",
    "EarthGrid",
    "Exploit",
    "Faiss",
    "FisherVector",
    "Found",
    "Fragments",
    "FusedFeatures",
    "GradientFeatures",
    "Groups",
    "Hit",
    "Index",
    "Indexed",
    "Judged",
    "Keypoints",
    "LabelEmbedding",
    "Lifted",
    "LiftedDescriptor",
    "LoFTR",
    "LocalFeatures",
    "LocalIndex",
    "Logistic",
    "Mahalanobis",
    "Matched",
    "Matches",
    "Mixture",
    "NearestMean",
    "Neighbours",
    "OffTheShelf",
    "OwnPatches",
    "PartialDER",
    "PatchCore",
    "PatchRetrieval",
    "PictureMatches",
    "Ranked",
    "Ranking",
    "Sorted",
    "SuperGlobalSearch",
    "Tracked",
    "Trial",
    "Uniform",
    "Usearch",
    "ValueAttentionAnomaly",
    "Verified",
    "ZoomStudy",
    "ask",
    "average_precision",
    "back_project",
    "choose",
    "cluster",
    "copies",
    "coreset",
    "correspond",
    "cut",
    "dedupe",
    "dense",
    "describe",
    "expand",
    "find_anomalies",
    "fragments",
    "geodesics",
    "groups",
    "index_samples",
    "is_judge",
    "jitter",
    "match_pictures",
    "match_samples",
    "objects",
    "page_regions",
    "parting",
    "patches",
    "propagate_masks",
    "rerank",
    "scale_gem",
    "scales",
    "search_methods",
    "stacked",
    "standard_scores",
    "super_global",
    "synthetic_defects",
    "text_network",
    "track_objects",
    "value_attention",
    "value_tokens",
    "zoom",
    "zoom_predict",
    "zoom_study",
]
