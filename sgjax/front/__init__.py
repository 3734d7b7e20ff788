"""Text in front of the engine: prompts to ids, ids to text. Knows neither JAX nor HTTP."""
