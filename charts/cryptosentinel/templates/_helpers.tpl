{{/* What templates share: names, labels, images, security, environment. */}}

{{- define "cryptosentinel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for "-predictor" and a pod's suffix behind it. */}}
{{- define "cryptosentinel.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | replace "." "-" | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "cryptosentinel.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "cryptosentinel.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cryptosentinel.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Call with (dict "root" $ "component" "dashboard"). */}}
{{- define "cryptosentinel.labels" -}}
{{ include "cryptosentinel.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: cryptosentinel
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ include "cryptosentinel.chart" .root }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels and annotations of any object. Call with (dict "root" $ "component" "dashboard" "labels" dict "annotations" dict). */}}
{{- define "cryptosentinel.metadata" -}}
labels:
  {{- toYaml (mergeOverwrite (dict) (.labels | default dict) (include "cryptosentinel.labels" . | fromYaml)) | nindent 2 }}
{{- with mergeOverwrite (dict) (.root.Values.commonAnnotations | default dict) (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Call with (dict "root" $ "image" .Values.dashboard.image): a digest before a tag, a tag before the chart's own. */}}
{{- define "cryptosentinel.image" -}}
{{- $name := .image.repository }}
{{- with .image.registry | default .root.Values.image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end }}
{{- if .image.digest }}
{{- printf "%s@%s" $name .image.digest }}
{{- else }}
{{- printf "%s:%s" $name (.image.tag | default .root.Values.image.tag | default (printf "%s-python3.11" .root.Chart.AppVersion)) }}
{{- end }}
{{- end }}

{{- define "cryptosentinel.imagePullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Call with (dict "root" $ "name" "dashboard" "account" .Values.dashboard.serviceAccount). */}}
{{- define "cryptosentinel.serviceAccountName" -}}
{{- .account.name | default (ternary (printf "%s-%s" (include "cryptosentinel.fullname" .root) .name) "default" .account.create) }}
{{- end }}

{{/* The restricted Pod Security Standard, and a file system that is not written to. */}}
{{- define "cryptosentinel.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "cryptosentinel.securityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Where pods are put. Call with (dict "root" $ "pod" .Values.dashboard "labels" (labels of the pods)). */}}
{{- define "cryptosentinel.scheduling" -}}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - labelSelector:
      matchLabels:
        {{- $.labels | nindent 8 }}
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Empty where there are no secrets. */}}
{{- define "cryptosentinel.secretName" -}}
{{- .Values.secret.existingSecret | default (ternary (include "cryptosentinel.fullname" .) "" (ne (len .Values.secret.data) 0)) }}
{{- end }}

{{/* Environment variables that come from the Secret, each with its key there. Keys of the object store become options of it. */}}
{{- define "cryptosentinel.secretEnv" -}}
{{- range ternary .Values.secret.keys (keys .Values.secret.data | sortAlpha) (ne .Values.secret.existingSecret "") }}
{{ ternary (printf "CRYPTOSENTINEL_STORAGE__OPTIONS__%s" .) . (hasPrefix "AWS_" .) }}: {{ . }}
{{- end }}
{{- end }}

{{/* Options of the object store that are no secrets, as environment variables of the library. */}}
{{- define "cryptosentinel.storageEnv" -}}
{{- $options := dict "AWS_REGION" .Values.storage.region }}
{{- with .Values.storage.endpoint }}
{{- $options = merge $options (dict "AWS_ENDPOINT_URL" .) }}
{{- if hasPrefix "http://" . }}{{ $options = merge $options (dict "AWS_ALLOW_HTTP" "true") }}{{ end }}
{{- end }}
{{- range $name, $value := mergeOverwrite $options .Values.storage.options }}
CRYPTOSENTINEL_STORAGE__OPTIONS__{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* The environment of everything of ours that reads the store. */}}
{{- define "cryptosentinel.env" -}}
- name: CRYPTOSENTINEL_CONFIG
  value: /etc/cryptosentinel/settings.yaml
{{- range $name, $value := include "cryptosentinel.storageEnv" . | fromYaml }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- $secret := include "cryptosentinel.secretName" . }}
{{- if $secret }}
{{- range $name, $key := include "cryptosentinel.secretEnv" . | fromYaml }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end }}

{{/* Pods are made anew when what they read at their start has changed. */}}
{{- define "cryptosentinel.checksums" -}}
checksum/settings: {{ include "cryptosentinel.settings" . | sha256sum }}
checksum/secret: {{ .Values.secret | toJson | sha256sum }}
{{- end }}

{{/* Promotions reach the service: they wait for its Deployment, which Knative has not. */}}
{{- define "cryptosentinel.promoted" -}}
{{- if and .Values.serving.enabled (eq .Values.serving.deploymentMode "Standard") }}true{{ end }}
{{- end }}

{{/* What the predictor heeds of the settings: another schedule is no reason for new pods. */}}
{{- define "cryptosentinel.servingChecksum" -}}
{{- pick (include "cryptosentinel.settings" . | fromYaml) "forecast" "log_level" "serving" | toJson | sha256sum }}
{{- end }}

{{- define "cryptosentinel.predictorUrl" -}}
http://{{ include "cryptosentinel.fullname" . }}-predictor.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{/* The namespace that steps run in is another one than the release's. */}}
{{- define "cryptosentinel.stepsElsewhere" -}}
{{- if and .Values.kfp.enabled (ne .Values.kfp.runNamespace .Release.Namespace) }}true{{ end }}
{{- end }}

{{- define "cryptosentinel.predictorLabels" -}}
serving.kserve.io/inferenceservice: {{ include "cryptosentinel.fullname" . }}
{{- end }}

{{/* What KServe's storage initializer wants to know of an object store, on the Secret with its keys. */}}
{{- define "cryptosentinel.kserveStorageAnnotations" -}}
{{- if hasPrefix "s3://" .Values.storage.uri }}
serving.kserve.io/s3-region: {{ .Values.storage.region | quote }}
{{- with .Values.storage.endpoint }}
serving.kserve.io/s3-endpoint: {{ regexReplaceAll "^https?://" . "" | trimSuffix "/" | quote }}
serving.kserve.io/s3-usehttps: {{ ternary "1" "0" (hasPrefix "https://" .) | quote }}
serving.kserve.io/s3-usevirtualbucket: "false"
{{- end }}
{{- end }}
{{- end }}

{{/* Where the settings file is mounted, and the one folder that is written to. */}}
{{- define "cryptosentinel.mounts" -}}
- name: settings
  mountPath: /etc/cryptosentinel
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "cryptosentinel.volumes" -}}
- name: settings
  configMap:
    name: {{ include "cryptosentinel.fullname" . }}-settings
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- end }}

