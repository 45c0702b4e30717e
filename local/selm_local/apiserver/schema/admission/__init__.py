"""What kube-apiserver checks before it admits a CustomResourceDefinition; `crd.validate_crd` is the whole of it."""
