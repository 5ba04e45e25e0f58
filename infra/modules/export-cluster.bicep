// The audit log of one managed cluster into the hub. It is deployed to the
// cluster's own resource group, and can be run alone for a further cluster:
//
//   az deployment group create --resource-group CLUSTER_GROUP \
//     --template-file infra/modules/export-cluster.bicep \
//     --parameters name=podwatch clusterName=... authorizationRuleId=... eventHubName=podwatch-logs
@description('Name of the diagnostic setting; a cluster may have five.')
param name string

@description('Name of the managed cluster.')
param clusterName string

@description('Resource id of the namespace\'s authorization rule for the exporter. The namespace must be in the cluster\'s region.')
param authorizationRuleId string

@description('Always named: left open, Azure Monitor makes up a hub per category.')
param eventHubName string

@description('kube-audit-admin has every deletion; kube-audit adds get and list.')
param categories array = ['kube-audit-admin']

resource cluster 'Microsoft.ContainerService/managedClusters@2024-09-01' existing = {
  name: clusterName
}

resource setting 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: name
  scope: cluster
  properties: {
    eventHubAuthorizationRuleId: authorizationRuleId
    eventHubName: eventHubName
    logs: [for category in categories: {
      category: category
      enabled: true
    }]
  }
}
