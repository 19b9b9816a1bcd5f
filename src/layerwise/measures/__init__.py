"""Numbers for a layer, a pair of layers or a feature: functions of features to a tensor."""

from __future__ import annotations

from layerwise.measures._bootstrap import Interval, bootstrap_mean, bootstrap_r2
from layerwise.measures._cka import CKA, cka
from layerwise.measures._covariance import Covariance
from layerwise.measures._effective_rank import effective_rank
from layerwise.measures._intrinsic_dimension import intrinsic_dimension
from layerwise.measures._neural_collapse import NeuralCollapse, neural_collapse
from layerwise.measures._participation_ratio import participation_ratio
from layerwise.measures._probe import probe
from layerwise.measures._readings import Marks, ProbeTable, Reading
from layerwise.measures._readouts import LinearReadout, NearestMeanReadout, NeighboursReadout
from layerwise.measures._spectrum import Spectrum, spectrum

__all__ = [
    "CKA",
    "Covariance",
    "Interval",
    "LinearReadout",
    "Marks",
    "NearestMeanReadout",
    "NeighboursReadout",
    "NeuralCollapse",
    "ProbeTable",
    "Reading",
    "Spectrum",
    "bootstrap_mean",
    "bootstrap_r2",
    "cka",
    "effective_rank",
    "intrinsic_dimension",
    "neural_collapse",
    "participation_ratio",
    "probe",
    "spectrum",
]
