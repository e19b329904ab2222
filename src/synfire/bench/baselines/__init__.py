"""What an expert would make of the same weights by hand, for one size of batch: in torch, onnxruntime and OpenVINO."""

from synfire.bench.baselines.baseline import PACKAGES, THREADS, Baseline, Call, baselines

__all__ = ["PACKAGES", "THREADS", "Baseline", "Call", "baselines"]
