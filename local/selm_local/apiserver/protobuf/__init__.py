"""Reading request bodies in Kubernetes' protobuf form (`application/vnd.kubernetes.protobuf`).

kubectl's imperative commands (`create job`, `auth can-i`) send it. Answers are JSON, which these clients accept too.
Source: k8s.io/apimachinery/pkg/runtime/serializer/protobuf.
"""

from selm_local.apiserver.protobuf.decode import MEDIA_TYPE, MalformedProtobuf, decode

__all__ = ["MEDIA_TYPE", "MalformedProtobuf", "decode"]
