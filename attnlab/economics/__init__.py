"""Economics: what a model costs, and the best one inside a budget."""
