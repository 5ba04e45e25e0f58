// The types that main.bicep and its modules share.

@export()
type tagMap = { *: string }

@export()
@description('App settings by name.')
type settingMap = { *: string }

@export()
@description('Who may use the hub and the storage from a desk or a pipeline.')
type principal = {
  @description('Object id.')
  id: string
  type: 'User' | 'Group' | 'ServicePrincipal'
}

@export()
@description('A cluster that exports its audit log. It must be in the region of the event hub.')
type cluster = {
  @description('aks: a managed cluster (default). arc: an AKS cluster enabled by Arc, with the extension Microsoft.AKSArc.AzureMonitor; other Arc-enabled clusters accept the setting and export nothing.')
  kind: ('aks' | 'arc')?

  @description('Name of the cluster.')
  name: string

  @description('Resource group of the cluster.')
  resourceGroup: string

  @description('Subscription of the cluster; by default the one that is deployed to.')
  subscriptionId: string?
}
