"""Files as people's tools write them: the same orders come out, or a line says why not."""
