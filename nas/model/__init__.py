"""The one network, its weights, its training and its evaluation."""
