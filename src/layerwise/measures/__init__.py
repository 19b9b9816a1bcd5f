"""Numbers for a layer, a pair of layers or a feature: functions of features to a tensor."""

from __future__ import annotations

from layerwise.measures._answer_depth import AnswerDepth, answer_depth
from layerwise.measures._attention_distance import AttentionDistance, attention_distance
from layerwise.measures._bootstrap import Interval, bootstrap_mean, bootstrap_r2
from layerwise.measures._choice_probe import ChoiceProbe, choice_probe
from layerwise.measures._cka import CKA, cka
from layerwise.measures._covariance import Covariance
from layerwise.measures._depth_use import DepthUse, depth_use
from layerwise.measures._effective_rank import effective_rank
from layerwise.measures._follow import Follow, Followed
from layerwise.measures._follow_adapters import for_lightning, for_trainer
from layerwise.measures._intrinsic_dimension import intrinsic_dimension
from layerwise.measures._localisation import Localisation, localisation
from layerwise.measures._map_r2 import diagonality, map_r2
from layerwise.measures._neural_collapse import NeuralCollapse, neural_collapse
from layerwise.measures._participation_ratio import participation_ratio
from layerwise.measures._probe import probe
from layerwise.measures._questions import Asked, Question, arithmetic, cloze, transitivity
from layerwise.measures._readings import Marks, ProbeTable, Reading
from layerwise.measures._readouts import LinearReadout, NearestMeanReadout, NeighboursReadout
from layerwise.measures._receptive_field import ReceptiveField, receptive_field
from layerwise.measures._skip_dominance import SkipDominance, skip_deletion, skip_dominance
from layerwise.measures._skipping import Skipped
from layerwise.measures._spectrum import Spectrum, spectrum

__all__ = [
    "CKA",
    "AnswerDepth",
    "Asked",
    "AttentionDistance",
    "ChoiceProbe",
    "Covariance",
    "DepthUse",
    "Follow",
    "Followed",
    "Interval",
    "LinearReadout",
    "Localisation",
    "Marks",
    "NearestMeanReadout",
    "NeighboursReadout",
    "NeuralCollapse",
    "ProbeTable",
    "Question",
    "Reading",
    "ReceptiveField",
    "SkipDominance",
    "Skipped",
    "Spectrum",
    "answer_depth",
    "arithmetic",
    "attention_distance",
    "bootstrap_mean",
    "bootstrap_r2",
    "choice_probe",
    "cka",
    "cloze",
    "depth_use",
    "diagonality",
    "effective_rank",
    "for_lightning",
    "for_trainer",
    "intrinsic_dimension",
    "localisation",
    "map_r2",
    "neural_collapse",
    "participation_ratio",
    "probe",
    "receptive_field",
    "skip_deletion",
    "skip_dominance",
    "spectrum",
    "transitivity",
]
