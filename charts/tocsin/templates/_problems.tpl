{{/* What is wrong with the settings beyond what a schema can say: a list of sentences, as YAML, each with what to do. */}}
{{- define "tocsin.problems" -}}
{{- $problems := list -}}
{{- if not .clusterName -}}
  {{- $problems = append $problems "clusterName must be set: it is in every message, for example --set clusterName=prod-eu-1" -}}
{{- end -}}
{{- if not (has .logLevel (list "error" "warn" "warning" "info" "debug" "trace")) -}}
  {{- $problems = append $problems (printf "logLevel: there is no level %q: use error, warn, info, debug or trace" .logLevel) -}}
{{- end -}}
{{- if and .token .existingSecret -}}
  {{- $problems = append $problems "token and existingSecret are both set, and only one can be meant: leave one of them out" -}}
{{- end -}}
{{- if and .ingest.url (not .token) (not .existingSecret) -}}
  {{- $problems = append $problems "ingest.url needs a token: set existingSecret (or token), or use a sink that needs none" -}}
{{- end -}}
{{- if and .ingest.url (hasKey .sinks "ingest") -}}
  {{- $problems = append $problems "sinks.ingest: the name is taken by ingest.url: choose another" -}}
{{- end -}}
{{- if gt (len .sinks) 15 -}}
  {{- $problems = append $problems (printf "sinks: at most 15, found %d" (len .sinks)) -}}
{{- end -}}
{{- if and .rbac.namespaceRestriction.enabled (not .rbac.namespaceRestriction.namespaces) -}}
  {{- $problems = append $problems "rbac.namespaceRestriction.namespaces must name at least one namespace, or set rbac.namespaceRestriction.enabled=false" -}}
{{- end -}}
{{- if and .rbac.namespaceRestriction.enabled .watchNamespaces -}}
  {{- $problems = append $problems "watchNamespaces and rbac.namespaceRestriction are both set, and each says which namespaces are told: leave watchNamespaces out, or set rbac.namespaceRestriction.enabled=false" -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .names.fullname) -}}
  {{- $problems = append $problems (printf "fullnameOverride: objects cannot be called %q, as Services are not: use a-z, 0-9 and -, a letter first, for example fullnameOverride=watcher" .names.fullname) -}}
{{- end -}}
{{- if and .global.imageRegistry (not (regexMatch "^[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._/-]*)?$" .global.imageRegistry)) -}}
  {{- $problems = append $problems (printf "global.imageRegistry: %q is no registry: write host, port and path without a scheme, for example registry.example.com:5000/mirror" .global.imageRegistry) -}}
{{- end -}}
{{- if and .caBundle (not (regexMatch "-----BEGIN CERTIFICATE-----\\s+[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----" .caBundle)) -}}
  {{- $problems = append $problems "caBundle holds no certificate: give it the text from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, for example with --set-file caBundle=ca.crt" -}}
{{- end -}}
{{- if and .runbookBaseUrl (not (and (include "tocsin.isAddress" .runbookBaseUrl) (regexMatch "^https?://[^/?#]+(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?$" .runbookBaseUrl))) -}}
  {{- $problems = append $problems "runbookBaseUrl: there can be no such address: it begins with https:// or http://, has a host, and no user, ? or # (a kind is put behind it), for example https://wiki.example.com/runbooks" -}}
{{- end -}}
{{- with .metrics.prometheusRule.runbookUrl -}}
  {{- if or (contains "#" .) (not (include "tocsin.isAddress" .)) -}}
    {{- $problems = append $problems "metrics.prometheusRule.runbookUrl: there can be no such address: it begins with https:// or http://, has a host, and no # (an alert is put behind it), for example https://wiki.example.com/tocsin/runbook.md" -}}
  {{- end -}}
{{- end -}}
{{- range $component := list "nodeAgent" "aggregator" -}}
  {{- $values := get $ $component -}}
  {{- $part := "[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*" -}}
  {{- if not (regexMatch (printf "^([A-Za-z0-9.-]+(:[0-9]{1,5})?/)?%s(/%s)*$" $part $part) $values.image.repository) -}}
    {{- $problems = append $problems (printf "%s.image.repository: %q is no repository: write it in small letters, without scheme and tag, for example tocsin/%s" $component $values.image.repository (kebabcase $component)) -}}
  {{- end -}}
  {{- if not (regexMatch "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$" $values.image.tag) -}}
    {{- $problems = append $problems (printf "%s.image.tag: %q is no tag: use letters, digits, _, . and -, for example 0.1.0" $component $values.image.tag) -}}
  {{- end -}}
  {{- $problems = concat $problems (include "tocsin.problems.resources" (dict "path" (printf "%s.resources" $component) "resources" $values.resources) | fromYamlArray) -}}
{{- end -}}
{{- $secrets := dict "existingSecret" .existingSecret "proxy.existingSecret" .proxy.existingSecret "tls.existingSecret" .tls.existingSecret -}}
{{- $keys := dict "existingSecretKey" .existingSecretKey -}}
{{- range $name, $sink := .sinks -}}
  {{- $_ := set $secrets (printf "sinks.%s.existingSecret" $name) $sink.existingSecret -}}
  {{- $_ := set $keys (printf "sinks.%s.existingSecretKey" $name) $sink.existingSecretKey -}}
  {{- $_ := set $keys (printf "sinks.%s.existingSecretUrlKey" $name) $sink.existingSecretUrlKey -}}
{{- end -}}
{{- range $path, $name := $secrets -}}
  {{- if and $name (not (regexMatch "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$" $name)) -}}
    {{- $problems = append $problems (printf "%s: no Secret can be called %q: it is one of the release's namespace, by its name alone, of a-z, 0-9, - and ." $path $name) -}}
  {{- end -}}
{{- end -}}
{{- range $path, $key := $keys -}}
  {{- if and $key (not (regexMatch "^[-._A-Za-z0-9]{1,253}$" $key)) -}}
    {{- $problems = append $problems (printf "%s: a Secret has no key %q: use letters, digits, -, _ and ." $path $key) -}}
  {{- end -}}
{{- end -}}
{{- $away := .aggregator.podDisruptionBudget.maxUnavailable | toString -}}
{{- if not (regexMatch "^([0-9]{1,9}|(100|[0-9]{1,2})%)$" $away) -}}
  {{- $problems = append $problems (printf "aggregator.podDisruptionBudget.maxUnavailable must be a number or a percentage, for example 1 or 50%%, found %s" $away) -}}
{{- end -}}

