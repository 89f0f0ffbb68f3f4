{{/* The server's container, in both modes. No probe asks more than this listener: a provider that is down must not
restart anything. */}}
{{- define "extproc.server" -}}
name: extproc
image: {{ include "extproc.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - serve
  - --config=/etc/extproc/config/{{ .Values.config.key }}
  {{- range .Values.extraArgs }}
  - {{ . | quote }}
  {{- end }}
{{- with .Values.env }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq .Values.mode "sidecar" }}
restartPolicy: Always  # a sidecar: starts before Envoy, ends after it
{{- end }}
ports:
  {{- if eq .Values.mode "service" }}
  - {name: grpc, containerPort: 50051}
  {{- end }}
  - {name: metrics, containerPort: {{ .Values.metrics.port }}}
startupProbe:
  exec: {command: [extproc, health, --config=/etc/extproc/config/{{ .Values.config.key }}]}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
readinessProbe:
  exec: {command: [extproc, health, --config=/etc/extproc/config/{{ .Values.config.key }}]}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext: {{- include "extproc.containerSecurity" . | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/extproc/config, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  - {name: admin, mountPath: /run/extproc-admin}
  {{- if eq .Values.mode "sidecar" }}
  - {name: socket, mountPath: /run/extproc}
  {{- else if .Values.tls.enabled }}
  - {name: tls, mountPath: /etc/extproc/tls, readOnly: true}
  {{- end }}
  {{- if .Values.sharedStore.existingSecret }}
  - {name: store, mountPath: /etc/extproc/store, readOnly: true}
  {{- end }}
  {{- if and .Values.valkey.enabled .Values.valkey.tlsSecret }}
  - {name: store-tls, mountPath: /etc/extproc/store-tls, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "extproc.volumes" -}}
- name: config
  configMap: {name: {{ default (include "extproc.fullname" .) .Values.config.existingConfigMap }}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
- name: admin
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- if eq .Values.mode "sidecar" }}
- name: socket
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: envoy
  configMap: {name: {{ default (printf "%s-envoy" (include "extproc.fullname" .)) .Values.sidecar.existingConfigMap }}}
{{- else if .Values.tls.enabled }}
- name: tls
  secret: {secretName: {{ include "extproc.tlsSecret" . }}, defaultMode: 0440}
{{- end }}
{{- if .Values.sharedStore.existingSecret }}
- name: store
  secret: {secretName: {{ .Values.sharedStore.existingSecret }}, defaultMode: 0440}
{{- end }}
{{- if and .Values.valkey.enabled .Values.valkey.tlsSecret }}
- name: store-tls
  secret:
    secretName: {{ .Values.valkey.tlsSecret }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
