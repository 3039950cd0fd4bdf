{{- define "pgdbm.checkMigrations" -}}
{{- $migrations := .Values.migrations -}}
{{- $chosen := list -}}
{{- if $migrations.existingClaim -}}{{- $chosen = append $chosen "migrations.existingClaim" -}}{{- end -}}
{{- if $migrations.configMaps -}}{{- $chosen = append $chosen "migrations.configMaps" -}}{{- end -}}
{{- if $migrations.gitSync.enabled -}}{{- $chosen = append $chosen "migrations.gitSync" -}}{{- end -}}
{{- if $migrations.image.reference -}}{{- $chosen = append $chosen "migrations.image" -}}{{- end -}}
{{- if gt (len $chosen) 1 -}}
{{- fail (printf "set %s, not both" (join " or " $chosen)) -}}
{{- end -}}
{{- if and $migrations.gitSync.enabled (not $migrations.gitSync.repository) -}}
{{- fail "migrations.gitSync is enabled: set migrations.gitSync.repository" -}}
{{- end -}}
{{- end -}}

{{- define "pgdbm.repositoryPath" -}}
{{- if .Values.migrations.gitSync.enabled -}}
/migrations_repo/{{ clean (printf "current/%s" .Values.migrations.subPath) }}
{{- else -}}
/migrations_repo
{{- end -}}
{{- end -}}

{{- define "pgdbm.migrationsMounts" -}}
{{- $migrations := .Values.migrations -}}
{{- if $migrations.configMaps -}}
{{- range $n, $module := keys $migrations.configMaps | sortAlpha }}
- name: module-{{ $n }}
  mountPath: /migrations_repo/{{ $module }}
  readOnly: true
{{- end }}
{{- else }}
- name: migrations-repo
  mountPath: /migrations_repo
  readOnly: true
  {{- if and $migrations.subPath (or $migrations.existingClaim $migrations.image.reference) }}
  subPath: {{ $migrations.subPath | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "pgdbm.migrationsVolumes" -}}
{{- $migrations := .Values.migrations -}}
{{- if $migrations.configMaps -}}
{{- range $n, $module := keys $migrations.configMaps | sortAlpha }}
- name: module-{{ $n }}
  configMap:
    name: {{ get $migrations.configMaps $module | quote }}
{{- end }}
{{- else if $migrations.existingClaim }}
- name: migrations-repo
  persistentVolumeClaim:
    claimName: {{ $migrations.existingClaim | quote }}
    readOnly: true
{{- else if $migrations.image.reference }}
- name: migrations-repo
  image:
    reference: {{ $migrations.image.reference | quote }}
    pullPolicy: {{ $migrations.image.pullPolicy }}
{{- else }}
- name: migrations-repo
  emptyDir: {}
{{- end }}
{{- if $migrations.gitSync.enabled }}
# HOME and /tmp of git-sync, whose root is read-only, too.
- name: git-sync-tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with $migrations.gitSync.sshSecret }}
- name: git-sync-ssh
  secret:
    secretName: {{ . | quote }}
    # The files belong to root, and git-sync runs as another user. Only its containers mount them.
    defaultMode: 0444
{{- end }}
{{- end }}
{{- end -}}

{{- /* A list of the root context, the name of the container and whether it ends after the first clone. */ -}}
{{- define "pgdbm.gitSync" -}}
{{- $root := index . 0 -}}
{{- $once := index . 2 -}}
{{- $git := $root.Values.migrations.gitSync -}}
- name: {{ index . 1 }}
  image: {{ $git.image | quote }}
  args:
    - {{ printf "--repo=%s" $git.repository | quote }}
    - {{ printf "--ref=%s" $git.ref | quote }}
    - --root=/migrations_repo
    - --link=current
    - --depth=1
    {{- if $once }}
    - --one-time
    {{- else }}
    - --period={{ $git.period }}
    {{- end }}
    {{- if $git.sshSecret }}
    - --ssh-key-file=/etc/git-sync/ssh-privatekey
    - --ssh-known-hosts-file=/etc/git-sync/known_hosts
    {{- end }}
    {{- with $git.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    - name: HOME
      value: /tmp
    {{- with $git.credentialsSecret }}
    - name: GITSYNC_USERNAME
      valueFrom:
        secretKeyRef:
          name: {{ . | quote }}
          key: username
    - name: GITSYNC_PASSWORD
      valueFrom:
        secretKeyRef:
          name: {{ . | quote }}
          key: password
    {{- end }}
  {{- with $root.Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $git.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: migrations-repo
      mountPath: /migrations_repo
    - name: git-sync-tmp
      mountPath: /tmp
    {{- if $git.sshSecret }}
    - name: git-sync-ssh
      mountPath: /etc/git-sync
      readOnly: true
    {{- end }}
{{- end -}}