{{- range $key := list "http" "https" -}}
  {{- $address := get $.proxy $key -}}
  {{- /* Whose value may hold a password is not shown. */ -}}
  {{- if contains "@" $address -}}
    {{- $problems = append $problems (printf "proxy.%s must not hold credentials: put the address into the key %s of a Secret, and name that in proxy.existingSecret" $key $key) -}}
  {{- else if and $address (not (and (include "tocsin.isAddress" $address) (regexMatch "^https?://[^/?#]+/?$" $address))) -}}
    {{- $problems = append $problems (printf "proxy.%s: expected the address of a proxy, for example http://proxy.example.com:3128: it begins with http:// or https://, and nothing follows the port" $key) -}}
  {{- end -}}
{{- end -}}
{{- range $index, $entry := splitList "," .proxy.noProxy -}}
  {{- if not (include "tocsin.isDirect" (trim $entry)) -}}
    {{- $problems = append $problems (printf "proxy.noProxy: entry %d is no host, domain (.example.com), IP address or network (10.0.0.0/8): write it without scheme, port and wildcards, or * alone for everything" (add1 $index)) -}}
  {{- end -}}
{{- end -}}
{{- if gt (len .proxy.noProxy) 16384 -}}
  {{- $problems = append $problems (printf "proxy.noProxy has %d bytes, and at most 16384 are read: name domains and networks" (len .proxy.noProxy)) -}}
{{- end -}}
{{- if and .networkPolicy.enabled .proxy.existingSecret (not (or .proxy.http .proxy.https .networkPolicy.extraEgress)) -}}
  {{- $problems = append $problems "networkPolicy.enabled: the proxy's port is in proxy.existingSecret, where the policy cannot see it: set proxy.https (or proxy.http) to its address without credentials as well, or networkPolicy.extraEgress" -}}
{{- end -}}

