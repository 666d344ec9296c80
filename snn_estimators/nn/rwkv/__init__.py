"""`SpikeGPT`: RWKV's mixings with neurons, and its calibration from a trained RWKV."""
