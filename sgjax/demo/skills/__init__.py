"""What the demo model can talk about: each module makes question-and-answer exchanges."""
