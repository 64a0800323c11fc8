"""The claims about speed. Each claim is a ratio to a peer that is measured in the same run."""
