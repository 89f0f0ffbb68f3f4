{{- define "extproc.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "extproc.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "extproc.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "extproc.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "extproc.selector" -}}
app.kubernetes.io/name: {{ include "extproc.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The server's pods; Valkey and the controller have other components. */}}
{{- define "extproc.serverSelector" -}}
{{ include "extproc.selector" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "extproc.labels" -}}
{{ include "extproc.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "extproc.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "extproc.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "extproc.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "extproc.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ include "extproc.fullname" . }}-tls
{{- else -}}
{{ required "tls: set tls.existingSecret or tls.certManager.enabled; or tls.enabled=false and insecurePlaintext=true where the network is private" .Values.tls.existingSecret }}
{{- end -}}
{{- end -}}

{{/* What cannot be safe is refused with the next step. */}}
{{- define "extproc.check" -}}
{{- if and (not .Values.config.existingConfigMap) (not .Values.config.settings) -}}
{{- fail "config: set config.settings (docs/configuration.md) or config.existingConfigMap" -}}
{{- end -}}
{{- if hasKey .Values.controller.settings "listen" -}}
{{- fail "controller.settings.listen: the chart writes it, from mode, tls, service and metrics" -}}
{{- end -}}
{{- if and .Values.config.existingConfigMap .Values.config.settings -}}
{{- fail "config: config.settings and config.existingConfigMap exclude each other" -}}
{{- end -}}
{{- if hasKey .Values.config.settings "listen" -}}
{{- fail "config.settings.listen: the chart writes it, from mode, tls, service and metrics; use config.existingConfigMap for your own" -}}
{{- end -}}
{{- if and (eq .Values.mode "service") (not .Values.tls.enabled) (not .Values.insecurePlaintext) -}}
{{- fail "tls.enabled is false: bearer tokens would cross the network in clear text; set insecurePlaintext=true only where it is private" -}}
{{- end -}}
{{- if and (eq .Values.mode "sidecar") (not .Values.sidecar.existingConfigMap) (not .Values.sidecar.envoyYaml) -}}
{{- fail "sidecar: set sidecar.existingConfigMap or sidecar.envoyYaml, with what `extproc envoy --config F` prints" -}}
{{- end -}}
{{- if and .Values.valkey.enabled (not .Values.sharedStore.existingSecret) -}}
{{- fail "sharedStore.existingSecret: Valkey needs a Secret with the keys secret and password" -}}
{{- end -}}
{{- if and .Values.envoyGateway.admissionPolicy (not .Values.envoyGateway.gateway) -}}
{{- fail "envoyGateway.gateway: the admission policy guards one Gateway" -}}
{{- end -}}
{{- end -}}

{{/* `listen` of extproc's configuration, and `cache.shared`. */}}
{{- define "extproc.listen" -}}
{{- if eq .Values.mode "sidecar" }}
grpc: unix:/run/extproc/extproc.sock
{{- else }}
grpc: 0.0.0.0:50051
{{- if .Values.tls.enabled }}
tls:
  certificate: /etc/extproc/tls/tls.crt
  private_key: /etc/extproc/tls/tls.key
  {{- if .Values.tls.clientCertificates }}
  client_ca: /etc/extproc/tls/ca.crt
  {{- with .Values.tls.allowedClients }}
  allowed_clients: {{ toJson . }}
  {{- end }}
  {{- end }}
{{- else }}
insecure_plaintext: true
{{- end }}
{{- end }}
admin: 0.0.0.0:{{ .Values.metrics.port }}
admin_grpc: unix:/run/extproc-admin/admin.sock
{{- end -}}

{{- define "extproc.store" -}}
{{- if .Values.valkey.enabled -}}
{{- if .Values.valkey.tlsSecret }}
url: valkeys://{{ include "extproc.fullname" . }}-valkey.{{ .Release.Namespace }}.svc:6379
ca_file: /etc/extproc/store-tls/ca.crt
{{- else }}
url: valkey://{{ include "extproc.fullname" . }}-valkey.{{ .Release.Namespace }}.svc:6379
insecure_plaintext: true
{{- end }}
username: extproc
password_file: /etc/extproc/store/password
secret_file: /etc/extproc/store/secret
{{- end -}}
{{- end -}}

{{/* Settings with the chart's own sections. */}}
{{- define "extproc.settings" -}}
{{ include "extproc.completed" (dict "root" . "settings" .Values.config.settings) }}
{{- end -}}

{{- define "extproc.completed" -}}
{{- $settings := deepCopy .settings -}}
{{- with .root -}}
{{- $_ := set $settings "listen" (include "extproc.listen" . | fromYaml) -}}
{{- $store := .Values.sharedStore.settings -}}
{{- if .Values.valkey.enabled -}}
{{- $store = include "extproc.store" . | fromYaml -}}
{{- end -}}
{{- if $store -}}
{{- $cache := default (dict) $settings.cache -}}
{{- $_ := set $cache "shared" $store -}}
{{- $_ := set $settings "cache" $cache -}}
{{- end -}}
{{- end -}}
{{ toYaml $settings }}
{{- end -}}

{{- define "extproc.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "extproc.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}
