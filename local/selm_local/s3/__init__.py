"""The embedded object store: moto's S3 with its objects on disk and its credentials enforced."""
