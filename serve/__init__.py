"""`darius serve`: the Quart application on Hypercorn. Knows the wire, clients and processes; not how music is made.

Start reading at `app.create_app` and `backend.Backend`; `settings` says what can be set, `errors` what can go wrong.
"""
