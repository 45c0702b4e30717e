"""Publishing a run's model: its card, and the places that it may go to."""
