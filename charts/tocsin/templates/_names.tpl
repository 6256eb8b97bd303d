{{/* What objects are called, and how they are labelled. */}}

{{- define "tocsin.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The names of all objects, as YAML. */}}
{{- define "tocsin.names" -}}
{{- $fullname := include "tocsin.fullname" . -}}
fullname: {{ $fullname | quote }}
aggregator: {{ printf "%s-aggregator" $fullname | quote }}
nodeAgent: {{ printf "%s-node-agent" $fullname | quote }}
metrics: {{ printf "%s-aggregator-metrics" $fullname | quote }}
config: {{ printf "%s-config" $fullname | quote }}
tokens: {{ printf "%s-tokens" $fullname | quote }}
serving: {{ printf "%s-serving" $fullname | quote }}
trust: {{ printf "%s-trust" $fullname | quote }}
leader: {{ printf "%s-leader" $fullname | quote }}
told: {{ printf "%s-told" $fullname | quote }}
doctor: {{ printf "%s-doctor" $fullname | quote }}
{{- end -}}

{{/* The ConfigMaps of the told-log, which the aggregator calls so: a list, as YAML. */}}
{{- define "tocsin.toldLog" -}}
{{- $names := list -}}
{{- range list "journal" "snapshot-0" "snapshot-1" "snapshot-2" "snapshot-3" -}}
  {{- $names = append $names (printf "%s-%s" $.names.told .) -}}
{{- end -}}
{{- toYaml $names -}}
{{- end -}}

{{/* What selects the pods of a component: {root, component}. It must never change. */}}
{{- define "tocsin.selector" -}}
app.kubernetes.io/name: {{ .root.Values.nameOverride | default .root.Chart.Name | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The same as kubectl takes it: {root, component}. */}}
{{- define "tocsin.selector.text" -}}
{{- $terms := list -}}
{{- range $label, $value := include "tocsin.selector" . | fromYaml -}}
  {{- $terms = append $terms (printf "%s=%s" $label $value) -}}
{{- end -}}
{{- join "," $terms -}}
{{- end -}}

{{/* An object's metadata: {root, settings, component, name, namespace (default: the release's; "-" for none), labels, annotations}. */}}
{{- define "tocsin.metadata" -}}
{{- $root := .root -}}
{{- $labels := dict
      "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_"))
      "app.kubernetes.io/version" $root.Chart.AppVersion
      "app.kubernetes.io/managed-by" $root.Release.Service
      "app.kubernetes.io/part-of" $root.Chart.Name -}}
{{- $selector := include "tocsin.selector" . | fromYaml -}}
{{- $annotations := merge (dict) (.annotations | default dict) .settings.commonAnnotations -}}
name: {{ .name | quote }}
{{- if ne (.namespace | default "") "-" }}
namespace: {{ .namespace | default $root.Release.Namespace | quote }}
{{- end }}
labels:
  {{- merge (dict) $selector (.labels | default dict) .settings.commonLabels $labels | toYaml | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image: {root, settings, image}. */}}
{{- define "tocsin.image" -}}
{{- $image := .image -}}
{{- with .settings.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end -}}
