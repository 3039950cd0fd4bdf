{{- define "pgdbm.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimAll "-" -}}
{{- end -}}

{{- define "pgdbm.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimAll "-" -}}
{{- else if contains (include "pgdbm.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimAll "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "pgdbm.name" .) | trunc 63 | trimAll "-" -}}
{{- end -}}
{{- end -}}

{{- /* Quoted: a release may be called 2024. */ -}}
{{- define "pgdbm.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pgdbm.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "pgdbm.labels" -}}
{{- include "pgdbm.labelsWith" (list . dict) -}}
{{- end -}}

{{- /* A list of the root context and labels that go before the common ones. */ -}}
{{- define "pgdbm.labelsWith" -}}
{{- $root := index . 0 -}}
{{- with mergeOverwrite (dict) $root.Values.commonLabels (index . 1) -}}
{{ toYaml . }}
{{ end -}}
{{ include "pgdbm.selectorLabels" $root }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
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
