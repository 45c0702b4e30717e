# Where torch's CPU build comes from; sourced by the other scripts.
#
# TORCH_LINKS: arguments for uv. A wheel folder named by TORCH_FIND_LINKS or by pip's own
# configuration (find-links) wins; without one, uv asks PyTorch's CPU index.
links="${TORCH_FIND_LINKS:-${PIP_FIND_LINKS:-$(python3 -m pip config get global.find-links 2>/dev/null || true)}}"
TORCH_LINKS=()
for folder in $links; do
  if compgen -G "$folder/torch-*+cpu-*.whl" >/dev/null; then TORCH_LINKS=(--find-links "$folder"); fi
done
