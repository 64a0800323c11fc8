"""What Shiplock claims of its speed, each claim as a ratio beside a peer measured in the same run."""
