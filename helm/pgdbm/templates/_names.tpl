{{- define "pgdbm.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "pgdbm.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "pgdbm.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "pgdbm.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pgdbm.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pgdbm.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pgdbm.labels" -}}
{{ include "pgdbm.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "pgdbm.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pgdbm.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pgdbm.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Also where a contradiction between values ends the rendering: each is one line, and names the values. */ -}}
{{- define "pgdbm.databaseSecret" -}}
{{- if and .Values.database.url .Values.database.existingSecret -}}
{{- fail "set database.url or database.existingSecret, not both" -}}
{{- end -}}
{{- if not (or .Values.database.url .Values.database.existingSecret) -}}
{{- fail "no database: set database.existingSecret to the name of a Secret that holds its URL, or database.url" -}}
{{- end -}}
{{- range $name := list "url" "directUrl" -}}
{{- $url := get $.Values.database $name -}}
{{- if and $url (not (regexMatch "^postgres(ql)?://\\S+$" $url)) -}}
{{- fail (printf "database.%s must be a URL like postgresql://user:password@host:5432/name" $name) -}}
{{- end -}}
{{- end -}}
{{- if or (and .Values.database.directUrl (not .Values.database.url)) (and .Values.database.existingSecretDirectUrlKey (not .Values.database.existingSecret)) -}}
{{- fail "database.directUrl goes with database.url, and database.existingSecretDirectUrlKey with database.existingSecret" -}}
{{- end -}}
{{- default (include "pgdbm.fullname" .) .Values.database.existingSecret -}}
{{- end -}}

{{- define "pgdbm.databaseSecretKey" -}}
{{- if .Values.database.existingSecret -}}{{ .Values.database.existingSecretKey }}{{- else -}}DATABASE_URL{{- end -}}
{{- end -}}

{{- define "pgdbm.directUrlKey" -}}
{{- if .Values.database.directUrl -}}PGDBM_DIRECT_URL{{- else -}}{{ .Values.database.existingSecretDirectUrlKey }}{{- end -}}
{{- end -}}
