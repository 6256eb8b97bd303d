{{/*
The pod of an aggregator, whatever it is to do: {root, settings, component, task (its first argument, if it has one)}. With a
task, sinks' Secrets and the proxy's Secret need not be there: it is to say which is missing.
*/}}
{{- define "tocsin.aggregator.pod" -}}
{{- $settings := .settings -}}
{{- $names := $settings.names -}}
{{- $task := .task | default "" -}}
{{- $volumes := list
      (dict "name" "config" "configMap" (dict "name" $names.config))
      (dict "name" "tokens" "secret" (dict "secretName" $names.tokens "optional" true)) -}}
{{- $mounts := list
      (dict "name" "config" "mountPath" "/etc/tocsin/config" "readOnly" true)
      (dict "name" "tokens" "mountPath" "/etc/tocsin/tokens" "readOnly" true) -}}
{{- /* A folder for each Secret, so that a replaced one is seen: a file mounted by itself never changes. */ -}}
{{- range $sink, $given := include "tocsin.sinks" $settings | fromYaml -}}
{{- if $given.existingSecret -}}
{{- $items := list -}}
{{- with include "tocsin.tokenKey" $given -}}
{{- $items = append $items (dict "key" . "path" "token") -}}
{{- end -}}
{{- with $given.existingSecretUrlKey -}}
{{- $items = append $items (dict "key" . "path" "url") -}}
{{- end -}}
{{- $secret := merge (dict "secretName" $given.existingSecret "items" $items) (ternary (dict "optional" true) (dict) (not (empty $task))) -}}
{{- $volumes = append $volumes (dict "name" (printf "token-%s" $sink) "secret" $secret) -}}
{{- $mounts = append $mounts (dict "name" (printf "token-%s" $sink) "mountPath" (printf "/etc/tocsin/token/%s" $sink) "readOnly" true) -}}
{{- end -}}
{{- end -}}
{{- with $settings.proxy.existingSecret -}}
{{- $secret := merge (dict "secretName" .) (ternary (dict "optional" true) (dict) (not (empty $task))) -}}
{{- $volumes = append $volumes (dict "name" "proxy" "secret" $secret) -}}
{{- $mounts = append $mounts (dict "name" "proxy" "mountPath" "/etc/tocsin/proxy" "readOnly" true) -}}
{{- end -}}
{{- $own := $settings.tls.existingSecret -}}
{{- $env := list -}}
{{- range $variable, $field := dict "TOCSIN_NAMESPACE" "metadata.namespace" "TOCSIN_POD_NAME" "metadata.name" "TOCSIN_POD_IP" "status.podIP" -}}
{{- $env = append $env (dict "name" $variable "valueFrom" (dict "fieldRef" (dict "fieldPath" $field))) -}}
{{- end -}}
{{- $beside := include "tocsin.selector" (dict "root" .root "component" "aggregator") | fromYaml -}}
{{- $apart := dict "weight" 100 "podAffinityTerm" (dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $beside)) -}}
{{- include "tocsin.pod" (dict
      "root" .root
      "settings" $settings
      "component" .component
      "values" $settings.aggregator
      "name" $names.aggregator
      "args" (concat (ternary (list) (list $task) (empty $task)) (list
        "--config=/etc/tocsin/config/config.yaml"
        (ternary (printf "--tls-existing-secret=%s" $own) (printf "--tls-secret=%s" $names.serving) (not (empty $own)))
        (printf "--ca-config-map=%s" $names.trust)
        (printf "--service=%s" $names.aggregator)
        (printf "--deployment=%s" $names.aggregator)
        (printf "--lease=%s" $names.leader)
        (printf "--told-log=%s" $names.told)))
      "env" $env
      "ports" (list
        (dict "name" "agents" "containerPort" 8443)
        (dict "name" "metrics" "containerPort" 8080))
      "volumes" $volumes
      "mounts" $mounts
      "affinity" (dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list $apart)))
    ) -}}
{{- end -}}
