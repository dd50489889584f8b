"""`darius serve`: the Quart application on Hypercorn. Arrives with the server; nothing is here yet."""
