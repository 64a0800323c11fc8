"""Stock-keeping units: what is on hand, what can be made and shipped, and what may still be sold."""
