"""The engine on OpenAI-compatible servers: one request per completion, over as many servers as there are."""
