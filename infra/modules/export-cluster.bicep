// The audit log of one cluster into the hub. It is deployed to the cluster's own
// resource group, and can be run alone for a further cluster:
//
//   az deployment group create --resource-group CLUSTER_GROUP \
//     --template-file infra/modules/export-cluster.bicep \
//     --parameters name=podwatch clusterName=... authorizationRuleId=... eventHubName=podwatch-logs
@description('Name of the diagnostic setting; a cluster may have five.')
param name string

@description('Name of the cluster.')
param clusterName string

@description('aks: a managed cluster. arc: an AKS cluster enabled by Arc, with the extension Microsoft.AKSArc.AzureMonitor; other Arc-enabled clusters accept the setting and export nothing.')
param clusterKind ('aks' | 'arc') = 'aks'

@description('Resource id of the namespace\'s authorization rule for the exporter. The namespace must be in the cluster\'s region.')
param authorizationRuleId string

@description('Always named: left open, Azure Monitor makes up a hub per category.')
param eventHubName string

@description('kube-audit-admin has every deletion; kube-audit adds get and list.')
param categories string[] = ['kube-audit-admin']

var export = {
  eventHubAuthorizationRuleId: authorizationRuleId
  eventHubName: eventHubName
  logs: map(categories, category => {
    category: category
    enabled: true
  })
}

resource managedCluster 'Microsoft.ContainerService/managedClusters@2025-10-01' existing = if (clusterKind == 'aks') {
  name: clusterName
}

resource connectedCluster 'Microsoft.Kubernetes/connectedClusters@2026-05-01' existing = if (clusterKind == 'arc') {
  name: clusterName
}

#disable-next-line use-recent-api-versions // no later version, and the one before it is older
resource managedClusterSetting 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (clusterKind == 'aks') {
  name: name
  scope: managedCluster
  properties: export
}

#disable-next-line use-recent-api-versions // no later version, and the one before it is older
resource connectedClusterSetting 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (clusterKind == 'arc') {
  name: name
  scope: connectedCluster
  properties: export
}
