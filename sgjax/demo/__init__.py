"""The built-in demo model: the text it learns from, how it is trained, and its checkpoint."""
