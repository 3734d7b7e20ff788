"""The language: programs of many calls of a model, in Python, that the engine runs together.

api ──► expressions ──► state ──► executor ──► worker ──► backends
"""