{{/* With several users Kubeflow asks who calls: pods that ask it have a token for it, and none for Kubernetes. */}}
{{- define "cryptosentinel.kubeflowTokenMount" -}}
{{- if and .Values.kfp.enabled .Values.kfp.multiUser }}
- name: kubeflow-token
  mountPath: /var/run/secrets/kubeflow/pipelines
  readOnly: true
{{- end }}
{{- end }}

{{- define "cryptosentinel.kubeflowTokenVolume" -}}
{{- if and .Values.kfp.enabled .Values.kfp.multiUser }}
- name: kubeflow-token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          audience: pipelines.kubeflow.org
          expirationSeconds: 7200
{{- end }}
{{- end }}

{{/* What a pod may reach. Call with (dict "root" $ "peers" (list of further rules as text)). */}}
{{- define "cryptosentinel.egress" -}}
{{- $egress := .root.Values.networkPolicy.egress }}
{{- if $egress.enabled }}
egress:
  - ports:
      - port: 53
        protocol: UDP
      - port: 53
        protocol: TCP
  - to:
      - podSelector: {}
  - ports:
      {{- $ports := $egress.ports }}
      {{- with .root.Values.storage.endpoint }}
      {{- $ports = append $ports (include "cryptosentinel.portOf" . | int) }}
      {{- end }}
      {{- range $port := $ports | uniq }}
      - port: {{ int $port }}
        protocol: TCP
      {{- end }}
    {{- with $egress.cidrs }}
    to:
      {{- range . }}
      - ipBlock:
          cidr: {{ . }}
      {{- end }}
    {{- end }}
  {{- with .rules }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $egress.extra }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "cryptosentinel.stepsAccount" -}}
{{- include "cryptosentinel.serviceAccountName" (dict "root" . "name" "steps" "account" .Values.kfp.steps.serviceAccount) }}
{{- end }}

{{- define "cryptosentinel.kfpEgress" -}}
{{- if .Values.kfp.enabled }}
- ports:
    - port: {{ include "cryptosentinel.portOf" .Values.kfp.endpoint }}
      protocol: TCP
{{- end }}
{{- end }}

{{/* Steps of the pipelines send their metrics somewhere. */}}
{{- define "cryptosentinel.pushed" -}}
{{- if and .Values.kfp.enabled (or .Values.metrics.pushgateway.url .Values.metrics.otlp.url) }}true{{ end }}
{{- end }}

{{/* What the library calls the market, e.g. in the label `market` of metrics. */}}
{{- define "cryptosentinel.market" -}}
{{- $market := .Values.settings.market }}
{{- $slug := replace ":" "-" $market.source }}
{{- if hasPrefix "simulated" $slug }}
{{- $slug = printf "simulated-%d" (trimPrefix "simulated" $slug | trimPrefix "-" | default "0" | atoi) }}
{{- end }}
{{- printf "%s-%s-%s-%s" $slug ($market.asset | default "bitcoin") ($market.currency | default "usd") ($market.interval | default "5m") }}
{{- end }}

{{/*
Rules of a PrometheusRule: those of a file that are not left out, each with its labels and its place in the manual.
Call with (dict "root" $ "file" "files/alerts.yaml" "values" (what the file's templates see)).
*/}}
{{- define "cryptosentinel.rules" -}}
{{- $given := .root.Values.metrics.prometheusRule }}
{{- range tpl (.root.Files.Get .file) (merge (dict "Template" .root.Template) .values) | fromYamlArray }}
{{- if not (has .alert $given.disabled) }}
{{- $labels := mergeOverwrite (dict) .labels $given.alertLabels }}
{{- $annotations := .annotations }}
{{- if $given.runbookUrl }}
{{- $_ := set $annotations "runbook_url" (printf "%s#%s" $given.runbookUrl (lower .alert)) }}
{{- end }}
- {{ toYaml (mergeOverwrite (deepCopy .) (dict "labels" $labels "annotations" $annotations)) | indent 2 | trim }}
{{- end }}
{{- end }}
{{- end }}

{{/* The port that a URL leads to. */}}
{{- define "cryptosentinel.portOf" -}}
{{- $url := urlParse . }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}
