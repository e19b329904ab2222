"""Ollama's API, in its parts: what requests hold, how answers are written, what is told of models, how models are brought and made."""
