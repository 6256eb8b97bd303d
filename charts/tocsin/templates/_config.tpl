{{/* The aggregator's configuration: what it takes over without a restart. */}}

{{/* All sinks by name, the ingestion API as `ingest` among them, as YAML, in the form of the values. */}}
{{- define "tocsin.sinks" -}}
{{- $sinks := deepCopy .sinks -}}
{{- if .ingest.url -}}
  {{- $token := dict "type" "ingest" "token" .token "existingSecret" .existingSecret "existingSecretKey" (.existingSecretKey | default "AGENT_TOKEN") -}}
  {{- $_ := set $sinks "ingest" (merge $token .ingest) -}}
{{- end -}}
{{- toYaml $sinks -}}
{{- end -}}

{{/* The token's key in a sink's Secret, or nothing where it has none. */}}
{{- define "tocsin.tokenKey" -}}
{{- if and .existingSecret (or .existingSecretKey (not .existingSecretUrlKey)) -}}
{{- .existingSecretKey | default "token" -}}
{{- end -}}
{{- end -}}

{{/* The file, as YAML: {root, settings}. */}}
{{- define "tocsin.config" -}}
{{- $settings := .settings -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $sinks := dict -}}
{{- range $name, $given := include "tocsin.sinks" $settings | fromYaml -}}
  {{- $sink := omit $given "token" "existingSecret" "existingSecretKey" "existingSecretUrlKey" -}}
  {{- if $given.existingSecretUrlKey -}}
    {{- $_ := set (unset $sink "url") "urlFile" (printf "/etc/tocsin/token/%s/url" $name) -}}
  {{- end -}}
  {{- if include "tocsin.tokenKey" $given -}}
    {{- $_ := set $sink "tokenFile" (printf "/etc/tocsin/token/%s/token" $name) -}}
  {{- else if $given.token -}}
    {{- $_ := set $sink "tokenFile" (printf "/etc/tocsin/tokens/%s" $name) -}}
  {{- end -}}
  {{- if and $settings.caBundle (ne $given.type "stdout") -}}
    {{- $_ := set $sink "caFile" "/etc/tocsin/config/ca.crt" -}}
  {{- end -}}
  {{- $_ := set $sinks $name $sink -}}
{{- end -}}
{{- $proxy := dict -}}
{{- range $key := list "http" "https" "noProxy" -}}
  {{- with get $settings.proxy $key -}}{{- $_ := set $proxy $key . -}}{{- end -}}
{{- end -}}
{{- if $settings.proxy.existingSecret -}}
  {{- $_ := set $proxy "folder" "/etc/tocsin/proxy" -}}
{{- end -}}
{{- $config := dict
      "clusterName" $settings.clusterName
      "extraLabels" $settings.extraLabels
      "restrictToNamespaces" (ternary $settings.rbac.namespaceRestriction.namespaces list $settings.rbac.namespaceRestriction.enabled)
      "watchNamespaces" $settings.watchNamespaces
      "excludeNamespaces" $settings.excludeNamespaces
      "systemNamespaces" ($settings.systemNamespaces | default "off")
      "rules" $settings.rules
      "agents" (merge (dict
        "enabled" $settings.hasAgents
        "serviceAccount" (printf "%s/%s" $namespace $settings.names.nodeAgent)
        "daemonSet" (printf "%s/%s" $namespace $settings.names.nodeAgent)
        "podSelector" (include "tocsin.selector.text" (dict "root" .root "component" "node-agent"))
        "audience" (include "tocsin.audience" .)) $settings.reporting)
      "sinks" $sinks -}}
{{- /* What an earlier release does not know is there only where it is wanted: in an upgrade its aggregators read this, too. */ -}}
{{- with $settings.runbookBaseUrl -}}{{- $_ := set $config "runbookBaseUrl" . -}}{{- end -}}
{{- with $proxy -}}{{- $_ := set $config "proxy" . -}}{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Who agents' tokens are for. */}}
{{- define "tocsin.audience" -}}
tocsin-aggregator
{{- end -}}
