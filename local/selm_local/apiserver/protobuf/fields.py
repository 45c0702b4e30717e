"""Field numbers of Kubernetes' messages on the wire; made by `extract`, not by hand.

A line is a message and its fields, each `number=[*][~]name:type`. `*`: may be unset, so that zero means something;
`~`: the JSON form has the message's fields in its parent; `[]`: repeated; `{}`: a map with string keys.
`a/` stands for io.k8s.api., `m/` for io.k8s.apimachinery.pkg.
"""

TABLE = """\
a/apps.v1.Deployment 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/apps.v1.DeploymentSpec 3=status:a/apps.v1.DeploymentStatus
a/apps.v1.DeploymentCondition 1=type:string 2=status:string 4=reason:string 5=message:string 6=lastUpdateTime:m/apis.meta.v1.Time 7=lastTransitionTime:m/apis.meta.v1.Time
a/apps.v1.DeploymentSpec 1=*replicas:int32 2=*selector:m/apis.meta.v1.LabelSelector 3=template:a/core.v1.PodTemplateSpec 4=strategy:a/apps.v1.DeploymentStrategy 5=minReadySeconds:int32 6=*revisionHistoryLimit:int32 7=paused:bool 9=*progressDeadlineSeconds:int32
a/apps.v1.DeploymentStatus 1=observedGeneration:int64 2=replicas:int32 3=updatedReplicas:int32 4=availableReplicas:int32 5=unavailableReplicas:int32 6=conditions:[]a/apps.v1.DeploymentCondition 7=readyReplicas:int32 8=*collisionCount:int32 9=*terminatingReplicas:int32
a/apps.v1.DeploymentStrategy 1=type:string 2=*rollingUpdate:a/apps.v1.RollingUpdateDeployment
a/apps.v1.ReplicaSet 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/apps.v1.ReplicaSetSpec 3=status:a/apps.v1.ReplicaSetStatus
a/apps.v1.ReplicaSetCondition 1=type:string 2=status:string 3=lastTransitionTime:m/apis.meta.v1.Time 4=reason:string 5=message:string
a/apps.v1.ReplicaSetSpec 1=*replicas:int32 2=*selector:m/apis.meta.v1.LabelSelector 3=template:a/core.v1.PodTemplateSpec 4=minReadySeconds:int32
a/apps.v1.ReplicaSetStatus 1=replicas:int32 2=fullyLabeledReplicas:int32 3=observedGeneration:int64 4=readyReplicas:int32 5=availableReplicas:int32 6=conditions:[]a/apps.v1.ReplicaSetCondition 7=*terminatingReplicas:int32
a/apps.v1.RollingUpdateDeployment 1=*maxUnavailable:m/util.intstr.IntOrString 2=*maxSurge:m/util.intstr.IntOrString
a/authentication.v1.AttestationValue 1=items:[]string
a/authentication.v1.BoundObjectReference 1=kind:string 2=apiVersion:string 3=name:string 4=uID:string
a/authentication.v1.ExtraValue 1=items:[]string
a/authentication.v1.SelfSubjectReview 1=metadata:m/apis.meta.v1.ObjectMeta 2=status:a/authentication.v1.SelfSubjectReviewStatus
a/authentication.v1.SelfSubjectReviewStatus 1=userInfo:a/authentication.v1.UserInfo
a/authentication.v1.TokenRequest 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/authentication.v1.TokenRequestSpec 3=status:a/authentication.v1.TokenRequestStatus
a/authentication.v1.TokenRequestSpec 1=audiences:[]string 3=*boundObjectRef:a/authentication.v1.BoundObjectReference 4=*expirationSeconds:int64 5=attestations:{}a/authentication.v1.AttestationValue
a/authentication.v1.TokenRequestStatus 1=token:string 2=expirationTimestamp:m/apis.meta.v1.Time
a/authentication.v1.TokenReview 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/authentication.v1.TokenReviewSpec 3=status:a/authentication.v1.TokenReviewStatus
a/authentication.v1.TokenReviewSpec 1=token:string 2=audiences:[]string
a/authentication.v1.TokenReviewStatus 1=authenticated:bool 2=user:a/authentication.v1.UserInfo 3=error:string 4=audiences:[]string
a/authentication.v1.UserInfo 1=username:string 2=uid:string 3=groups:[]string 4=extra:{}a/authentication.v1.ExtraValue
a/authorization.v1.ExtraValue 1=items:[]string
a/authorization.v1.FieldSelectorAttributes 1=rawSelector:string 2=requirements:[]m/apis.meta.v1.FieldSelectorRequirement
a/authorization.v1.LabelSelectorAttributes 1=rawSelector:string 2=requirements:[]m/apis.meta.v1.LabelSelectorRequirement
a/authorization.v1.LocalSubjectAccessReview 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/authorization.v1.SubjectAccessReviewSpec 3=status:a/authorization.v1.SubjectAccessReviewStatus
a/authorization.v1.NonResourceAttributes 1=path:string 2=verb:string
a/authorization.v1.NonResourceRule 1=verbs:[]string 2=nonResourceURLs:[]string
a/authorization.v1.ResourceAttributes 1=namespace:string 2=verb:string 3=group:string 4=version:string 5=resource:string 6=subresource:string 7=name:string 8=*fieldSelector:a/authorization.v1.FieldSelectorAttributes 9=*labelSelector:a/authorization.v1.LabelSelectorAttributes
a/authorization.v1.ResourceRule 1=verbs:[]string 2=apiGroups:[]string 3=resources:[]string 4=resourceNames:[]string
a/authorization.v1.SelfSubjectAccessReview 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/authorization.v1.SelfSubjectAccessReviewSpec 3=status:a/authorization.v1.SubjectAccessReviewStatus
a/authorization.v1.SelfSubjectAccessReviewSpec 1=*resourceAttributes:a/authorization.v1.ResourceAttributes 2=*nonResourceAttributes:a/authorization.v1.NonResourceAttributes
a/authorization.v1.SelfSubjectRulesReview 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/authorization.v1.SelfSubjectRulesReviewSpec 3=status:a/authorization.v1.SubjectRulesReviewStatus
a/authorization.v1.SelfSubjectRulesReviewSpec 1=namespace:string
a/authorization.v1.SubjectAccessReview 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/authorization.v1.SubjectAccessReviewSpec 3=status:a/authorization.v1.SubjectAccessReviewStatus
a/authorization.v1.SubjectAccessReviewSpec 1=*resourceAttributes:a/authorization.v1.ResourceAttributes 2=*nonResourceAttributes:a/authorization.v1.NonResourceAttributes 3=user:string 4=groups:[]string 5=extra:{}a/authorization.v1.ExtraValue 6=uid:string
a/authorization.v1.SubjectAccessReviewStatus 1=allowed:bool 2=reason:string 3=evaluationError:string 4=denied:bool
a/authorization.v1.SubjectRulesReviewStatus 1=resourceRules:[]a/authorization.v1.ResourceRule 2=nonResourceRules:[]a/authorization.v1.NonResourceRule 3=incomplete:bool 4=evaluationError:string
a/autoscaling.v1.Scale 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/autoscaling.v1.ScaleSpec 3=status:a/autoscaling.v1.ScaleStatus
a/autoscaling.v1.ScaleSpec 1=replicas:int32
a/autoscaling.v1.ScaleStatus 1=replicas:int32 2=selector:string
a/batch.v1.Job 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/batch.v1.JobSpec 3=status:a/batch.v1.JobStatus
a/batch.v1.JobCondition 1=type:string 2=status:string 3=lastProbeTime:m/apis.meta.v1.Time 4=lastTransitionTime:m/apis.meta.v1.Time 5=reason:string 6=message:string
a/batch.v1.JobSchedulingConfiguration 1=*schedulingPolicy:a/scheduling.v1alpha3.WorkloadPodGroupSchedulingPolicy 2=*schedulingConstraints:a/scheduling.v1alpha3.WorkloadPodGroupSchedulingConstraints 3=*disruptionMode:a/scheduling.v1alpha3.WorkloadPodGroupDisruptionMode 4=resourceClaims:[]a/scheduling.v1alpha3.WorkloadPodGroupResourceClaim
a/batch.v1.JobSpec 1=*parallelism:int32 2=*completions:int32 3=*activeDeadlineSeconds:int64 4=*selector:m/apis.meta.v1.LabelSelector 5=*manualSelector:bool 6=template:a/core.v1.PodTemplateSpec 7=*backoffLimit:int32 8=*ttlSecondsAfterFinished:int32 9=*completionMode:string 10=*suspend:bool 11=*podFailurePolicy:a/batch.v1.PodFailurePolicy 12=*backoffLimitPerIndex:int32 13=*maxFailedIndexes:int32 14=*podReplacementPolicy:string 15=*managedBy:string 16=*successPolicy:a/batch.v1.SuccessPolicy 17=*scheduling:a/batch.v1.JobSchedulingConfiguration
a/batch.v1.JobStatus 1=conditions:[]a/batch.v1.JobCondition 2=*startTime:m/apis.meta.v1.Time 3=*completionTime:m/apis.meta.v1.Time 4=active:int32 5=succeeded:int32 6=failed:int32 7=completedIndexes:string 8=*uncountedTerminatedPods:a/batch.v1.UncountedTerminatedPods 9=*ready:int32 10=*failedIndexes:string 11=*terminating:int32
a/batch.v1.PodFailurePolicy 1=rules:[]a/batch.v1.PodFailurePolicyRule
a/batch.v1.PodFailurePolicyOnExitCodesRequirement 1=*containerName:string 2=operator:string 3=values:[]int32
a/batch.v1.PodFailurePolicyOnPodConditionsPattern 1=type:string 2=status:string
a/batch.v1.PodFailurePolicyRule 1=action:string 2=*onExitCodes:a/batch.v1.PodFailurePolicyOnExitCodesRequirement 3=onPodConditions:[]a/batch.v1.PodFailurePolicyOnPodConditionsPattern
a/batch.v1.SuccessPolicy 1=rules:[]a/batch.v1.SuccessPolicyRule
a/batch.v1.SuccessPolicyRule 1=*succeededIndexes:string 2=*succeededCount:int32
a/batch.v1.UncountedTerminatedPods 1=succeeded:[]string 2=failed:[]string
a/coordination.v1.Lease 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/coordination.v1.LeaseSpec
a/coordination.v1.LeaseSpec 1=*holderIdentity:string 2=*leaseDurationSeconds:int32 3=*acquireTime:m/apis.meta.v1.MicroTime 4=*renewTime:m/apis.meta.v1.MicroTime 5=*leaseTransitions:int32 6=*strategy:string 7=*preferredHolder:string
a/core.v1.AWSElasticBlockStoreVolumeSource 1=volumeID:string 2=fsType:string 3=partition:int32 4=readOnly:bool
a/core.v1.Affinity 1=*nodeAffinity:a/core.v1.NodeAffinity 2=*podAffinity:a/core.v1.PodAffinity 3=*podAntiAffinity:a/core.v1.PodAntiAffinity
a/core.v1.AppArmorProfile 1=type:string 2=*localhostProfile:string
a/core.v1.AttachedVolume 1=name:string 2=devicePath:string
a/core.v1.AzureDiskVolumeSource 1=diskName:string 2=diskURI:string 3=*cachingMode:string 4=*fsType:string 5=*readOnly:bool 6=*kind:string
a/core.v1.AzureFileVolumeSource 1=secretName:string 2=shareName:string 3=readOnly:bool
a/core.v1.Binding 1=metadata:m/apis.meta.v1.ObjectMeta 2=target:a/core.v1.ObjectReference
a/core.v1.CSIVolumeSource 1=driver:string 2=*readOnly:bool 3=*fsType:string 4=volumeAttributes:{}string 5=*nodePublishSecretRef:a/core.v1.LocalObjectReference
a/core.v1.Capabilities 1=add:[]string 2=drop:[]string
a/core.v1.CephFSVolumeSource 1=monitors:[]string 2=path:string 3=user:string 4=secretFile:string 5=*secretRef:a/core.v1.LocalObjectReference 6=readOnly:bool
a/core.v1.CinderVolumeSource 1=volumeID:string 2=fsType:string 3=readOnly:bool 4=*secretRef:a/core.v1.LocalObjectReference
a/core.v1.ClientIPConfig 1=*timeoutSeconds:int32
a/core.v1.ClusterTrustBundleProjection 1=*name:string 2=*signerName:string 3=*labelSelector:m/apis.meta.v1.LabelSelector 4=path:string 5=*optional:bool 6=*user:int64
a/core.v1.ConfigMap 1=metadata:m/apis.meta.v1.ObjectMeta 2=data:{}string 3=binaryData:{}bytes 4=*immutable:bool
a/core.v1.ConfigMapEnvSource 1=~localObjectReference:a/core.v1.LocalObjectReference 2=*optional:bool
a/core.v1.ConfigMapKeySelector 1=~localObjectReference:a/core.v1.LocalObjectReference 2=key:string 3=*optional:bool
a/core.v1.ConfigMapNodeConfigSource 1=namespace:string 2=name:string 3=uid:string 4=resourceVersion:string 5=kubeletConfigKey:string
a/core.v1.ConfigMapProjection 1=~localObjectReference:a/core.v1.LocalObjectReference 2=items:[]a/core.v1.KeyToPath 4=*optional:bool
a/core.v1.ConfigMapVolumeSource 1=~localObjectReference:a/core.v1.LocalObjectReference 2=items:[]a/core.v1.KeyToPath 3=*defaultMode:int32 4=*optional:bool 5=*defaultUser:int64
a/core.v1.Container 1=name:string 2=image:string 3=command:[]string 4=args:[]string 5=workingDir:string 6=ports:[]a/core.v1.ContainerPort 7=env:[]a/core.v1.EnvVar 8=resources:a/core.v1.ResourceRequirements 9=volumeMounts:[]a/core.v1.VolumeMount 10=*livenessProbe:a/core.v1.Probe 11=*readinessProbe:a/core.v1.Probe 12=*lifecycle:a/core.v1.Lifecycle 13=terminationMessagePath:string 14=imagePullPolicy:string 15=*securityContext:a/core.v1.SecurityContext 16=stdin:bool 17=stdinOnce:bool 18=tty:bool 19=envFrom:[]a/core.v1.EnvFromSource 20=terminationMessagePolicy:string 21=volumeDevices:[]a/core.v1.VolumeDevice 22=*startupProbe:a/core.v1.Probe 23=resizePolicy:[]a/core.v1.ContainerResizePolicy 24=*restartPolicy:string 25=restartPolicyRules:[]a/core.v1.ContainerRestartRule
a/core.v1.ContainerExtendedResourceRequest 1=containerName:string 2=resourceName:string 3=requestName:string
a/core.v1.ContainerImage 1=names:[]string 2=sizeBytes:int64
a/core.v1.ContainerPort 1=name:string 2=hostPort:int32 3=containerPort:int32 4=protocol:string 5=hostIP:string
a/core.v1.ContainerResizePolicy 1=resourceName:string 2=restartPolicy:string
a/core.v1.ContainerRestartRule 1=action:string 2=*exitCodes:a/core.v1.ContainerRestartRuleOnExitCodes
a/core.v1.ContainerRestartRuleOnExitCodes 1=operator:string 2=values:[]int32
a/core.v1.ContainerState 1=*waiting:a/core.v1.ContainerStateWaiting 2=*running:a/core.v1.ContainerStateRunning 3=*terminated:a/core.v1.ContainerStateTerminated
a/core.v1.ContainerStateRunning 1=startedAt:m/apis.meta.v1.Time
a/core.v1.ContainerStateTerminated 1=exitCode:int32 2=signal:int32 3=reason:string 4=message:string 5=startedAt:m/apis.meta.v1.Time 6=finishedAt:m/apis.meta.v1.Time 7=containerID:string
a/core.v1.ContainerStateWaiting 1=reason:string 2=message:string
a/core.v1.ContainerStatus 1=name:string 2=state:a/core.v1.ContainerState 3=lastState:a/core.v1.ContainerState 4=ready:bool 5=restartCount:int32 6=image:string 7=imageID:string 8=containerID:string 9=*started:bool 10=allocatedResources:{}m/api.resource.Quantity 11=*resources:a/core.v1.ResourceRequirements 12=volumeMounts:[]a/core.v1.VolumeMountStatus 13=*user:a/core.v1.ContainerUser 14=allocatedResourcesStatus:[]a/core.v1.ResourceStatus 15=*stopSignal:string
a/core.v1.ContainerUser 1=*linux:a/core.v1.LinuxContainerUser
a/core.v1.DaemonEndpoint 1=Port:int32
a/core.v1.DownwardAPIProjection 1=items:[]a/core.v1.DownwardAPIVolumeFile
a/core.v1.DownwardAPIVolumeFile 1=path:string 2=*fieldRef:a/core.v1.ObjectFieldSelector 3=*resourceFieldRef:a/core.v1.ResourceFieldSelector 4=*mode:int32 5=*user:int64
a/core.v1.DownwardAPIVolumeSource 1=items:[]a/core.v1.DownwardAPIVolumeFile 2=*defaultMode:int32 3=*defaultUser:int64
a/core.v1.EmptyDirVolumeSource 1=medium:string 2=*sizeLimit:m/api.resource.Quantity 3=*mode:int32
a/core.v1.EnvFromSource 1=prefix:string 2=*configMapRef:a/core.v1.ConfigMapEnvSource 3=*secretRef:a/core.v1.SecretEnvSource
a/core.v1.EnvVar 1=name:string 2=value:string 3=*valueFrom:a/core.v1.EnvVarSource
a/core.v1.EnvVarSource 1=*fieldRef:a/core.v1.ObjectFieldSelector 2=*resourceFieldRef:a/core.v1.ResourceFieldSelector 3=*configMapKeyRef:a/core.v1.ConfigMapKeySelector 4=*secretKeyRef:a/core.v1.SecretKeySelector 5=*fileKeyRef:a/core.v1.FileKeySelector
a/core.v1.EphemeralContainer 1=~ephemeralContainerCommon:a/core.v1.EphemeralContainerCommon 2=targetContainerName:string
a/core.v1.EphemeralContainerCommon 1=name:string 2=image:string 3=command:[]string 4=args:[]string 5=workingDir:string 6=ports:[]a/core.v1.ContainerPort 7=env:[]a/core.v1.EnvVar 8=resources:a/core.v1.ResourceRequirements 9=volumeMounts:[]a/core.v1.VolumeMount 10=*livenessProbe:a/core.v1.Probe 11=*readinessProbe:a/core.v1.Probe 12=*lifecycle:a/core.v1.Lifecycle 13=terminationMessagePath:string 14=imagePullPolicy:string 15=*securityContext:a/core.v1.SecurityContext 16=stdin:bool 17=stdinOnce:bool 18=tty:bool 19=envFrom:[]a/core.v1.EnvFromSource 20=terminationMessagePolicy:string 21=volumeDevices:[]a/core.v1.VolumeDevice 22=*startupProbe:a/core.v1.Probe 23=resizePolicy:[]a/core.v1.ContainerResizePolicy 24=*restartPolicy:string 25=restartPolicyRules:[]a/core.v1.ContainerRestartRule
a/core.v1.EphemeralVolumeSource 1=*volumeClaimTemplate:a/core.v1.PersistentVolumeClaimTemplate
a/core.v1.Event 1=metadata:m/apis.meta.v1.ObjectMeta 2=involvedObject:a/core.v1.ObjectReference 3=reason:string 4=message:string 5=source:a/core.v1.EventSource 6=firstTimestamp:m/apis.meta.v1.Time 7=lastTimestamp:m/apis.meta.v1.Time 8=count:int32 9=type:string 10=eventTime:m/apis.meta.v1.MicroTime 11=*series:a/core.v1.EventSeries 12=action:string 13=*related:a/core.v1.ObjectReference 14=reportingComponent:string 15=reportingInstance:string
a/core.v1.EventSeries 1=count:int32 2=lastObservedTime:m/apis.meta.v1.MicroTime
a/core.v1.EventSource 1=component:string 2=host:string
a/core.v1.EvictionResponder 1=name:string 2=*priority:int32
a/core.v1.ExecAction 1=command:[]string
a/core.v1.FCVolumeSource 1=targetWWNs:[]string 2=*lun:int32 3=fsType:string 4=readOnly:bool 5=wwids:[]string
a/core.v1.FileKeySelector 1=volumeName:string 2=path:string 3=key:string 4=*optional:bool
a/core.v1.FlexVolumeSource 1=driver:string 2=fsType:string 3=*secretRef:a/core.v1.LocalObjectReference 4=readOnly:bool 5=options:{}string
a/core.v1.FlockerVolumeSource 1=datasetName:string 2=datasetUUID:string
a/core.v1.GCEPersistentDiskVolumeSource 1=pdName:string 2=fsType:string 3=partition:int32 4=readOnly:bool
a/core.v1.GRPCAction 1=port:int32 2=*service:string 3=*mode:string
a/core.v1.GitRepoVolumeSource 1=repository:string 2=revision:string 3=directory:string
a/core.v1.GlusterfsVolumeSource 1=endpoints:string 2=path:string 3=readOnly:bool
a/core.v1.HTTPGetAction 1=path:string 2=port:m/util.intstr.IntOrString 3=host:string 4=scheme:string 5=httpHeaders:[]a/core.v1.HTTPHeader 6=*protocol:string
a/core.v1.HTTPHeader 1=name:string 2=value:string
a/core.v1.HostAlias 1=ip:string 2=hostnames:[]string
a/core.v1.HostIP 1=ip:string
a/core.v1.HostPathVolumeSource 1=path:string 2=*type:string
a/core.v1.ISCSIVolumeSource 1=targetPortal:string 2=iqn:string 3=lun:int32 4=iscsiInterface:string 5=fsType:string 6=readOnly:bool 7=portals:[]string 8=chapAuthDiscovery:bool 10=*secretRef:a/core.v1.LocalObjectReference 11=chapAuthSession:bool 12=*initiatorName:string
a/core.v1.ImageVolumeSource 1=reference:string 2=pullPolicy:string
a/core.v1.ImageVolumeStatus 1=imageRef:string
a/core.v1.KeyToPath 1=key:string 2=path:string 3=*mode:int32 4=*user:int64
a/core.v1.Lifecycle 1=*postStart:a/core.v1.LifecycleHandler 2=*preStop:a/core.v1.LifecycleHandler 3=*stopSignal:string
a/core.v1.LifecycleHandler 1=*exec:a/core.v1.ExecAction 2=*httpGet:a/core.v1.HTTPGetAction 3=*tcpSocket:a/core.v1.TCPSocketAction 4=*sleep:a/core.v1.SleepAction
a/core.v1.LinuxContainerUser 1=uid:int64 2=gid:int64 3=supplementalGroups:[]int64
a/core.v1.LoadBalancerIngress 1=ip:string 2=hostname:string 3=*ipMode:string 4=ports:[]a/core.v1.PortStatus
a/core.v1.LoadBalancerStatus 1=ingress:[]a/core.v1.LoadBalancerIngress
a/core.v1.LocalObjectReference 1=name:string
a/core.v1.ModifyVolumeStatus 1=targetVolumeAttributesClassName:string 2=status:string
a/core.v1.NFSVolumeSource 1=server:string 2=path:string 3=readOnly:bool
a/core.v1.Namespace 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/core.v1.NamespaceSpec 3=status:a/core.v1.NamespaceStatus
a/core.v1.NamespaceCondition 1=type:string 2=status:string 4=lastTransitionTime:m/apis.meta.v1.Time 5=reason:string 6=message:string
a/core.v1.NamespaceSpec 1=finalizers:[]string
a/core.v1.NamespaceStatus 1=phase:string 2=conditions:[]a/core.v1.NamespaceCondition
a/core.v1.Node 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/core.v1.NodeSpec 3=status:a/core.v1.NodeStatus
a/core.v1.NodeAddress 1=type:string 2=address:string
a/core.v1.NodeAffinity 1=*requiredDuringSchedulingIgnoredDuringExecution:a/core.v1.NodeSelector 2=preferredDuringSchedulingIgnoredDuringExecution:[]a/core.v1.PreferredSchedulingTerm
a/core.v1.NodeAllocatableMappedResources 1=name:string 2=*quantity:m/api.resource.Quantity
a/core.v1.NodeAllocatableOverheadResources 1=name:string 2=*perPod:m/api.resource.Quantity 3=*perContainer:m/api.resource.Quantity
a/core.v1.NodeAllocatableResourceClaimStatus 1=resourceClaimName:string 2=containers:[]string 4=mapping:[]a/core.v1.NodeAllocatableMappedResources 5=overhead:[]a/core.v1.NodeAllocatableOverheadResources
a/core.v1.NodeCondition 1=type:string 2=status:string 3=lastHeartbeatTime:m/apis.meta.v1.Time 4=lastTransitionTime:m/apis.meta.v1.Time 5=reason:string 6=message:string
a/core.v1.NodeConfigSource 2=*configMap:a/core.v1.ConfigMapNodeConfigSource
a/core.v1.NodeConfigStatus 1=*assigned:a/core.v1.NodeConfigSource 2=*active:a/core.v1.NodeConfigSource 3=*lastKnownGood:a/core.v1.NodeConfigSource 4=error:string
a/core.v1.NodeDaemonEndpoints 1=kubeletEndpoint:a/core.v1.DaemonEndpoint
a/core.v1.NodeFeatures 1=*supplementalGroupsPolicy:bool
a/core.v1.NodePodPreemptionPolicy 1=disableResizePreemption:[]string
a/core.v1.NodeRuntimeHandler 1=name:string 2=*features:a/core.v1.NodeRuntimeHandlerFeatures
a/core.v1.NodeRuntimeHandlerFeatures 1=*recursiveReadOnlyMounts:bool 2=*userNamespaces:bool
a/core.v1.NodeSelector 1=nodeSelectorTerms:[]a/core.v1.NodeSelectorTerm
a/core.v1.NodeSelectorRequirement 1=key:string 2=operator:string 3=values:[]string
a/core.v1.NodeSelectorTerm 1=matchExpressions:[]a/core.v1.NodeSelectorRequirement 2=matchFields:[]a/core.v1.NodeSelectorRequirement
a/core.v1.NodeSpec 1=podCIDR:string 2=externalID:string 3=providerID:string 4=unschedulable:bool 5=taints:[]a/core.v1.Taint 6=*configSource:a/core.v1.NodeConfigSource 7=podCIDRs:[]string 8=*podPreemptionPolicy:a/core.v1.NodePodPreemptionPolicy
a/core.v1.NodeStatus 1=capacity:{}m/api.resource.Quantity 2=allocatable:{}m/api.resource.Quantity 3=phase:string 4=conditions:[]a/core.v1.NodeCondition 5=addresses:[]a/core.v1.NodeAddress 6=daemonEndpoints:a/core.v1.NodeDaemonEndpoints 7=nodeInfo:a/core.v1.NodeSystemInfo 8=images:[]a/core.v1.ContainerImage 9=volumesInUse:[]string 10=volumesAttached:[]a/core.v1.AttachedVolume 11=*config:a/core.v1.NodeConfigStatus 12=runtimeHandlers:[]a/core.v1.NodeRuntimeHandler 13=*features:a/core.v1.NodeFeatures 14=declaredFeatures:[]string
a/core.v1.NodeSwapStatus 1=*capacity:int64
a/core.v1.NodeSystemInfo 1=machineID:string 2=systemUUID:string 3=bootID:string 4=kernelVersion:string 5=osImage:string 6=containerRuntimeVersion:string 7=kubeletVersion:string 8=kubeProxyVersion:string 9=operatingSystem:string 10=architecture:string 11=*swap:a/core.v1.NodeSwapStatus
a/core.v1.ObjectFieldSelector 1=apiVersion:string 2=fieldPath:string
a/core.v1.ObjectReference 1=kind:string 2=namespace:string 3=name:string 4=uid:string 5=apiVersion:string 6=resourceVersion:string 7=fieldPath:string
a/core.v1.PersistentVolumeClaim 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/core.v1.PersistentVolumeClaimSpec 3=status:a/core.v1.PersistentVolumeClaimStatus
a/core.v1.PersistentVolumeClaimCondition 1=type:string 2=status:string 3=lastProbeTime:m/apis.meta.v1.Time 4=lastTransitionTime:m/apis.meta.v1.Time 5=reason:string 6=message:string
a/core.v1.PersistentVolumeClaimSpec 1=accessModes:[]string 2=resources:a/core.v1.VolumeResourceRequirements 3=volumeName:string 4=*selector:m/apis.meta.v1.LabelSelector 5=*storageClassName:string 6=*volumeMode:string 7=*dataSource:a/core.v1.TypedLocalObjectReference 8=*dataSourceRef:a/core.v1.TypedObjectReference 9=*volumeAttributesClassName:string
a/core.v1.PersistentVolumeClaimStatus 1=phase:string 2=accessModes:[]string 3=capacity:{}m/api.resource.Quantity 4=conditions:[]a/core.v1.PersistentVolumeClaimCondition 5=allocatedResources:{}m/api.resource.Quantity 7=allocatedResourceStatuses:{}string 8=*currentVolumeAttributesClassName:string 9=*modifyVolumeStatus:a/core.v1.ModifyVolumeStatus 10=*healthStatus:a/core.v1.VolumeHealthStatus
a/core.v1.PersistentVolumeClaimTemplate 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/core.v1.PersistentVolumeClaimSpec
a/core.v1.PersistentVolumeClaimVolumeSource 1=claimName:string 2=readOnly:bool
a/core.v1.PhotonPersistentDiskVolumeSource 1=pdID:string 2=fsType:string
a/core.v1.Pod 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/core.v1.PodSpec 3=status:a/core.v1.PodStatus
a/core.v1.PodAffinity 1=requiredDuringSchedulingIgnoredDuringExecution:[]a/core.v1.PodAffinityTerm 2=preferredDuringSchedulingIgnoredDuringExecution:[]a/core.v1.WeightedPodAffinityTerm
a/core.v1.PodAffinityTerm 1=*labelSelector:m/apis.meta.v1.LabelSelector 2=namespaces:[]string 3=topologyKey:string 4=*namespaceSelector:m/apis.meta.v1.LabelSelector 5=matchLabelKeys:[]string 6=mismatchLabelKeys:[]string
a/core.v1.PodAntiAffinity 1=requiredDuringSchedulingIgnoredDuringExecution:[]a/core.v1.PodAffinityTerm 2=preferredDuringSchedulingIgnoredDuringExecution:[]a/core.v1.WeightedPodAffinityTerm
a/core.v1.PodCertificateProjection 1=signerName:string 2=keyType:string 3=*maxExpirationSeconds:int32 4=credentialBundlePath:string 5=keyPath:string 6=certificateChainPath:string 7=userAnnotations:{}string 8=*user:int64
a/core.v1.PodCondition 1=type:string 2=status:string 3=lastProbeTime:m/apis.meta.v1.Time 4=lastTransitionTime:m/apis.meta.v1.Time 5=reason:string 6=message:string 7=observedGeneration:int64
a/core.v1.PodDNSConfig 1=nameservers:[]string 2=searches:[]string 3=options:[]a/core.v1.PodDNSConfigOption
a/core.v1.PodDNSConfigOption 1=name:string 2=*value:string
a/core.v1.PodExtendedResourceClaimStatus 1=requestMappings:[]a/core.v1.ContainerExtendedResourceRequest 2=resourceClaimName:string
a/core.v1.PodIP 1=ip:string
a/core.v1.PodOS 1=name:string
a/core.v1.PodReadinessGate 1=conditionType:string
a/core.v1.PodResourceClaim 1=name:string 3=*resourceClaimName:string 4=*resourceClaimTemplateName:string
a/core.v1.PodResourceClaimStatus 1=name:string 2=*resourceClaimName:string
a/core.v1.PodSchedulingGate 1=name:string
a/core.v1.PodSchedulingGroup 1=*podGroupName:string
a/core.v1.PodSecurityContext 1=*seLinuxOptions:a/core.v1.SELinuxOptions 2=*runAsUser:int64 3=*runAsNonRoot:bool 4=supplementalGroups:[]int64 5=*fsGroup:int64 6=*runAsGroup:int64 7=sysctls:[]a/core.v1.Sysctl 8=*windowsOptions:a/core.v1.WindowsSecurityContextOptions 9=*fsGroupChangePolicy:string 10=*seccompProfile:a/core.v1.SeccompProfile 11=*appArmorProfile:a/core.v1.AppArmorProfile 12=*supplementalGroupsPolicy:string 13=*seLinuxChangePolicy:string
a/core.v1.PodSpec 1=volumes:[]a/core.v1.Volume 2=containers:[]a/core.v1.Container 3=restartPolicy:string 4=*terminationGracePeriodSeconds:int64 5=*activeDeadlineSeconds:int64 6=dnsPolicy:string 7=nodeSelector:{}string 8=serviceAccountName:string 9=serviceAccount:string 10=nodeName:string 11=hostNetwork:bool 12=hostPID:bool 13=hostIPC:bool 14=*securityContext:a/core.v1.PodSecurityContext 15=imagePullSecrets:[]a/core.v1.LocalObjectReference 16=hostname:string 17=subdomain:string 18=*affinity:a/core.v1.Affinity 19=schedulerName:string 20=initContainers:[]a/core.v1.Container 21=*automountServiceAccountToken:bool 22=tolerations:[]a/core.v1.Toleration 23=hostAliases:[]a/core.v1.HostAlias 24=priorityClassName:string 25=*priority:int32 26=*dnsConfig:a/core.v1.PodDNSConfig 27=*shareProcessNamespace:bool 28=readinessGates:[]a/core.v1.PodReadinessGate 29=*runtimeClassName:string 30=*enableServiceLinks:bool 31=*preemptionPolicy:string 32=overhead:{}m/api.resource.Quantity 33=topologySpreadConstraints:[]a/core.v1.TopologySpreadConstraint 34=ephemeralContainers:[]a/core.v1.EphemeralContainer 35=*setHostnameAsFQDN:bool 36=*os:a/core.v1.PodOS 37=*hostUsers:bool 38=schedulingGates:[]a/core.v1.PodSchedulingGate 39=resourceClaims:[]a/core.v1.PodResourceClaim 40=*resources:a/core.v1.ResourceRequirements 41=*hostnameOverride:string 43=*schedulingGroup:a/core.v1.PodSchedulingGroup 44=evictionResponders:[]a/core.v1.EvictionResponder
a/core.v1.PodStatus 1=phase:string 2=conditions:[]a/core.v1.PodCondition 3=message:string 4=reason:string 5=hostIP:string 6=podIP:string 7=*startTime:m/apis.meta.v1.Time 8=containerStatuses:[]a/core.v1.ContainerStatus 9=qosClass:string 10=initContainerStatuses:[]a/core.v1.ContainerStatus 11=nominatedNodeName:string 12=podIPs:[]a/core.v1.PodIP 13=ephemeralContainerStatuses:[]a/core.v1.ContainerStatus 14=resize:string 15=resourceClaimStatuses:[]a/core.v1.PodResourceClaimStatus 16=hostIPs:[]a/core.v1.HostIP 17=observedGeneration:int64 18=*extendedResourceClaimStatus:a/core.v1.PodExtendedResourceClaimStatus 19=allocatedResources:{}m/api.resource.Quantity 20=*resources:a/core.v1.ResourceRequirements 21=nodeAllocatableResourceClaimStatuses:[]a/core.v1.NodeAllocatableResourceClaimStatus 22=volumeHealth:[]a/core.v1.PodVolumeHealth
a/core.v1.PodTemplateSpec 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/core.v1.PodSpec
a/core.v1.PodVolumeHealth 1=name:string 2=healthConditions:[]a/core.v1.VolumeHealthCondition 3=lastTransitionTime:m/apis.meta.v1.Time
a/core.v1.PortStatus 1=port:int32 2=protocol:string 3=*error:string
a/core.v1.PortworxVolumeSource 1=volumeID:string 2=fsType:string 3=readOnly:bool
a/core.v1.PreferredSchedulingTerm 1=weight:int32 2=preference:a/core.v1.NodeSelectorTerm
a/core.v1.Probe 1=~handler:a/core.v1.ProbeHandler 2=initialDelaySeconds:int32 3=timeoutSeconds:int32 4=periodSeconds:int32 5=successThreshold:int32 6=failureThreshold:int32 7=*terminationGracePeriodSeconds:int64
a/core.v1.ProbeHandler 1=*exec:a/core.v1.ExecAction 2=*httpGet:a/core.v1.HTTPGetAction 3=*tcpSocket:a/core.v1.TCPSocketAction 4=*grpc:a/core.v1.GRPCAction
a/core.v1.ProjectedVolumeSource 1=sources:[]a/core.v1.VolumeProjection 2=*defaultMode:int32 3=*defaultUser:int64
a/core.v1.QuobyteVolumeSource 1=registry:string 2=volume:string 3=readOnly:bool 4=user:string 5=group:string 6=tenant:string
a/core.v1.RBDVolumeSource 1=monitors:[]string 2=image:string 3=fsType:string 4=pool:string 5=user:string 6=keyring:string 7=*secretRef:a/core.v1.LocalObjectReference 8=readOnly:bool
a/core.v1.ResourceClaim 1=name:string 2=request:string
a/core.v1.ResourceFieldSelector 1=containerName:string 2=resource:string 3=divisor:m/api.resource.Quantity
a/core.v1.ResourceHealth 1=resourceID:string 2=health:string 6=*message:string
a/core.v1.ResourceQuota 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/core.v1.ResourceQuotaSpec 3=status:a/core.v1.ResourceQuotaStatus
a/core.v1.ResourceQuotaSpec 1=hard:{}m/api.resource.Quantity 2=scopes:[]string 3=*scopeSelector:a/core.v1.ScopeSelector
a/core.v1.ResourceQuotaStatus 1=hard:{}m/api.resource.Quantity 2=used:{}m/api.resource.Quantity
a/core.v1.ResourceRequirements 1=limits:{}m/api.resource.Quantity 2=requests:{}m/api.resource.Quantity 3=claims:[]a/core.v1.ResourceClaim
a/core.v1.ResourceStatus 1=name:string 2=resources:[]a/core.v1.ResourceHealth
a/core.v1.SELinuxOptions 1=user:string 2=role:string 3=type:string 4=level:string
a/core.v1.ScaleIOVolumeSource 1=gateway:string 2=system:string 3=*secretRef:a/core.v1.LocalObjectReference 4=sslEnabled:bool 5=protectionDomain:string 6=storagePool:string 7=storageMode:string 8=volumeName:string 9=fsType:string 10=readOnly:bool
a/core.v1.ScopeSelector 1=matchExpressions:[]a/core.v1.ScopedResourceSelectorRequirement
a/core.v1.ScopedResourceSelectorRequirement 1=scopeName:string 2=operator:string 3=values:[]string
a/core.v1.SeccompProfile 1=type:string 2=*localhostProfile:string
a/core.v1.Secret 1=metadata:m/apis.meta.v1.ObjectMeta 2=data:{}bytes 3=type:string 4=stringData:{}string 5=*immutable:bool
a/core.v1.SecretEnvSource 1=~localObjectReference:a/core.v1.LocalObjectReference 2=*optional:bool
a/core.v1.SecretKeySelector 1=~localObjectReference:a/core.v1.LocalObjectReference 2=key:string 3=*optional:bool
a/core.v1.SecretProjection 1=~localObjectReference:a/core.v1.LocalObjectReference 2=items:[]a/core.v1.KeyToPath 4=*optional:bool
a/core.v1.SecretVolumeSource 1=secretName:string 2=items:[]a/core.v1.KeyToPath 3=*defaultMode:int32 4=*optional:bool 5=*defaultUser:int64
a/core.v1.SecurityContext 1=*capabilities:a/core.v1.Capabilities 2=*privileged:bool 3=*seLinuxOptions:a/core.v1.SELinuxOptions 4=*runAsUser:int64 5=*runAsNonRoot:bool 6=*readOnlyRootFilesystem:bool 7=*allowPrivilegeEscalation:bool 8=*runAsGroup:int64 9=*procMount:string 10=*windowsOptions:a/core.v1.WindowsSecurityContextOptions 11=*seccompProfile:a/core.v1.SeccompProfile 12=*appArmorProfile:a/core.v1.AppArmorProfile
a/core.v1.Service 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/core.v1.ServiceSpec 3=status:a/core.v1.ServiceStatus
a/core.v1.ServiceAccount 1=metadata:m/apis.meta.v1.ObjectMeta 2=secrets:[]a/core.v1.ObjectReference 3=imagePullSecrets:[]a/core.v1.LocalObjectReference 4=*automountServiceAccountToken:bool
a/core.v1.ServiceAccountTokenProjection 1=audience:string 2=*expirationSeconds:int64 3=path:string 4=*user:int64
a/core.v1.ServicePort 1=name:string 2=protocol:string 3=port:int32 4=targetPort:m/util.intstr.IntOrString 5=nodePort:int32 6=*appProtocol:string
a/core.v1.ServiceSpec 1=ports:[]a/core.v1.ServicePort 2=selector:{}string 3=clusterIP:string 4=type:string 5=externalIPs:[]string 7=sessionAffinity:string 8=loadBalancerIP:string 9=loadBalancerSourceRanges:[]string 10=externalName:string 11=externalTrafficPolicy:string 12=healthCheckNodePort:int32 13=publishNotReadyAddresses:bool 14=*sessionAffinityConfig:a/core.v1.SessionAffinityConfig 17=*ipFamilyPolicy:string 18=clusterIPs:[]string 19=ipFamilies:[]string 20=*allocateLoadBalancerNodePorts:bool 21=*loadBalancerClass:string 22=*internalTrafficPolicy:string 23=*trafficDistribution:string
a/core.v1.ServiceStatus 1=loadBalancer:a/core.v1.LoadBalancerStatus 2=conditions:[]m/apis.meta.v1.Condition
a/core.v1.SessionAffinityConfig 1=*clientIP:a/core.v1.ClientIPConfig
a/core.v1.SleepAction 1=seconds:int64
a/core.v1.StorageOSVolumeSource 1=volumeName:string 2=volumeNamespace:string 3=fsType:string 4=readOnly:bool 5=*secretRef:a/core.v1.LocalObjectReference
a/core.v1.Sysctl 1=name:string 2=value:string
a/core.v1.TCPSocketAction 1=port:m/util.intstr.IntOrString 2=host:string
a/core.v1.Taint 1=key:string 2=value:string 3=effect:string 4=*timeAdded:m/apis.meta.v1.Time
a/core.v1.Toleration 1=key:string 2=operator:string 3=value:string 4=effect:string 5=*tolerationSeconds:int64
a/core.v1.TopologySpreadConstraint 1=maxSkew:int32 2=topologyKey:string 3=whenUnsatisfiable:string 4=*labelSelector:m/apis.meta.v1.LabelSelector 5=*minDomains:int32 6=*nodeAffinityPolicy:string 7=*nodeTaintsPolicy:string 8=matchLabelKeys:[]string
a/core.v1.TypedLocalObjectReference 1=*apiGroup:string 2=kind:string 3=name:string
a/core.v1.TypedObjectReference 1=*apiGroup:string 2=kind:string 3=name:string 4=*namespace:string
a/core.v1.Volume 1=name:string 2=~volumeSource:a/core.v1.VolumeSource
a/core.v1.VolumeDevice 1=name:string 2=devicePath:string
a/core.v1.VolumeHealthCondition 1=status:string 2=reason:string 3=message:string
a/core.v1.VolumeHealthStatus 1=healthConditions:[]a/core.v1.VolumeHealthCondition 2=lastTransitionTime:m/apis.meta.v1.Time
a/core.v1.VolumeMount 1=name:string 2=readOnly:bool 3=mountPath:string 4=subPath:string 5=*mountPropagation:string 6=subPathExpr:string 7=*recursiveReadOnly:string 8=bindMountOptions:[]string
a/core.v1.VolumeMountStatus 1=name:string 2=mountPath:string 3=readOnly:bool 4=*recursiveReadOnly:string 5=*volumeStatus:a/core.v1.VolumeStatus
a/core.v1.VolumeProjection 1=*secret:a/core.v1.SecretProjection 2=*downwardAPI:a/core.v1.DownwardAPIProjection 3=*configMap:a/core.v1.ConfigMapProjection 4=*serviceAccountToken:a/core.v1.ServiceAccountTokenProjection 5=*clusterTrustBundle:a/core.v1.ClusterTrustBundleProjection 6=*podCertificate:a/core.v1.PodCertificateProjection
a/core.v1.VolumeResourceRequirements 1=limits:{}m/api.resource.Quantity 2=requests:{}m/api.resource.Quantity
a/core.v1.VolumeSource 1=*hostPath:a/core.v1.HostPathVolumeSource 2=*emptyDir:a/core.v1.EmptyDirVolumeSource 3=*gcePersistentDisk:a/core.v1.GCEPersistentDiskVolumeSource 4=*awsElasticBlockStore:a/core.v1.AWSElasticBlockStoreVolumeSource 5=*gitRepo:a/core.v1.GitRepoVolumeSource 6=*secret:a/core.v1.SecretVolumeSource 7=*nfs:a/core.v1.NFSVolumeSource 8=*iscsi:a/core.v1.ISCSIVolumeSource 9=*glusterfs:a/core.v1.GlusterfsVolumeSource 10=*persistentVolumeClaim:a/core.v1.PersistentVolumeClaimVolumeSource 11=*rbd:a/core.v1.RBDVolumeSource 12=*flexVolume:a/core.v1.FlexVolumeSource 13=*cinder:a/core.v1.CinderVolumeSource 14=*cephfs:a/core.v1.CephFSVolumeSource 15=*flocker:a/core.v1.FlockerVolumeSource 16=*downwardAPI:a/core.v1.DownwardAPIVolumeSource 17=*fc:a/core.v1.FCVolumeSource 18=*azureFile:a/core.v1.AzureFileVolumeSource 19=*configMap:a/core.v1.ConfigMapVolumeSource 20=*vsphereVolume:a/core.v1.VsphereVirtualDiskVolumeSource 21=*quobyte:a/core.v1.QuobyteVolumeSource 22=*azureDisk:a/core.v1.AzureDiskVolumeSource 23=*photonPersistentDisk:a/core.v1.PhotonPersistentDiskVolumeSource 24=*portworxVolume:a/core.v1.PortworxVolumeSource 25=*scaleIO:a/core.v1.ScaleIOVolumeSource 26=*projected:a/core.v1.ProjectedVolumeSource 27=*storageos:a/core.v1.StorageOSVolumeSource 28=*csi:a/core.v1.CSIVolumeSource 29=*ephemeral:a/core.v1.EphemeralVolumeSource 30=*image:a/core.v1.ImageVolumeSource
a/core.v1.VolumeStatus 1=*image:a/core.v1.ImageVolumeStatus
a/core.v1.VsphereVirtualDiskVolumeSource 1=volumePath:string 2=fsType:string 3=storagePolicyName:string 4=storagePolicyID:string
a/core.v1.WeightedPodAffinityTerm 1=weight:int32 2=podAffinityTerm:a/core.v1.PodAffinityTerm
a/core.v1.WindowsSecurityContextOptions 1=*gmsaCredentialSpecName:string 2=*gmsaCredentialSpec:string 3=*runAsUserName:string 4=*hostProcess:bool
a/events.v1.Event 1=metadata:m/apis.meta.v1.ObjectMeta 2=eventTime:m/apis.meta.v1.MicroTime 3=*series:a/events.v1.EventSeries 4=reportingController:string 5=reportingInstance:string 6=action:string 7=reason:string 8=regarding:a/core.v1.ObjectReference 9=*related:a/core.v1.ObjectReference 10=note:string 11=type:string 12=deprecatedSource:a/core.v1.EventSource 13=deprecatedFirstTimestamp:m/apis.meta.v1.Time 14=deprecatedLastTimestamp:m/apis.meta.v1.Time 15=deprecatedCount:int32
a/events.v1.EventSeries 1=count:int32 2=lastObservedTime:m/apis.meta.v1.MicroTime
a/networking.v1.IPBlock 1=cidr:string 2=except:[]string
a/networking.v1.NetworkPolicy 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/networking.v1.NetworkPolicySpec
a/networking.v1.NetworkPolicyEgressRule 1=ports:[]a/networking.v1.NetworkPolicyPort 2=to:[]a/networking.v1.NetworkPolicyPeer
a/networking.v1.NetworkPolicyIngressRule 1=ports:[]a/networking.v1.NetworkPolicyPort 2=from:[]a/networking.v1.NetworkPolicyPeer
a/networking.v1.NetworkPolicyPeer 1=*podSelector:m/apis.meta.v1.LabelSelector 2=*namespaceSelector:m/apis.meta.v1.LabelSelector 3=*ipBlock:a/networking.v1.IPBlock
a/networking.v1.NetworkPolicyPort 1=*protocol:string 2=*port:m/util.intstr.IntOrString 3=*endPort:int32
a/networking.v1.NetworkPolicySpec 1=podSelector:m/apis.meta.v1.LabelSelector 2=ingress:[]a/networking.v1.NetworkPolicyIngressRule 3=egress:[]a/networking.v1.NetworkPolicyEgressRule 4=policyTypes:[]string
a/policy.v1.Eviction 1=metadata:m/apis.meta.v1.ObjectMeta 2=*deleteOptions:m/apis.meta.v1.DeleteOptions
a/policy.v1.PodDisruptionBudget 1=metadata:m/apis.meta.v1.ObjectMeta 2=spec:a/policy.v1.PodDisruptionBudgetSpec 3=status:a/policy.v1.PodDisruptionBudgetStatus
a/policy.v1.PodDisruptionBudgetSpec 1=*minAvailable:m/util.intstr.IntOrString 2=*selector:m/apis.meta.v1.LabelSelector 3=*maxUnavailable:m/util.intstr.IntOrString 4=*unhealthyPodEvictionPolicy:string
a/policy.v1.PodDisruptionBudgetStatus 1=observedGeneration:int64 2=disruptedPods:{}m/apis.meta.v1.Time 3=disruptionsAllowed:int32 4=currentHealthy:int32 5=desiredHealthy:int32 6=expectedPods:int32 7=conditions:[]m/apis.meta.v1.Condition
a/rbac.v1.AggregationRule 1=clusterRoleSelectors:[]m/apis.meta.v1.LabelSelector
a/rbac.v1.ClusterRole 1=metadata:m/apis.meta.v1.ObjectMeta 2=rules:[]a/rbac.v1.PolicyRule 3=*aggregationRule:a/rbac.v1.AggregationRule
a/rbac.v1.ClusterRoleBinding 1=metadata:m/apis.meta.v1.ObjectMeta 2=subjects:[]a/rbac.v1.Subject 3=roleRef:a/rbac.v1.RoleRef
a/rbac.v1.PolicyRule 1=verbs:[]string 2=apiGroups:[]string 3=resources:[]string 4=resourceNames:[]string 5=nonResourceURLs:[]string
a/rbac.v1.Role 1=metadata:m/apis.meta.v1.ObjectMeta 2=rules:[]a/rbac.v1.PolicyRule
a/rbac.v1.RoleBinding 1=metadata:m/apis.meta.v1.ObjectMeta 2=subjects:[]a/rbac.v1.Subject 3=roleRef:a/rbac.v1.RoleRef
a/rbac.v1.RoleRef 1=apiGroup:string 2=kind:string 3=name:string
a/rbac.v1.Subject 1=kind:string 2=apiGroup:string 3=name:string 4=namespace:string
a/scheduling.v1.PriorityClass 1=metadata:m/apis.meta.v1.ObjectMeta 2=value:int32 3=globalDefault:bool 4=description:string 5=*preemptionPolicy:string
m/api.resource.Quantity 1=string:string
m/apis.meta.v1.Condition 1=type:string 2=status:string 3=observedGeneration:int64 4=lastTransitionTime:m/apis.meta.v1.Time 5=reason:string 6=message:string
m/apis.meta.v1.DeleteOptions 1=*gracePeriodSeconds:int64 2=*preconditions:m/apis.meta.v1.Preconditions 3=*orphanDependents:bool 4=*propagationPolicy:string 5=dryRun:[]string 6=*ignoreStoreReadErrorWithClusterBreakingPotential:bool
m/apis.meta.v1.FieldSelectorRequirement 1=key:string 2=operator:string 3=values:[]string
m/apis.meta.v1.FieldsV1 1=Raw:bytes
m/apis.meta.v1.LabelSelector 1=matchLabels:{}string 2=matchExpressions:[]m/apis.meta.v1.LabelSelectorRequirement
m/apis.meta.v1.LabelSelectorRequirement 1=key:string 2=operator:string 3=values:[]string
m/apis.meta.v1.ListMeta 1=selfLink:string 2=resourceVersion:string 3=continue:string 4=*remainingItemCount:int64 5=*shardInfo:m/apis.meta.v1.ShardInfo
m/apis.meta.v1.ManagedFieldsEntry 1=manager:string 2=operation:string 3=apiVersion:string 4=*time:m/apis.meta.v1.Time 6=fieldsType:string 7=*fieldsV1:m/apis.meta.v1.FieldsV1 8=subresource:string
m/apis.meta.v1.MicroTime 1=seconds:int64 2=nanos:int32
m/apis.meta.v1.ObjectMeta 1=name:string 2=generateName:string 3=namespace:string 4=selfLink:string 5=uid:string 6=resourceVersion:string 7=generation:int64 8=creationTimestamp:m/apis.meta.v1.Time 9=*deletionTimestamp:m/apis.meta.v1.Time 10=*deletionGracePeriodSeconds:int64 11=labels:{}string 12=annotations:{}string 13=ownerReferences:[]m/apis.meta.v1.OwnerReference 14=finalizers:[]string 17=managedFields:[]m/apis.meta.v1.ManagedFieldsEntry
m/apis.meta.v1.OwnerReference 1=kind:string 3=name:string 4=uid:string 5=apiVersion:string 6=*controller:bool 7=*blockOwnerDeletion:bool
m/apis.meta.v1.Preconditions 1=*uid:string 2=*resourceVersion:string
m/apis.meta.v1.ShardInfo 1=selector:string
m/apis.meta.v1.Status 1=metadata:m/apis.meta.v1.ListMeta 2=status:string 3=message:string 4=reason:string 5=*details:m/apis.meta.v1.StatusDetails 6=code:int32
m/apis.meta.v1.StatusCause 1=reason:string 2=message:string 3=field:string
m/apis.meta.v1.StatusDetails 1=name:string 2=group:string 3=kind:string 4=causes:[]m/apis.meta.v1.StatusCause 5=retryAfterSeconds:int32 6=uid:string
m/apis.meta.v1.Time 1=seconds:int64 2=nanos:int32
m/util.intstr.IntOrString 1=type:int64 2=intVal:int32 3=strVal:string
"""
