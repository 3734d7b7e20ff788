"""`sgjax bench kernels`: how fast operations are, and which block sizes are fastest."""
