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

{{/* Values of other charts that name what only they have: taken for not said. */}}
{{- define "tocsin.aliases.foreign" -}}
image.repository: klusteralert/agent
{{- end -}}

{{/* Values that are accepted and change nothing yet, with what they are for. */}}
{{- define "tocsin.withoutEffect" -}}
gatewayUrl: there is no gateway connection yet
k8s_watch: there is no live streaming of resources yet
nats_worker_max_workers: there are no such workers
proxy: sinks are reached directly
runbookBaseUrl: messages have no runbook links yet
{{- end -}}
