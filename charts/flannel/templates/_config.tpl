{{- define "net-conf" -}}
{{- $four := list -}}{{- $six := list -}}
{{- range .Values.networks -}}
{{- if contains ":" . }}{{ $six = append $six . }}{{ else }}{{ $four = append $four . }}{{ end -}}
{{- end -}}
{{- if or (gt (len $four) 1) (gt (len $six) 1) (not .Values.networks) }}
{{- fail "networks has one IPv4 network at most, one IPv6 network at most, and one of them" }}
{{- end -}}
{{- $conf := dict "EnableIPv4" (not (empty $four)) "EnableIPv6" (not (empty $six)) "EnableNFTables" .Values.nftables -}}
{{- if $four }}{{ $_ := set $conf "Network" (first $four) }}{{ end -}}
{{- if $six }}{{ $_ := set $conf "IPv6Network" (first $six) }}{{ end -}}
{{- $backend := dict "Type" .Values.backend -}}
{{- if eq .Values.backend "vxlan" -}}
{{- $_ := set $backend "DirectRouting" .Values.directRouting -}}
{{- if .Values.mtu }}{{ $_ := set $backend "MTU" (int .Values.mtu) }}{{ end -}}
{{- else if ne .Values.backend "host-gw" -}}
{{- fail "backend is vxlan or host-gw" -}}
{{- end -}}
{{- set $conf "Backend" $backend | toPrettyJson -}}
{{- end }}

{{- define "cni-conf" -}}
{{- $delegate := dict "hairpinMode" true "isDefaultGateway" true -}}
{{- $flannel := dict "type" "flannel" "delegate" $delegate -}}
{{- $portmap := dict "type" "portmap" "capabilities" (dict "portMappings" true) -}}
{{- dict "name" "cbr0" "cniVersion" .Values.cniVersion "plugins" (list $flannel $portmap) | toPrettyJson -}}
{{- end }}
