{{- /* The environment of the service. Fails the rendering if a variable would be set twice: the API server refuses it. */ -}}
{{- define "pgdbm.env" -}}
{{- $env := include "pgdbm.allEnv" . -}}
{{- $names := list -}}
{{- range fromYamlArray $env -}}
{{- if has .name $names -}}
{{- fail (printf "%s is set twice: by extraEnv, and by settings or the chart. Use the chart's value for it" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $env -}}
{{- end -}}

{{- define "pgdbm.allEnv" -}}
{{- $auth := .Values.auth -}}
{{- include "pgdbm.databaseEnv" . }}
- name: PGDBM_HOST
  value: "0.0.0.0"
- name: PGDBM_PORT
  value: "8000"
- name: PGDBM_MIGRATIONS_REPO
  value: {{ include "pgdbm.repositoryPath" . | quote }}
- name: PGDBM_LOG_LEVEL
  value: {{ .Values.log.level | quote }}
- name: PGDBM_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
- name: PGDBM_SHUTDOWN_GRACE_S
  value: {{ sub .Values.terminationGracePeriodSeconds 10 | quote }}
- name: PGDBM_AUTH
  value: {{ $auth.mode }}
{{- if eq $auth.mode "jwt" }}
- name: PGDBM_JWT_ISSUER
  value: {{ $auth.jwt.issuer | quote }}
- name: PGDBM_JWT_AUDIENCE
  value: {{ $auth.jwt.audience | quote }}
- name: PGDBM_JWT_SCOPE_CLAIM
  value: {{ $auth.jwt.scopeClaim | quote }}
- name: PGDBM_JWT_SUBJECT_SCOPES
  value: {{ $auth.jwt.subjectScopes | toJson | quote }}
{{- if $auth.jwt.inCluster }}
- name: PGDBM_JWKS_URL
  value: {{ default "https://kubernetes.default.svc/openid/v1/jwks" $auth.jwt.jwksUrl | quote }}
- name: PGDBM_JWKS_CA_FILE
  value: /var/run/pgdbm/cluster/ca.crt
- name: PGDBM_JWKS_TOKEN_FILE
  value: /var/run/pgdbm/cluster/token
{{- else if $auth.jwt.jwksUrl }}
- name: PGDBM_JWKS_URL
  value: {{ $auth.jwt.jwksUrl | quote }}
{{- end }}
{{- else if and (eq $auth.mode "none") .Values.allowUnauthenticated }}
# No authentication: the ClusterIP and the NetworkPolicy restrict the access.
- name: PGDBM_ALLOW_UNAUTHENTICATED
  value: "true"
{{- if not (hasKey .Values.settings "PGDBM_ALLOWED_HOSTS") }}
{{- $name := include "pgdbm.fullname" . }}
- name: PGDBM_ALLOWED_HOSTS
  value: {{ printf "%s, %s.%s, %s.%s.svc, %s.%s.svc.cluster.local" $name $name .Release.Namespace $name .Release.Namespace $name .Release.Namespace | quote }}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}
