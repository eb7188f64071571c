"""What runs: the rules of a claim, the tracker that applies them, the API that shows them, the command over all."""
