{{/* Names are at most 63 characters, as labels demand. */}}
{{- define "tributary.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tributary.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tributary.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.create is false: serviceAccount.name must name the account to use" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "tributary.selectorLabels" -}}
app.kubernetes.io/name: tributary
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "tributary.labels" -}}
{{ include "tributary.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* registry/repository@digest, or registry/repository:tag. Called with a dict of image and fallback tag. */}}
{{- define "tributary.imageRef" -}}
{{- $name := .image.repository -}}
{{- if .image.registry -}}{{- $name = printf "%s/%s" .image.registry .image.repository -}}{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.image.tag | default .fallback) -}}
{{- end -}}
{{- end -}}

{{- define "tributary.image" -}}
{{- include "tributary.imageRef" (dict "image" .Values.image "fallback" .Chart.AppVersion) -}}
{{- end -}}

{{- define "tributary.kafkaImage" -}}
{{- include "tributary.imageRef" (dict "image" .Values.kafkaImage "fallback" "{version}") -}}
{{- end -}}

{{/* What the operator does in the namespaces that it looks after. Each line says what for. */}}
{{- define "tributary.rules" -}}
# The three kinds: read; never written, but for their status. One by one (get) where a cache does not do: an object that this version
# cannot read gets a status that says so, and a bridge's session is ended only when the bridge is gone for good.
- apiGroups: [tributary.dev]
  resources: [edgeclusters, bridgepipelines, replicationlinks]
  verbs: [get, list, watch]
- apiGroups: [tributary.dev]
  resources: [edgeclusters/status, bridgepipelines/status, replicationlinks/status]
  verbs: [patch]
# What they are turned into. Only ConfigMaps and Services are ever deleted. Of the others, whatever an orphaning delete left behind is
# adopted: that changes its owner, and where OwnerReferencesPermissionEnforcement is on (OpenShift) needs the right to delete it.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# A deleted BridgePipeline's MQTT session is ended by a Job.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete]
# Brokers restart one by one by deleting their pod.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
# Volumes: found, grown, and given an owner. Where spec.storage.retain is false, Kubernetes removes them with the EdgeCluster; the operator may not.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, patch]
# Credentials, by the names that the objects give: never listed, never written.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
