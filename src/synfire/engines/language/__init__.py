"""Engines for language models: each runs one whole model in a process of its own, see `synfire.ops.language_model`."""

from synfire.engines.language import foreign, llama, llama_native, openvino, transformers

__all__ = ["foreign", "llama", "llama_native", "openvino", "transformers"]
