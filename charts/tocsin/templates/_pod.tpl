{{/*
The pod of a workload: {root, settings, component, values (nodeAgent or aggregator), name, args, env, ports, volumes, mounts,
affinity (where the values give none)}.
*/}}
{{- define "tocsin.pod" -}}
{{- $values := .values -}}
{{- $process := list
      (printf "--log-level=%s" .settings.logLevel)
      (printf "--log-format=%s" .settings.logFormat)
      (printf "--shutdown-deadline=%ss" (include "tocsin.deadline" $values)) -}}
metadata:
  labels:
    {{- merge (include "tocsin.selector" . | fromYaml) $values.labels .settings.commonLabels | toYaml | nindent 4 }}
  {{- with merge (.annotations | default dict) $values.annotations .settings.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ .name }}
  automountServiceAccountToken: true
  # Names of other Services are nothing that it needs.
  enableServiceLinks: false
  {{- with include "tocsin.pullSecrets" .settings | fromYamlArray }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  nodeSelector:
    {{- merge (dict) $values.nodeSelector (dict "kubernetes.io/os" "linux") | toYaml | nindent 4 }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- $values.affinity | default .affinity | toYaml | nindent 4 }}
  {{- $ours := dict "labelSelector" (dict "matchLabels" (include "tocsin.selector" . | fromYaml)) }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{- merge (dict) . (ternary (dict) $ours (hasKey . "labelSelector")) | toYaml | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "tocsin.image" (dict "root" .root "settings" .settings "image" $values.image) | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      {{- with $values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      args:
        {{- concat .args $process $values.extraArgs | toYaml | nindent 8 }}
      env:
        {{- concat .env $values.extraEnv | toYaml | nindent 8 }}
      ports:
        {{- toYaml .ports | nindent 8 }}
      {{- with $values.livenessProbe }}
      livenessProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.readinessProbe }}
      readinessProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        {{- concat .mounts $values.extraVolumeMounts | toYaml | nindent 8 }}
  volumes:
    {{- concat .volumes $values.extraVolumes | toYaml | nindent 4 }}
{{- end -}}

{{/* Secrets for pulling images, as maps. */}}
{{- define "tocsin.pullSecrets" -}}
{{- $secrets := list -}}
{{- range .imagePullSecrets -}}
  {{- $secrets = append $secrets (ternary . (dict "name" .) (kindIs "map" .)) -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}

{{/* How pods are replaced: settings for rolling are nothing to the other ways. */}}
{{- define "tocsin.updateStrategy" -}}
{{- if eq .type "RollingUpdate" -}}
{{- toYaml . -}}
{{- else -}}
{{- omit . "rollingUpdate" | toYaml -}}
{{- end -}}
{{- end -}}

{{/* How long a process may take to end, in seconds: less than its pod is given. */}}
{{- define "tocsin.deadline" -}}
{{- min 300 (sub (int64 .terminationGracePeriodSeconds) 5) -}}
{{- end -}}
