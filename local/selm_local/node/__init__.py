"""The embedded cluster's only node: it runs pods as processes of this machine."""
