"""What Orchestra talks about: frozen structs and pure functions, without I/O, clock or await."""
