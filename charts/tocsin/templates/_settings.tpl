{{/*
What the chart goes by, as YAML: the given values, the defaults where there is none (after an upgrade with --reuse-values new
ones are missing), and aliases under the names that they stand for. Beside them `names`, `aliasesUsed` and `hasAgents`. What
cannot be used fails here, all of it at once.
*/}}
{{- define "tocsin.settings" -}}
{{- $defaults := include "tocsin.defaults" . | fromYaml -}}
{{- $settings := dict -}}
{{- $found := dict -}}
{{- range $path, $default := $defaults -}}
  {{- include "tocsin.find" (dict "in" $.Values "path" $path "out" $found) -}}
  {{- $value := ternary $default $found.value (kindIs "invalid" $found.value) -}}
  {{- include "tocsin.put" (dict "in" $settings "path" $path "value" $value) -}}
{{- end -}}

{{- $foreign := include "tocsin.aliases.foreign" . | fromYaml -}}
{{- $used := list -}}
{{- $said := dict -}}
{{- $problems := list -}}
{{- range $alias, $names := include "tocsin.aliases" . | fromYaml -}}
  {{- include "tocsin.find" (dict "in" $.Values "path" $alias "out" $found) -}}
  {{- if and $found.value (not (hasKey $foreign $alias)) -}}
    {{- $used = append $used (dict "alias" $alias "names" $names) -}}
    {{- range $name := $names -}}
      {{- $value := $found.value -}}
      {{- $default := get $defaults $name -}}
      {{- if kindIs "map" $value -}}{{- $value = mergeOverwrite (deepCopy $default) $value -}}{{- end -}}
      {{- $own := dict -}}
      {{- include "tocsin.find" (dict "in" $.Values "path" $name "out" $own) -}}
      {{- $isSet := and (not (kindIs "invalid" $own.value)) (ne (toJson $own.value) (toJson $default)) -}}
      {{- $other := get $said $name -}}
      {{- if $isSet -}}
        {{- if ne (toJson $own.value) (toJson $value) -}}
          {{- $problems = append $problems (printf "%s is another name for %s, and they differ: keep one" $alias $name) -}}
        {{- end -}}
      {{- else if and $other (ne (toJson $other.value) (toJson $value)) -}}
        {{- $problems = append $problems (printf "%s and %s differ, and both mean %s: set %s only" $other.alias $alias $name $name) -}}
      {{- end -}}
      {{- $_ := set $said $name (dict "alias" $alias "value" $value) -}}
      {{- include "tocsin.put" (dict "in" $settings "path" $name "value" $value) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}

{{- range $key := list "sinks" "rules" -}}
  {{- range $name, $value := get $settings $key -}}
    {{- if kindIs "invalid" $value -}}{{- $_ := unset (get $settings $key) $name -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $_ := set $settings "aliasesUsed" $used -}}
{{- $_ := set $settings "names" (include "tocsin.names" . | fromYaml) -}}
{{- $_ := set $settings "logLevel" (lower $settings.logLevel) -}}
{{- $_ := set $settings "hasAgents" (and $settings.nodeAgent.enabled (not $settings.rbac.namespaceRestriction.enabled)) -}}
{{- $problems = concat $problems (include "tocsin.problems" $settings | fromYamlArray) -}}
{{- with $problems -}}
  {{- fail (printf "the values cannot be used:\n  - %s" (join "\n  - " (uniq .))) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* Looks up {in: map, path: "a.b.c"} and leaves it in {out}.value: nothing where there is none. */}}
{{- define "tocsin.find" -}}
{{- $at := .in -}}
{{- range $key := splitList "." .path -}}
  {{- if and (kindIs "map" $at) (hasKey $at $key) -}}
    {{- $at = get $at $key -}}
  {{- else -}}
    {{- $at = $.nothing -}}
  {{- end -}}
{{- end -}}
{{- $_ := set .out "value" $at -}}
{{- end -}}

{{/* Puts {value} into {in: map, path: "a.b.c"}. */}}
{{- define "tocsin.put" -}}
{{- $at := .in -}}
{{- $keys := splitList "." .path -}}
{{- range $key := initial $keys -}}
  {{- if not (hasKey $at $key) -}}{{- $_ := set $at $key dict -}}{{- end -}}
  {{- $at = get $at $key -}}
{{- end -}}
{{- $_ := set $at (last $keys) .value -}}
{{- end -}}
