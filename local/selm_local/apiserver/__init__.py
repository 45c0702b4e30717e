"""The embedded cluster's API server.

Every rule of the Kubernetes API lives in `registry.Registry`; HTTP (`http`) and the controllers are two callers of
the same object. `resources` says what is served, `storage` keeps it in SQLite, `schema` and `patch` are pure.
"""
