"""Tables of comparison: every model under one protocol, one record per run, several seeds."""
