"""Laws over tables: a new layer, model or kind of network is one new row."""
