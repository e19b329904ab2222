"""Files with Triton's class `TritonPythonModel`, run as Triton's Python backend runs them."""
