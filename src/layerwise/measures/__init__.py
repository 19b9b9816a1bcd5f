"""Numbers for a layer, a pair of layers or a feature: functions of features to a tensor."""

from __future__ import annotations

from layerwise.measures._answer_depth import AnswerDepth, answer_depth
from layerwise.measures._attention_distance import AttentionDistance, attention_distance
from layerwise.measures._attention_svm import AttentionSVM, attention_svm, nuclear_attention_svm
from layerwise.measures._bootstrap import Interval, bootstrap_mean, bootstrap_r2, bootstrap_sums
from layerwise.measures._choice_probe import ChoiceProbe, choice_probe
from layerwise.measures._cka import CKA, cka
from layerwise.measures._covariance import Covariance
from layerwise.measures._debiased_participation import debiased_participation_ratio
from layerwise.measures._depth_use import DepthUse, depth_use
from layerwise.measures._effective_rank import effective_rank
from layerwise.measures._feature_complexity import (
    FeatureComplexity,
    feature_complexity,
    feature_importance,
)
from layerwise.measures._fine_tuned import FineTuned, fine_tuned
from layerwise.measures._follow import Follow, Followed
from layerwise.measures._follow_adapters import for_lightning, for_trainer
from layerwise.measures._head_svm import HeadSVM, head_svm
from layerwise.measures._intrinsic_dimension import intrinsic_dimension
from layerwise.measures._localisation import Localisation, localisation
from layerwise.measures._many import Differences, holm, max_t
from layerwise.measures._map_r2 import diagonality, map_r2
from layerwise.measures._neural_collapse import NeuralCollapse, neural_collapse
from layerwise.measures._participation_ratio import participation_ratio
from layerwise.measures._probe import probe
from layerwise.measures._probe3d import Awareness3D, probe3d
from layerwise.measures._questions import Asked, Question, arithmetic, cloze, transitivity
from layerwise.measures._readings import Marks, ProbeTable, Reading
from layerwise.measures._readouts import LinearReadout, NearestMeanReadout, NeighboursReadout
from layerwise.measures._receptive_field import ReceptiveField, receptive_field
from layerwise.measures._representation_bias import RepresentationBias, representation_bias
from layerwise.measures._sample_notes import sample_notes
from layerwise.measures._shortcut import Shortcut, amplified, pictured
from layerwise.measures._shortcut_bias import ShortcutBias, shortcut_bias
from layerwise.measures._skip_dominance import SkipDominance, skip_deletion, skip_dominance
from layerwise.measures._skipping import Skipped
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
from layerwise.measures._token_probe import TokenProbe, token_probe
from layerwise.measures._view_matches import ViewMatches, match_views

__all__ = [
    "CKA",
    "AnswerDepth",
    "Asked",
    "AttentionDistance",
    "AttentionSVM",
    "Awareness3D",
    "ChoiceProbe",
    "Covariance",
    "DepthScores",
    "DepthUse",
    "Differences",
    "FeatureComplexity",
    "FineTuned",
    "Follow",
    "Followed",
    "HeadSVM",
    "Interval",
    "LinearReadout",
    "LinearSurface",
    "Localisation",
    "Marks",
    "NearestMeanReadout",
    "NeighboursReadout",
    "NeuralCollapse",
    "NormalScores",
    "ProbeTable",
    "Question",
    "Reading",
    "ReceptiveField",
    "RepresentationBias",
    "Shortcut",
    "ShortcutBias",
    "SkipDominance",
    "Skipped",
    "SpectralLearningOrder",
    "Spectrum",
    "StabilityPlasticity",
    "Surface",
    "SurfaceDecoder",
    "TokenProbe",
    "ViewMatches",
    "aligned",
    "amplified",
    "answer_depth",
    "arithmetic",
    "attention_distance",
    "attention_svm",
    "bootstrap_mean",
    "bootstrap_r2",
    "bootstrap_sums",
    "choice_probe",
    "cka",
    "cloze",
    "debiased_participation_ratio",
    "depth_scores",
    "depth_use",
    "diagonality",
    "effective_rank",
    "feature_complexity",
    "feature_importance",
    "fine_tuned",
    "for_lightning",
    "for_trainer",
    "head_svm",
    "holm",
    "intrinsic_dimension",
    "localisation",
    "map_r2",
    "match_views",
    "max_t",
    "neural_collapse",
    "normal_scores",
    "nuclear_attention_svm",
    "participation_ratio",
    "pictured",
    "probe",
    "probe3d",
    "receptive_field",
    "representation_bias",
    "sample_notes",
    "shortcut_bias",
    "skip_deletion",
    "skip_dominance",
    "spectral_learning_order",
    "spectrum",
    "stability_plasticity",
    "token_probe",
    "transitivity",
]
