"""The fast path of SFT: packs, document attention, fused layers, and the memory plan."""
