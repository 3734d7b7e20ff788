"""`sgjax bench serving`: what a crowd of clients sees of a server."""
