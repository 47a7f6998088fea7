{{/* Names and labels that all objects share. */}}

{{- define "exporter.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "exporter.labels" -}}
{{ include "exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "exporter.keys" -}}
{{- if and .Values.keys.secret .Values.keys.values }}{{ fail "keys.secret and keys.values: give one of the two" }}{{ end }}
{{- if .Values.keys.secret }}{{ .Values.keys.secret }}{{ else if .Values.keys.values }}{{ include "exporter.name" . }}-keys{{ end }}
{{- end }}

{{/* How a probe asks for a path: the kubelet itself, or the program behind a web configuration, whose password and
certificate stand in no object of the cluster but the Secret. */}}
{{- define "exporter.asked" -}}
{{- $root := index . 0 }}
{{- $path := index . 1 }}
{{- if $root.Values.webConfig.secret -}}
exec:
  command:
    - /usr/local/bin/agent-session-exporter
    - healthcheck
    - --web.url={{ $root.Values.webConfig.url }}
    - --http.config.file=/etc/agent-session-exporter/web/http.yml
    {{- if eq $path "/-/ready" }}
    - --ready
    {{- end }}
{{- else -}}
httpGet: {path: {{ $path }}, port: http}
{{- end }}
{{- end }}
