"""What stands between a turn and the API: a budget of requests, and a circuit for each workspace."""
