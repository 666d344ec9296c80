"""`SpikingDecoder` and its parts: encodings, attention, feed-forward, blocks, the head."""
