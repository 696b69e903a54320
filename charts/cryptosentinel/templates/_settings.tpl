{{/*
The settings file: `settings`, and what the chart itself decides, which the schema keeps out of `settings`.
*/}}
{{- define "cryptosentinel.settings" -}}
{{- $name := include "cryptosentinel.fullname" . }}
{{- $ours := dict "storage" (dict "uri" .Values.storage.uri) }}
{{- if .Values.serving.enabled }}
{{- $_ := set $ours "serving" (dict "model_name" $name "url" (include "cryptosentinel.predictorUrl" .)) }}
{{- if include "cryptosentinel.promoted" . }}
{{- $rollout := dict "inference_service" $name "namespace" .Release.Namespace }}
{{- if ne .Values.clusterDomain "cluster.local" }}
{{- $_ := set $rollout "url" (include "cryptosentinel.predictorUrl" .) }}
{{- end }}
{{- $_ := set $ours "rollout" $rollout }}
{{- end }}
{{- end }}
{{- with .Values.kfp }}
{{- if .enabled }}
{{- $kubeflow := dict "url" .endpoint "name" $name "service_account" (include "cryptosentinel.stepsAccount" $) }}
{{- $_ := set $kubeflow "image" (include "cryptosentinel.image" (dict "root" $ "image" .steps.image)) }}
{{- $_ := set $kubeflow "drift_image" (include "cryptosentinel.image" (dict "root" $ "image" .steps.drift.image)) }}
{{- $_ := set $kubeflow "image_pull_policy" $.Values.image.pullPolicy }}
{{- $_ := set $kubeflow "env" (include "cryptosentinel.storageEnv" $ | fromYaml) }}
{{- with $.Values.image.pullSecrets }}
{{- $names := list }}
{{- range . }}{{ $names = append $names .name }}{{ end }}
{{- $_ := set $kubeflow "image_pull_secrets" $names }}
{{- end }}
{{- if .multiUser }}
{{- $_ := set $kubeflow "namespace" .runNamespace }}
{{- if not (hasKey (include "cryptosentinel.secretEnv" $ | fromYaml) "CRYPTOSENTINEL_KUBEFLOW__TOKEN") }}
{{- $_ := set $kubeflow "token_file" "/var/run/secrets/kubeflow/pipelines/token" }}
{{- end }}
{{- end }}
{{- with include "cryptosentinel.secretName" $ }}
{{- $_ := set $kubeflow "secret" . }}
{{- $_ := set $kubeflow "secret_env" (include "cryptosentinel.secretEnv" $ | fromYaml) }}
{{- end }}
{{- $_ := set $ours "kubeflow" $kubeflow }}
{{- end }}
{{- end }}
{{- if include "cryptosentinel.pushed" . }}
{{- $monitoring := dict "job" $name "labels" (dict "namespace" .Release.Namespace) }}
{{- with .Values.metrics.pushgateway.url }}{{ $_ := set $monitoring "pushgateway_url" . }}{{ end }}
{{- with .Values.metrics.otlp.url }}{{ $_ := set $monitoring "otlp_url" . }}{{ end }}
{{- $_ := set $ours "monitoring" $monitoring }}
{{- end }}
{{- toYaml (mergeOverwrite (deepCopy .Values.settings) $ours) }}
{{- end }}
