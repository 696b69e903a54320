{{/*
The pod of a setup Job. Call with (dict "root" $ "commands" (list of {name, args}) "api" (whether the Kubernetes API is asked)): one after the other, each in a
container, so that the log and the failure of each is its own.
*/}}
{{- define "cryptosentinel.setupPod" -}}
{{- $root := .root }}
{{- with $root.Values }}
metadata:
  labels:
    {{- include "cryptosentinel.labels" (dict "root" $root "component" "setup") | nindent 4 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "cryptosentinel.serviceAccountName" (dict "root" $root "name" "setup" "account" .setup.serviceAccount) }}
  # Promotions ask the Kubernetes API; Kubeflow has a token of its own.
  automountServiceAccountToken: {{ $.api }}
  enableServiceLinks: false
  {{- with include "cryptosentinel.imagePullSecrets" $root | trim }}{{ . | nindent 2 }}{{ end }}
  securityContext:
    {{- include "cryptosentinel.podSecurityContext" $root | nindent 4 }}
  {{- with include "cryptosentinel.scheduling" (dict "pod" .setup) | trim }}{{ . | nindent 2 }}{{ end }}
  {{- range $index, $command := $.commands }}
  {{- $last := eq (add1 $index) (len $.commands) }}
  {{- if $last }}
  containers:
  {{- else if eq $index 0 }}
  initContainers:
  {{- end }}
    - name: {{ $command.name }}
      image: {{ include "cryptosentinel.image" (dict "root" $root "image" $root.Values.kfp.steps.image) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: [cryptosentinel]
      args: {{ toJson $command.args }}
      env:
        {{- include "cryptosentinel.env" $root | nindent 8 }}
        {{- with $root.Values.setup.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml $root.Values.setup.resources | nindent 8 }}
      securityContext:
        {{- include "cryptosentinel.securityContext" $root | nindent 8 }}
      volumeMounts:
        {{- include "cryptosentinel.mounts" $root | nindent 8 }}
        {{- with include "cryptosentinel.kubeflowTokenMount" $root | trim }}{{ . | nindent 8 }}{{ end }}
  {{- end }}
  volumes:
    {{- include "cryptosentinel.volumes" $root | nindent 4 }}
    {{- with include "cryptosentinel.kubeflowTokenVolume" $root | trim }}{{ . | nindent 4 }}{{ end }}
{{- end }}
{{- end }}
