"""A language model on OpenVINO GenAI."""
