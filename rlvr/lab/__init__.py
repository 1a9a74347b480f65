"""The laboratory: what a choice of stages does with saved groups. No model, no sampling."""
