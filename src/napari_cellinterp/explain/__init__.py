"""Question a model: traversals of its latents, counterfactuals, an audit of what moves its scores."""
