"""`selm`, also installed as `kubectl selm`: one module a verb. It reads the API and the store; it decides nothing."""
