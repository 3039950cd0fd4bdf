{{- /* Fails the rendering if values contradict each other. Each message is one line that names the values. */ -}}
{{- define "pgdbm.checkDatabase" -}}
{{- $database := .Values.database -}}
{{- if and $database.url $database.existingSecret -}}
{{- fail "set database.url or database.existingSecret, not both" -}}
{{- end -}}
{{- if not (or $database.url $database.existingSecret) -}}
{{- fail "no database: set database.existingSecret to the name of a Secret that holds its URL, or database.url" -}}
{{- end -}}
{{- range $name := list "url" "directUrl" -}}
{{- $url := get $database $name -}}
{{- if and $url (not (regexMatch "^postgres(ql)?://\\S+$" $url)) -}}
{{- fail (printf "database.%s must be a URL like postgresql://user:password@host:5432/name" $name) -}}
{{- end -}}
{{- end -}}
{{- if or (and $database.directUrl (not $database.url)) (and $database.existingSecretDirectUrlKey (not $database.existingSecret)) -}}
{{- fail "database.directUrl goes with database.url, and database.existingSecretDirectUrlKey with database.existingSecret" -}}
{{- end -}}
{{- if include "pgdbm.databaseInParts" . -}}
{{- if not $database.existingSecret -}}
{{- fail "database.secretKeys goes with database.existingSecret" -}}
{{- end -}}
{{- range $part := list "host" "name" "user" -}}
{{- if not (or (get $database $part) (get $database.secretKeys $part)) -}}
{{- fail (printf "database.secretKeys is set: set database.%s, or database.secretKeys.%s" $part $part) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- range $part := list "host" "port" "name" "user" -}}
{{- if get $database $part -}}
{{- fail (printf "database.%s goes with database.secretKeys; a URL contains it already" $part) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $database.caBundle.configMap $database.caBundle.secret -}}
{{- fail "set database.caBundle.configMap or database.caBundle.secret, not both" -}}
{{- end -}}
{{- end -}}

{{- define "pgdbm.databaseInParts" -}}
{{- range $_, $key := .Values.database.secretKeys -}}{{- if $key -}}true{{- end -}}{{- end -}}
{{- end -}}

{{- define "pgdbm.caBundle" -}}
{{- if or .Values.database.caBundle.configMap .Values.database.caBundle.secret -}}true{{- end -}}
{{- end -}}

{{- define "pgdbm.databaseSecret" -}}
{{- include "pgdbm.checkDatabase" . -}}
{{- default (include "pgdbm.fullname" .) .Values.database.existingSecret -}}
{{- end -}}

{{- define "pgdbm.databaseEnv" -}}
{{- $database := .Values.database -}}
{{- $secret := include "pgdbm.databaseSecret" . -}}
{{- if include "pgdbm.databaseInParts" . -}}
# The parts as libpq's variables, because a password in a URL would have to be percent-encoded.
- name: DATABASE_URL
  value: "postgresql://"
{{- range $part, $name := dict "host" "PGHOST" "port" "PGPORT" "name" "PGDATABASE" "user" "PGUSER" "password" "PGPASSWORD" }}
{{- $key := get $database.secretKeys $part }}
{{- if $key }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret | quote }}
      key: {{ $key | quote }}
{{- else if get $database $part }}
- name: {{ $name }}
  value: {{ get $database $part | toString | quote }}
{{- end }}
{{- end }}
{{- else -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $secret | quote }}
      key: {{ ternary $database.existingSecretKey "DATABASE_URL" (not (empty $database.existingSecret)) | quote }}
{{- end }}
{{- with $database.directUrl | empty | ternary $database.existingSecretDirectUrlKey "PGDBM_DIRECT_URL" }}
- name: PGDBM_DIRECT_URL
  valueFrom:
    secretKeyRef:
      name: {{ $secret | quote }}
      key: {{ . | quote }}
{{- end }}
{{- with default (include "pgdbm.caBundle" . | empty | ternary "" "verify-full") $database.sslMode }}
- name: PGSSLMODE
  value: {{ . }}
{{- end }}
{{- if include "pgdbm.caBundle" . }}
- name: PGSSLROOTCERT
  value: {{ printf "/etc/pgdbm/database-ca/%s" $database.caBundle.key | quote }}
{{- end }}
{{- end -}}

{{- define "pgdbm.caBundleVolume" -}}
{{- with .Values.database.caBundle -}}
- name: database-ca
  {{- if .configMap }}
  configMap:
    name: {{ .configMap | quote }}
  {{- else }}
  secret:
    secretName: {{ .secret | quote }}
  {{- end }}
{{- end }}
{{- end -}}
