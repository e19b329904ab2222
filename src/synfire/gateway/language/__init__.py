"""What the protocols of language models have in common: the model's card, chats as prompts, several answers at a time."""
