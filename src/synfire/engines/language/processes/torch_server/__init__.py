"""A language model on torch, by the package transformers, behind llama.cpp's `/completion`. It runs in a process, and maybe an environment,
of its own: it imports nothing of synfire."""
