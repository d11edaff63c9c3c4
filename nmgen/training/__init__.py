"""Series of pruned candidates of a whole model, trained or in one shot, within a budget of cycles."""
