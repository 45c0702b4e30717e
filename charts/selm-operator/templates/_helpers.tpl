{{- define "selm-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "selm-operator.fullname" -}}
{{- $name := include "selm-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 57 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 57 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 57 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "selm-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "selm-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Labels of every object. The chart's own win over commonLabels. */}}
{{- define "selm-operator.labels" -}}
{{- $own := include "selm-operator.selectorLabels" . | fromYaml }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{- define "selm-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "selm-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is empty; with serviceAccount.create=false the name of an existing ServiceAccount is needed" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* The full name of an image: (list IMAGE DEFAULT-TAG). */}}
{{- define "selm-operator.image" -}}
{{- $image := index . 0 }}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default (index . 1) $image.tag }}{{ end }}
{{- end }}

{{- /* Variables that the chart sets itself: the API server refuses a name that stands twice. */}}
{{- define "selm-operator.checkEnv" -}}
{{- $own := dict "SELM_NAMESPACE" "the release's namespace" "SELM_NAMESPACES" "watchNamespaces" "SELM_RUNTIME_IMAGE" "runtime.image" "SELM_PREPARATION_RESOURCES" "runtime.preparationResources" "SELM_WORKERS" "operator.workers" "SELM_LOG_FORMAT" "operator.logFormat" "SELM_HTTP_PORT" "operator.httpPort" }}
{{- range .Values.extraEnv }}
{{- if hasKey $own .name }}
{{- fail (printf "extraEnv: %s is set by the chart itself, from %s" .name (get $own .name)) }}
{{- end }}
{{- end }}
{{- end }}
