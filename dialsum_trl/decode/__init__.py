"""How tokens are generated: slots of one cache, captured steps, beam search, and the other engines."""
