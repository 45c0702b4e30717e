"""HTTP over the registry: paths, bodies, content types, streams. No rule of the API lives here."""
