"""Numbers for a layer, a pair of layers or a feature: functions of features to a tensor."""

from __future__ import annotations

from layerwise.measures._attention_svm import (
    AttentionSVM,
    attention_svm,
    nuclear_attention_svm,
)
from layerwise.measures._bootstrap import Interval, bootstrap_mean, bootstrap_r2, bootstrap_sums
from layerwise.measures._cka import CKA, cka
from layerwise.measures._covariance import Covariance
from layerwise.measures._debiased_participation import debiased_participation_ratio
from layerwise.measures._effective_rank import effective_rank
from layerwise.measures._feature_complexity import (
    FeatureComplexity,
    feature_complexity,
    feature_importance,
)
from layerwise.measures._intrinsic_dimension import intrinsic_dimension
from layerwise.measures._many import Differences, holm, max_t
from layerwise.measures._neural_collapse import NeuralCollapse, neural_collapse
from layerwise.measures._participation_ratio import participation_ratio
from layerwise.measures._probe import probe
from layerwise.measures._probe3d import Awareness3D, probe3d
from layerwise.measures._readings import Marks, ProbeTable, Reading
from layerwise.measures._readouts import LinearReadout, NearestMeanReadout, NeighboursReadout
from layerwise.measures._representation_bias import RepresentationBias, representation_bias
from layerwise.measures._sample_notes import sample_notes
from layerwise.measures._shortcut import Shortcut, amplified, pictured
from layerwise.measures._shortcut_bias import ShortcutBias, shortcut_bias
from layerwise.measures._spectral_learning_order import (
    SpectralLearningOrder,
    spectral_learning_order,
)
from layerwise.measures._spectrum import Spectrum, spectrum
from layerwise.measures._stability_plasticity import StabilityPlasticity, stability_plasticity
from layerwise.measures._surface import LinearSurface, Surface
from layerwise.measures._surface_decoder import SurfaceDecoder
from layerwise.measures._surface_scores import (
    DepthScores,
    NormalScores,
    aligned,
    depth_scores,
    normal_scores,
)
from layerwise.measures._view_matches import ViewMatches, match_views

__all__ = [
    "CKA",
    "AttentionSVM",
    "Awareness3D",
    "Covariance",
    "DepthScores",
    "Differences",
    "FeatureComplexity",
    "Interval",
    "LinearReadout",
    "LinearSurface",
    "Marks",
    "NearestMeanReadout",
    "NeighboursReadout",
    "NeuralCollapse",
    "NormalScores",
    "ProbeTable",
    "Reading",
    "RepresentationBias",
    "Shortcut",
    "ShortcutBias",
    "SpectralLearningOrder",
    "Spectrum",
    "StabilityPlasticity",
    "Surface",
    "SurfaceDecoder",
    "ViewMatches",
    "aligned",
    "amplified",
    "attention_svm",
    "bootstrap_mean",
    "bootstrap_r2",
    "bootstrap_sums",
    "cka",
    "debiased_participation_ratio",
    "depth_scores",
    "effective_rank",
    "feature_complexity",
    "feature_importance",
    "holm",
    "intrinsic_dimension",
    "match_views",
    "max_t",
    "neural_collapse",
    "normal_scores",
    "nuclear_attention_svm",
    "participation_ratio",
    "pictured",
    "probe",
    "probe3d",
    "representation_bias",
    "sample_notes",
    "shortcut_bias",
    "spectral_learning_order",
    "spectrum",
    "stability_plasticity",
]
