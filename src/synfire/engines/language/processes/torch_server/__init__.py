"""A language model on torch, by the package transformers."""
