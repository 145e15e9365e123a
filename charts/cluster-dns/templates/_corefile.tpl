{{/* The version in the image's tag. */}}
{{- define "version" -}}
{{- $tag := regexFind ":v?[0-9]+\\.[0-9]+\\.[0-9]+" .Values.image | trimPrefix ":" -}}
{{- required "image must have a tag such as v1.14.2" $tag -}}
{{- end }}

{{/* ADDRESS:PORT of a list [address, port]. */}}
{{- define "endpoint" -}}
{{- $address := first . -}}
{{- if contains ":" $address }}[{{ $address }}]{{ else }}{{ $address }}{{ end }}:{{ last . }}
{{- end }}

{{- define "sockets" -}}
{{- if and .root.Values.multisocket (gt (int .threads) 1) (semverCompare ">=1.12.0-0" (include "version" .root)) }}
    multisocket {{ .threads }}
{{- end }}
{{- end }}

{{/* Servers beside one another, of a dict `root`, `servers`, `tcp`: the next is asked when one is silent, and nobody
     when all are. */}}
{{- define "forward" -}}
    forward . {{ join " " .servers }} {
        max_concurrent 10000
        {{- if .tcp }}
        force_tcp
        {{- end }}
        {{- if semverCompare ">=1.12.1-0" (include "version" .root) }}
        failfast_all_unhealthy_upstreams
        {{- end }}
    }
{{- end }}

{{/* The last block: what no zone above has. An SOA tells caches how long this holds. */}}
{{- define "unknown" -}}
    template ANY ANY {
        rcode NXDOMAIN
        authority ". 60 IN SOA ns.dns.{{ .Values.cluster.domain }}. hostmaster.{{ .Values.cluster.domain }}. 1 3600 600 86400 60"
    }
{{- end }}

{{- define "corefile" -}}
(common) {
    errors {
        consolidate 1m ".*"
    }
    prometheus :9153
    {{- include "sockets" (dict "root" . "threads" .Values.threads) }}
}

# The cluster's own names. Not cached: the plugin has them in memory, and a cache would only make changes late.
{{ .Values.cluster.domain }} {{ join " " .Values.cluster.networks }} {
    import common
    health :8080 {
        lameduck 5s
    }
    ready :8181
    kubernetes {{ .Values.cluster.domain }} {{ join " " .Values.cluster.networks }} {
        pods insecure
        ttl 30
    }
    loadbalance
}
{{- if .Values.site.zones }}

# The site's names.
{{ join " " .Values.site.zones }} {
    import common
    cache 60
    {{ include "forward" (dict "root" . "servers" .Values.site.resolvers) }}
}
{{- end }}

# Everything else.
. {
    import common
{{- if .Values.upstream }}
    cache 300
    {{ include "forward" (dict "root" . "servers" .Values.upstream) }}
{{- else }}
    {{ include "unknown" . }}
{{- end }}
}
{{- end }}

{{- define "cache-corefile" -}}
{{- $first := first .Values.cache.addresses -}}
(common) {
    bind {{ join " " .Values.cache.addresses }}
    errors {
        consolidate 1m ".*"
    }
    prometheus {{ include "endpoint" (list $first 9253) }}
    {{- include "sockets" (dict "root" . "threads" .Values.cache.threads) }}
}

# `verify` asks before it gives an old answer: an address that has moved is not given while somebody knows better.
(keep) {
    cache {
        success {{ .Values.cache.size }} 300
        denial {{ .Values.cache.size }} 30
        serve_stale {{ .Values.cache.stale }} verify
    }
}

# The cluster's names, over TCP: nothing is lost on the way, and a service's address needs no entry for each query.
{{ .Values.cluster.domain }} {{ join " " .Values.cluster.networks }} {
    import common
    import keep
    health {{ include "endpoint" (list $first 8080) }} {
        lameduck 5s
    }
    forward . {{ join " " .Values.cluster.addresses }} {
        force_tcp
        max_concurrent 10000
    }
}
{{- if .Values.site.zones }}

# The site's names, straight from its servers: they are there when the cluster is not.
{{ join " " .Values.site.zones }} {
    import common
    import keep
    {{ include "forward" (dict "root" . "servers" .Values.site.resolvers "tcp" true) }}
}
{{- end }}

# Everything else.
. {
    import common
{{- if .Values.upstream }}
    import keep
    {{ include "forward" (dict "root" . "servers" .Values.upstream "tcp" true) }}
{{- else }}
    {{ include "unknown" . }}
{{- end }}
}
{{- end }}

{{/* What would be a Corefile that starts and answers wrong. */}}
{{- define "checked" -}}
{{- if and .Values.site.zones (not .Values.site.resolvers) }}{{ fail "site.zones needs site.resolvers" }}{{ end -}}
{{- if not .Values.cluster.addresses }}{{ fail "cluster.addresses must name the address of the service kube-dns" }}{{ end -}}
{{- if not (has .Values.antiAffinity (list "preferred" "required")) }}{{ fail "antiAffinity is preferred or required" }}{{ end -}}
{{- range concat .Values.site.resolvers .Values.upstream -}}
{{- if has . (concat $.Values.cluster.addresses $.Values.cache.addresses) -}}
{{- fail (printf "%s would ask itself: it is an address of the cluster's own name service" .) -}}
{{- end -}}
{{- end -}}
{{- end }}
