{{/*
Names of values that other charts have for the same thing. Each is read as the values that it stands for; where two of them,
or one and the value itself, say different things, rendering fails. The schema and the README have them from here.
*/}}
{{- define "tocsin.aliases" -}}
agentToken: [token]
apiKey: [token]
config.token: [token]
config.ankra_url: [ingest.url]
config.existing_secret_name: [existingSecret]
config.secret_key: [existingSecretKey]
log_level: [logLevel]
replicaCount: [aggregator.replicas]
replica_count: [aggregator.replicas]
terminationGracePeriodSeconds: [aggregator.terminationGracePeriodSeconds]
image.repository: [aggregator.image.repository]
image.tag: [aggregator.image.tag, nodeAgent.image.tag]
image.pullPolicy: [aggregator.image.pullPolicy, nodeAgent.image.pullPolicy]
resources: [aggregator.resources]
nodeSelector: [aggregator.nodeSelector]
tolerations: [aggregator.tolerations]
affinity: [aggregator.affinity]
{{- end -}}

{{/* Images of the agents that Tocsin replaces, in whatever registry. */}}
{{- define "tocsin.aliases.images" -}}
- ankra/agent
- incidentfox/k8s-agent
- klusteralert/agent
{{- end -}}

{{/* Of the values of other charts those that name such an image, by alias: they are taken for not said. */}}
{{- define "tocsin.aliases.foreign" -}}
{{- $found := dict -}}
{{- $foreign := dict -}}
{{- include "tocsin.find" (dict "in" .Values "path" "image.repository" "out" $found) -}}
{{- $repository := $found.value | default "" -}}
{{- range include "tocsin.aliases.images" . | fromYamlArray -}}
  {{- if or (eq $repository .) (hasSuffix (printf "/%s" .) $repository) -}}
    {{- $_ := set $foreign "image.repository" $repository -}}
  {{- end -}}
{{- end -}}
{{- include "tocsin.find" (dict "in" .Values "path" "image.tag" "out" $found) -}}
{{- if and $foreign $found.value -}}
  {{- $_ := set $foreign "image.tag" $found.value -}}
{{- end -}}
{{- toYaml $foreign -}}
{{- end -}}

{{/* Values that are accepted and change nothing yet, with what they are for. */}}
{{- define "tocsin.withoutEffect" -}}
gatewayUrl: there is no gateway connection yet
k8s_watch: there is no live streaming of resources yet
nats_worker_max_workers: there are no such workers
{{- end -}}