{{- range $name, $sink := include "tocsin.sinks" . | fromYaml -}}
  {{- $path := ternary "ingest" (printf "sinks.%s" $name) (and (eq $name "ingest") (not (hasKey $.sinks "ingest"))) -}}
  {{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$" $name) -}}
    {{- $problems = append $problems (printf "%s: a sink cannot be called that: use a-z, 0-9 and -, a letter or a digit first and last, and at most 40 characters" $path) -}}
  {{- end -}}
  {{- $types := list "webhook" "ingest" "stdout" -}}
  {{- if not (has ($sink.type | default "") $types) -}}
    {{- $fix := "set it to webhook (one record a request), ingest (batches) or stdout" -}}
    {{- if $sink.type -}}
      {{- $problems = append $problems (printf "%s.type: there is no type %s: %s; what chats and pagers want is not sent, so put something of yours between" $path $sink.type $fix) -}}
    {{- else -}}
      {{- $problems = append $problems (printf "%s.type is missing: %s" $path $fix) -}}
    {{- end -}}
  {{- else if eq $sink.type "stdout" -}}
    {{- range $key := list "url" "token" "existingSecret" "existingSecretUrlKey" "timeout" -}}
      {{- if get $sink $key -}}
        {{- $problems = append $problems (printf "%s.%s means nothing to a sink of type stdout: leave it out" $path $key) -}}
      {{- end -}}
    {{- end -}}
  {{- else -}}
    {{- if and $sink.url $sink.existingSecretUrlKey -}}
      {{- $problems = append $problems (printf "%s: url and existingSecretUrlKey are both set, and only one can be meant: leave one of them out" $path) -}}
    {{- else if and $sink.existingSecretUrlKey (not $sink.existingSecret) -}}
      {{- $problems = append $problems (printf "%s.existingSecretUrlKey is a key of no Secret: name the Secret in %s.existingSecret" $path $path) -}}
    {{- else if not (or $sink.url $sink.existingSecretUrlKey) -}}
      {{- $problems = append $problems (printf "%s.url must be set to an address, for example https://hooks.example.com/tocsin; where that is a secret, existingSecret and existingSecretUrlKey instead, to the Secret and its key" $path) -}}
    {{- else if and $sink.url (not (include "tocsin.isAddress" $sink.url)) -}}
      {{- /* It may be a secret, so it is not shown. */ -}}
      {{- $problems = append $problems (printf "%s.url: there can be no such address: it begins with https:// or http://, needs a host, holds no credentials, and its port, if it has one, is at most 65535, for example https://hooks.example.com:9443/tocsin" $path) -}}
    {{- end -}}
    {{- if and (eq $sink.type "webhook") (hasKey $sink "batch") -}}
      {{- $problems = append $problems (printf "%s.batch: a webhook gets one record a request: leave it out" $path) -}}
    {{- end -}}
    {{- $hasToken := or $sink.token (include "tocsin.tokenKey" $sink) -}}
    {{- if and $hasToken (hasPrefix "http://" ($sink.url | default "")) (not (regexMatch "^http://(localhost|127\\.[0-9.]+|\\[::1\\])(:|/|$)" $sink.url)) -}}
      {{- $problems = append $problems (printf "%s.url: a token is sent over https only: begin the address with https://, or leave the token out" $path) -}}
    {{- end -}}
  {{- end -}}
  {{- if and $sink.token (include "tocsin.tokenKey" $sink) (ne $path "ingest") -}}
    {{- $problems = append $problems (printf "%s: token and existingSecret are both set, and only one can be meant: leave one of them out" $path) -}}
  {{- end -}}
  {{- $problems = concat $problems (include "tocsin.problems.span" (dict "path" (printf "%s.timeout" $path) "span" $sink.timeout "least" "1s" "most" "1m") | fromYamlArray) -}}
{{- end -}}

{{- $kinds := include "tocsin.kinds" . | fromYamlArray -}}
{{- range $kind, $rule := .rules -}}
  {{- if not (has $kind $kinds) -}}
    {{- $problems = append $problems (printf "rules.%s: there is no such kind: there are %s" $kind (join ", " $kinds)) -}}
  {{- else -}}
    {{- range $key := list "sustain" "hold" -}}
      {{- $problems = concat $problems (include "tocsin.problems.span" (dict "path" (printf "rules.%s.%s" $kind $key) "span" (index ($rule | default dict) $key) "least" "0s" "most" "24h") | fromYamlArray) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $key, $limits := dict "heartbeat" (list "1s" "150s") "session" (list "1m" "24h") "resync" (list "0s" "1h") -}}
  {{- $problems = concat $problems (include "tocsin.problems.span" (dict "path" (printf "reporting.%s" $key) "span" (get $.reporting $key) "least" (first $limits) "most" (last $limits)) | fromYamlArray) -}}
{{- end -}}
{{- $problems = concat $problems (include "tocsin.problems.span" (dict "path" "ingest.timeout" "span" .ingest.timeout "least" "1s" "most" "1m") | fromYamlArray) -}}
{{- toYaml $problems -}}
{{- end -}}

{{/* Whether a text is an address of http or https, as the aggregator reads it: not empty if so. */}}
{{- define "tocsin.isAddress" -}}
{{- $hex := "[0-9A-Fa-f]{1,4}" -}}
{{- $byte := "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])" -}}
{{- $four := printf "(%s[.]){3}%s" $byte $byte -}}
{{- $six := printf "(%s:){7}%s|(%s:){6}%s|(%s(:%s)*)?::((%s:)*(%s|%s))?" $hex $hex $hex $four $hex $hex $hex $hex $four -}}
{{- $begin := regexFind "^https?://([[][^]]*[]]|[^][/?#@:<>^|%`{}\"\\\\\\s]+)" . -}}
{{- $host := regexReplaceAll "^https?://" $begin "" -}}
{{- $rest := trimPrefix $begin . -}}
{{- $port := regexFind "^:[0-9]{1,9}" $rest | trimPrefix ":" | default "0" | atoi -}}
{{- /* A name whose last part is a number is an IPv4 address, or none. */ -}}
{{- $isName := and $host (not (regexMatch "^[[]|(^|[.])([0-9]+|0[Xx][0-9A-Fa-f]*)[.]?$" $host)) -}}
{{- $isHost := or $isName (regexMatch (printf "^(%s|[[](%s)[]])$" $four $six) $host) -}}
{{- if and $isHost (le $port 65535) (regexMatch "^(:[0-9]{0,9})?([/?#]\\S*)?$" $rest) -}}
yes
{{- end -}}
{{- end -}}

{{/* Of such an address scheme, host and port. */}}
{{- define "tocsin.origin" -}}
{{- regexFind "^https?://[^/?#]+" . -}}
{{- end -}}

{{/* Whether a text may be in the list of what is reached without a proxy, as the aggregator reads it: not empty if so. */}}
{{- define "tocsin.isDirect" -}}
{{- $ip := regexReplaceAll "/[0-9]{1,3}$" . "" -}}
{{- $isFour := and (regexMatch "^[0-9.]+$" $ip) (include "tocsin.isAddress" (printf "http://%s" $ip)) -}}
{{- $isSix := and (contains ":" $ip) (include "tocsin.isAddress" (printf "http://[%s]" $ip)) -}}
{{- $bits := regexFind "/[0-9]{1,3}$" . | trimPrefix "/" | default "0" | atoi -}}
{{- $isNetwork := or (and $isFour (le $bits 32)) (and $isSix (le $bits 128)) -}}
{{- /* A name whose last part is a number is an IPv4 address, or none. */ -}}
{{- $isName := and (regexMatch "^[A-Za-z0-9._-]+$" .) (not (regexMatch "(^|[.])[0-9]*$" (regexReplaceAll "[.]+$" . ""))) -}}
{{- if or (has . (list "" "*")) $isNetwork $isName -}}
yes
{{- end -}}
{{- end -}}

{{/*
What is wrong with the quantities of {path, resources}: a list of sentences. Kubernetes takes memory of a few bytes (`256`), and
of less than one (`64m`), which nobody means.
*/}}
{{- define "tocsin.problems.resources" -}}
{{- $problems := list -}}
{{- $sizes := dict "requests" dict "limits" dict -}}
{{- range $which := list "requests" "limits" -}}
  {{- range $name, $quantity := get ($.resources | default dict) $which | default dict -}}
    {{- $isMemory := or (has $name (list "memory" "ephemeral-storage")) (hasPrefix "hugepages-" $name) -}}
    {{- $units := ternary "k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei" "n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei" $isMemory -}}
    {{- $example := ternary "64Mi or 1Gi" "50m (0.05 of a core) or 2" $isMemory -}}
    {{- $isQuantity := regexMatch (printf "^([0-9]+([.][0-9]*)?|[.][0-9]+)(%s|[eE][+-]?[0-9]+)?$" $units) ($quantity | toString) -}}
    {{- $size := include "tocsin.size" ($quantity | toString) | float64 -}}
    {{- if not (and $isQuantity (or (not $isMemory) (ge $size 1e6) (eq $size 0.0))) -}}
      {{- $problems = append $problems (printf "%s.%s.%s: expected a quantity as Kubernetes writes them, for example %s, found %v" $.path $which $name $example $quantity) -}}
    {{- else -}}
      {{- $_ := set (get $sizes $which) $name $size -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $name, $limit := $sizes.limits -}}
  {{- if and (hasKey $sizes.requests $name) (lt $limit (get $sizes.requests $name)) -}}
    {{- $problems = append $problems (printf "%s.limits.%s: %v is less than what is requested, %v: raise it, or lower %s.requests.%s" $.path $name (get $.resources.limits $name) (get $.resources.requests $name) $.path $name) -}}
  {{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{/* A quantity such as 64Mi as a number. */}}
{{- define "tocsin.size" -}}
{{- $factors := dict "n" 1e-9 "u" 1e-6 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
      "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- $unit := regexFind "[A-Za-z]+$" . -}}
{{- mulf (trimSuffix $unit . | float64) (get $factors $unit | default 1.0) -}}
{{- end -}}

{{/* Whether a span is within its bounds: {path, span, least, most}. A list of no or one sentence. */}}
{{- define "tocsin.problems.span" -}}
{{- $span := ternary .least .span (kindIs "invalid" .span) -}}
{{- if not (and (kindIs "string" $span) (regexMatch "^([0-9]{1,9}(ms|s|m|h|d))+$" ($span | toString))) -}}
- {{ printf "%s: expected a duration with its unit, for example 30s, 5m or 1h, found %v" .path $span | quote }}
{{- else -}}
{{- $millis := include "tocsin.milliseconds" $span | int64 -}}
{{- if or (lt $millis (include "tocsin.milliseconds" .least | int64)) (gt $millis (include "tocsin.milliseconds" .most | int64)) -}}
- {{ printf "%s must be from %s to %s, found %s" .path .least .most $span | quote }}
{{- else -}}
[]
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A span such as 1h30m in milliseconds. */}}
{{- define "tocsin.milliseconds" -}}
{{- $factors := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $total := 0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
  {{- $total = add $total (mul (regexFind "[0-9]+" . | int64) (get $factors (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $total -}}
{{- end -}}
