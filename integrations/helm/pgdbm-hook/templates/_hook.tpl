{{- define "pgdbm-hook.values" -}}
{{- $values := index .Values "pgdbm-hook" -}}
{{- if not (and $values $values.module $values.server) -}}
{{- fail "set pgdbm-hook.module and pgdbm-hook.server" -}}
{{- end -}}
{{- if and $values.token.secret $values.token.audience -}}
{{- fail "set pgdbm-hook.token.secret or pgdbm-hook.token.audience, not both" -}}
{{- end -}}
{{- $values | toYaml -}}
{{- end -}}

{{- /* Unique for each revision: a Job cannot be changed, and the previous one may be kept for its log. Unique for each
module, too: the charts of a release may each have one. A name that is changed or cut gets a hash. */ -}}
{{- define "pgdbm-hook.name" -}}
{{- $module := (include "pgdbm-hook.values" . | fromYaml).module | toString -}}
{{- $slug := regexReplaceAll "[^a-z0-9]+" (lower $module) "-" | trimAll "-" -}}
{{- $full := eq .Release.Name $slug | ternary $slug (printf "%s-%s" .Release.Name $slug) -}}
{{- if or (ne $module $slug) (gt (len $full) 40) -}}
{{- $hash := printf "%s/%s" .Release.Name $module | sha256sum | trunc 8 -}}
{{- $full = printf "%s-%s" ($full | trunc 31 | trimAll "-") $hash -}}
{{- end -}}
{{- printf "%s-migrate-%d" $full .Release.Revision -}}
{{- end -}}

{{- define "pgdbm-hook.labels" -}}
app.kubernetes.io/name: {{ include "pgdbm-hook.name" . | trimSuffix (printf "-%d" .Release.Revision) | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- /* Fails the rendering if a ConfigMap cannot hold the files: each would be lost, or the API server would refuse it. */ -}}
{{- define "pgdbm-hook.checkFiles" -}}
{{- $glob := index . 0 -}}
{{- $names := dict -}}
{{- $size := 0 -}}
{{- range $path, $content := index . 1 -}}
{{- $name := base $path -}}
{{- if hasKey $names $name -}}
{{- fail (printf "pgdbm-hook.files.glob matches %s and %s, and a ConfigMap has no folders: use pgdbm-hook.files.image" (get $names $name) $path) -}}
{{- end -}}
{{- if not (regexMatch "^[-._a-zA-Z0-9]{1,253}$" $name) -}}
{{- fail (printf "the name of a file in a ConfigMap has letters, digits, dots, - and _ only: rename %q, or use pgdbm-hook.files.image" $path) -}}
{{- end -}}
{{- $_ := set $names $name $path -}}
{{- $size = add $size (len $name) (len $content) -}}
{{- end -}}
{{- if not $names -}}
{{- fail (printf "pgdbm-hook.files.glob matches no file of the chart: %s" $glob) -}}
{{- end -}}
{{- if gt $size 1048576 -}}
{{- fail (printf "the files of pgdbm-hook.files.glob have %d bytes, and a ConfigMap may have 1048576: use pgdbm-hook.files.image" $size) -}}
{{- end -}}
{{- end -}}

{{- define "pgdbm-hook.env" -}}
{{- $values := include "pgdbm-hook.values" . | fromYaml -}}
- name: PGDBM_SERVER
  value: {{ $values.server | quote }}
{{- if $values.allowHttp }}
- name: PGDBM_ALLOW_HTTP
  value: "1"
{{- end }}
{{- if $values.token.audience }}
- name: PGDBM_TOKEN_FILE
  value: /var/run/pgdbm/token
{{- else if $values.token.secret }}
- name: PGDBM_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $values.token.secret | quote }}
      key: {{ $values.token.key | quote }}
{{- end }}
{{- end -}}

{{- /* The volume and the mount that pgdbm-hook.wait needs for a token of the service account, as list items. */ -}}
{{- define "pgdbm-hook.tokenVolume" -}}
{{- $values := include "pgdbm-hook.values" . | fromYaml -}}
{{- if $values.token.audience }}
- name: pgdbm-token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ $values.token.audience | quote }}
          expirationSeconds: 3600
{{- end }}
{{- end -}}

{{- define "pgdbm-hook.tokenMount" -}}
{{- $values := include "pgdbm-hook.values" . | fromYaml -}}
{{- if $values.token.audience }}
- name: pgdbm-token
  mountPath: /var/run/pgdbm
  readOnly: true
{{- end }}
{{- end -}}

