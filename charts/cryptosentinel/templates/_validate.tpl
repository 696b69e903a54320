{{/*
What a schema cannot say: what is missing in this cluster, and values that do not go together. All of it at once, so that
nobody has to try again for each.

`helm template` knows no cluster: then only groups are known, no kinds, and nothing is said to be missing.
*/}}
{{- define "cryptosentinel.validate" -}}
{{- $wrong := list }}
{{- if not .Values.storage.uri }}
{{- $wrong = append $wrong "storage.uri is empty. Set it to where tables and models shall live, e.g. --set storage.uri=s3://BUCKET/PREFIX." }}
{{- end }}
{{- range $name := list "serving" "dashboard" "kfp.steps" "kfp.steps.drift" "dashboard.authProxy" }}
{{- $of := $.Values }}
{{- range splitList "." $name }}{{ $of = index $of . }}{{ end }}
{{- if eq ($of.image.tag | default $.Values.image.tag) "latest" }}
{{- $wrong = append $wrong (printf "%s.image: the tag latest is another image tomorrow. Name a version, or a digest." $name) }}
{{- end }}
{{- end }}
{{- range $name := keys .Values.storage.options | sortAlpha }}
{{- if regexMatch "SECRET|PASSWORD|TOKEN|_KEY|CREDENTIAL" $name }}
{{- $wrong = append $wrong (printf "storage.options.%s looks like a secret, and would be readable in a ConfigMap. Put it into secret.data, or into secret.existingSecret." $name) }}
{{- end }}
{{- if contains "UNSAFE_RENAME" $name }}
{{- $wrong = append $wrong (printf "storage.options.%s: without atomic puts two writers lose each other's rows. Use an object store that honours conditional puts." $name) }}
{{- end }}
{{- end }}
{{- $url := dig "serving" "url" "" .Values.settings }}
{{- if and .Values.serving.enabled (or $url (dig "serving" "model_name" "" .Values.settings)) }}
{{- $wrong = append $wrong "settings.serving.url and model_name name a predictor elsewhere: with serving.enabled they are the chart's to set." }}
{{- end }}
{{- if and .Values.kfp.enabled (not .Values.serving.enabled) (not $url) }}
{{- $wrong = append $wrong "settings.serving.url is empty: with serving.enabled=false the inference pipeline must be told which predictor to ask. Set it, and settings.serving.model_name." }}
{{- end }}
{{- if and (include "cryptosentinel.promoted" .) (regexMatch "^(az|abfss?)://" .Values.storage.uri) (not (dig "rollout" "store_uri" "" .Values.settings)) }}
{{- $wrong = append $wrong "settings.rollout.store_uri is empty: KServe reads Azure's stores by https:// addresses. Set it to storage.uri as KServe writes it, e.g. https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX." }}
{{- end }}
{{- if and .Values.secret.existingSecret .Values.secret.data }}
{{- $wrong = append $wrong "secret.existingSecret and secret.data are both set. Put the entries into the Secret that exists, or let the chart make one." }}
{{- end }}
{{- if and (hasKey .Values.secret.data "AWS_ACCESS_KEY_ID") (not (hasKey .Values.secret.data "AWS_SECRET_ACCESS_KEY")) }}
{{- $wrong = append $wrong "secret.data has AWS_ACCESS_KEY_ID, but no AWS_SECRET_ACCESS_KEY." }}
{{- end }}
{{- range $part := list "serving" "dashboard" }}
{{- range (index $.Values $part).extraVolumes }}
{{- if has .name (list "kserve-provision-location" "settings" "tmp" "explainer-tmp") }}
{{- $wrong = append $wrong (printf "%s.extraVolumes: the name %s is taken by the chart." $part .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name := list "enable-prometheus-scraping" "autoscalerClass" "deploymentMode" }}
{{- if hasKey $.Values.serving.annotations (printf "serving.kserve.io/%s" $name) }}
{{- $wrong = append $wrong (printf "serving.annotations: serving.kserve.io/%s is the chart's to set: by serving.autoscaling, serving.deploymentMode and metrics." $name) }}
{{- end }}
{{- end }}
{{- range $path, $labels := dict "commonLabels" .Values.commonLabels "serving.podLabels" .Values.serving.podLabels "dashboard.podLabels" .Values.dashboard.podLabels }}
{{- range $name := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" }}
{{- if hasKey $labels $name }}
{{- $wrong = append $wrong (printf "%s: Deployments, Services and network policies select pods by %s. Choose another label." $path $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if gt (int .Values.serving.preStopSleepSeconds) (int .Values.serving.terminationGracePeriodSeconds) }}
{{- $wrong = append $wrong (printf "serving.preStopSleepSeconds (%d) is beyond terminationGracePeriodSeconds (%d), which it is a part of: Kubernetes refuses such pods." (int .Values.serving.preStopSleepSeconds) (int .Values.serving.terminationGracePeriodSeconds)) }}
{{- end }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "cryptosentinel.fullname" .)) }}
{{- $wrong = append $wrong (printf "The name %q is none that KServe takes: it must begin with a letter. Choose another release name, or set fullnameOverride." (include "cryptosentinel.fullname" .)) }}
{{- end }}
{{- if not (or .Values.serving.enabled .Values.dashboard.enabled .Values.kfp.enabled) }}
{{- $wrong = append $wrong "serving, dashboard and kfp are all switched off: there is nothing to install." }}
{{- end }}
{{- if and .Values.kfp.multiUser (eq .Values.kfp.runNamespace "kubeflow") }}
{{- $wrong = append $wrong "kfp.multiUser: runs belong to a profile's namespace. Set kfp.runNamespace to it; kubeflow is none." }}
{{- end }}
{{- if and .Values.serving.autoscaling.enabled (lt (int .Values.serving.autoscaling.maxReplicas) (int .Values.serving.replicas)) }}
{{- $wrong = append $wrong (printf "serving.autoscaling.maxReplicas (%d) is below serving.replicas (%d), the fewest." (int .Values.serving.autoscaling.maxReplicas) (int .Values.serving.replicas)) }}
{{- end }}
{{- if and .Values.serving.autoscaling.enabled (eq .Values.serving.deploymentMode "Standard") }}
{{- range $name, $resources := dict "serving.resources" .Values.serving.resources "serving.explainer.resources" .Values.serving.explainer.resources }}
{{- if not (dig "requests" "cpu" "" $resources) }}
{{- $wrong = append $wrong (printf "%s.requests.cpu is empty: with serving.autoscaling both containers must request CPU, or their pods are never scaled." $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.dashboard.autoscaling }}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) }}
{{- $wrong = append $wrong (printf "dashboard.autoscaling.maxReplicas (%d) is below minReplicas (%d)." (int .maxReplicas) (int .minReplicas)) }}
{{- end }}
{{- end }}
{{- if and .Values.dashboard.actions (not .Values.dashboard.authProxy.enabled) }}
{{- $wrong = append $wrong "dashboard.actions: only users who are known may act. Set dashboard.authProxy.enabled=true, which asks who they are." }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (eq .Values.serving.deploymentMode "Knative") }}
{{- $wrong = append $wrong "metrics.serviceMonitor: with serving.deploymentMode Knative there is no Service that leads to the predictor's metrics. Scrape the pods by their annotations." }}
{{- end }}
{{- $policy := .Values.networkPolicy }}
{{- if and .Values.serving.enabled (eq .Values.serving.deploymentMode "Knative") $policy.enabled (not (or $policy.serving.open $policy.serving.from)) }}
{{- $wrong = append $wrong "networkPolicy.serving.from is empty: with serving.deploymentMode Knative its activator and its gateway come from other namespaces, and nothing gets ready without them. Name theirs, as ci/hopsworks-values.yaml does, or set networkPolicy.serving.open=true." }}
{{- end }}
{{- if and .Values.setup.enabled .Values.serving.enabled (not .Values.setup.serviceAccount.create) (not .Values.setup.serviceAccount.name) }}
{{- $wrong = append $wrong "setup.serviceAccount: with create=false it needs the name of one that exists; the rights to promote are bound to it." }}
{{- end }}
{{- if and .Values.kfp.enabled (not .Values.kfp.steps.serviceAccount.create) (not .Values.kfp.steps.serviceAccount.name) }}
{{- $wrong = append $wrong "kfp.steps.serviceAccount: with create=false it needs the name of one that exists, e.g. pipeline-runner." }}
{{- end }}
{{- /* Of a Secret that exists already; `lookup` finds nothing where there is no cluster. */}}
{{- if and (include "cryptosentinel.promoted" .) .Values.storage.endpoint .Values.secret.existingSecret }}
{{- with lookup "v1" "Secret" .Release.Namespace .Values.secret.existingSecret }}
{{- if not (dig "annotations" "serving.kserve.io/s3-endpoint" "" .metadata) }}
{{- $wrong = append $wrong (printf "secret.existingSecret: %s has no annotation serving.kserve.io/s3-endpoint, so that KServe would look for the bundles in AWS. Annotate it as docs/kubernetes.md tells." .metadata.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Capabilities.APIVersions.Has "apps/v1/Deployment" }}
{{- $needs := list
  (list .Values.serving.enabled "serving.kserve.io/v1beta1/InferenceService" "KServe is not installed in this cluster (no InferenceService). Install it first, as docs/kubernetes.md tells, or set serving.enabled=false.")
  (list .Values.serving.enabled "serving.kserve.io/v1alpha1/ServingRuntime" "This cluster's KServe has no ServingRuntime. Install its custom resource definitions completely (chart kserve-crd).")
  (list .Values.metrics.serviceMonitor.enabled "monitoring.coreos.com/v1/ServiceMonitor" "metrics.serviceMonitor: the Prometheus operator is not installed in this cluster (no ServiceMonitor). Install it, or set metrics.serviceMonitor.enabled=false: the pods carry prometheus.io annotations then.")
  (list .Values.metrics.prometheusRule.enabled "monitoring.coreos.com/v1/PrometheusRule" "metrics.prometheusRule: the Prometheus operator is not installed in this cluster (no PrometheusRule). Install it, or set metrics.prometheusRule.enabled=false.")
  (list .Values.dashboard.httpRoute.enabled "gateway.networking.k8s.io/v1/HTTPRoute" "dashboard.httpRoute: the Gateway API is not installed in this cluster (no HTTPRoute). Install it, or use dashboard.ingress.") }}
{{- range $needs }}
{{- if and (index . 0) (not ($.Capabilities.APIVersions.Has (index . 1))) }}
{{- $wrong = append $wrong (index . 2) }}
{{- end }}
{{- end }}
{{- end }}
{{- if $wrong }}
{{- fail (printf "\n\nCryptoSentinel cannot be installed so:\n- %s\n" (join "\n- " $wrong)) }}
{{- end }}
{{- end }}
