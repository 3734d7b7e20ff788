"""The HTTP server: SGLang's routes and OpenAI's, in front of an EngineClient."""
