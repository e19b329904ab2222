"""What an expert would make of the same weights by hand, for one size of batch: in torch, onnxruntime and OpenVINO; and synfire."""

from synfire.bench.baselines.baseline import PACKAGES, THREADS, Baseline, Call, baselines
from synfire.bench.baselines.own import Own

__all__ = ["PACKAGES", "THREADS", "Baseline", "Call", "Own", "baselines"]
