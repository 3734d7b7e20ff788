"""What runs the calls of programs: an engine in this process, a server, other makers' APIs."""