{{- define "pgdbm-hook.container" -}}
{{- $values := include "pgdbm-hook.values" . | fromYaml -}}
image: {{ $values.image | quote }}
imagePullPolicy: {{ $values.pullPolicy }}
env:
  {{- include "pgdbm-hook.env" . | nindent 2 }}
{{- with $values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The hook: include it in a template of the application's chart. */ -}}
{{- define "pgdbm-hook.migrate" -}}
{{- $values := include "pgdbm-hook.values" . | fromYaml -}}
{{- $name := include "pgdbm-hook.name" . -}}
{{- if not $values.files.image }}
{{- $files := .Files.Glob $values.files.glob }}
{{- include "pgdbm-hook.checkFiles" (list $values.files.glob $files) }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $name }}
  labels:
    {{- include "pgdbm-hook.labels" . | nindent 4 }}
    app.kubernetes.io/managed-by: {{ .Release.Service }}
  annotations:
    helm.sh/hook: {{ $values.hooks | quote }}
    # Before the Job, which mounts it.
    helm.sh/hook-weight: {{ sub (int $values.weight) 1 | quote }}
    helm.sh/hook-delete-policy: before-hook-creation
data:
  {{- $files.AsConfig | nindent 2 }}
---
{{- end }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels:
    {{- include "pgdbm-hook.labels" . | nindent 4 }}
    app.kubernetes.io/managed-by: {{ .Release.Service }}
  annotations:
    helm.sh/hook: {{ $values.hooks | quote }}
    helm.sh/hook-weight: {{ $values.weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  backoffLimit: {{ int $values.backoffLimit }}
  activeDeadlineSeconds: {{ int $values.deadline }}
  ttlSecondsAfterFinished: {{ int $values.ttl }}
  # Exit codes that another attempt cannot change: the SQL, the options, a conflict, the token.
  podFailurePolicy:
    rules:
      - action: FailJob
        onExitCodes:
          containerName: migrate
          operator: In
          values: [1, 2, 4, 5]
  template:
    metadata:
      labels:
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- include "pgdbm-hook.labels" . | nindent 8 }}
      {{- with $values.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      {{- with $values.serviceAccountName }}
      serviceAccountName: {{ . | quote }}
      {{- end }}
      {{- with $values.pullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.podSecurityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: migrate
          command:
            - pgdbm
            - deploy
            - {{ $values.module | quote }}
            - --dir
            - /migrations
            - --timeout
            - {{ $values.timeout | int | quote }}
            {{- with $values.schema }}
            - --schema
            - {{ . | quote }}
            {{- end }}
            {{- range $values.dependsOn }}
            - --depends-on
            - {{ . | quote }}
            {{- end }}
          {{- include "pgdbm-hook.container" . | nindent 10 }}
          volumeMounts:
            - name: migrations
              mountPath: /migrations
              readOnly: true
              {{- if $values.files.image }}
              subPath: {{ $values.files.path | quote }}
              {{- end }}
            - name: tmp
              mountPath: /tmp
            {{- include "pgdbm-hook.tokenMount" . | nindent 12 }}
      volumes:
        - name: migrations
          {{- if $values.files.image }}
          image:
            reference: {{ $values.files.image | quote }}
            pullPolicy: {{ $values.pullPolicy }}
          {{- else }}
          configMap:
            name: {{ $name }}
          {{- end }}
        - name: tmp
          emptyDir: {}
        {{- include "pgdbm-hook.tokenVolume" . | nindent 8 }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}

{{- /* An init container that waits until a version is applied: a list of the root context and the version. */ -}}
{{- define "pgdbm-hook.wait" -}}
{{- $root := index . 0 -}}
{{- $version := index . 1 -}}
{{- $values := include "pgdbm-hook.values" $root | fromYaml -}}
- name: wait-for-migrations
  command:
    - pgdbm
    - wait
    - {{ $values.module | quote }}
    {{- with $version }}
    - --require
    - {{ . | quote }}
    {{- end }}
    - --timeout
    - {{ $values.timeout | int | quote }}
  {{- include "pgdbm-hook.container" $root | nindent 2 }}
  {{- with include "pgdbm-hook.tokenMount" $root }}
  volumeMounts:
    {{- . | nindent 4 }}
  {{- end }}
{{- end -}}
