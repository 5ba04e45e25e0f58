// The Event Hubs namespace and the one hub that all logs are exported to.
import { principal, tagMap } from 'types.bicep'

param name string
param location string
param tags tagMap
param eventHubName string
param partitionCount int
param retentionDays int
param maximumThroughputUnits int
param consumerGroup string
param workspaceId string
param principalId string
param operator principal?

var roles = {
  azureEventHubsDataReceiver: 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde'
  azureEventHubsDataSender: '2b629674-e913-4c01-ae53-ef4638d8f975'
}

// For podwatch send, replay and run --event-hub.
var operatorRoles = operator == null ? [] : [
  roles.azureEventHubsDataReceiver
  roles.azureEventHubsDataSender
]

resource namespace 'Microsoft.EventHub/namespaces@2026-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: 'Standard' // Basic has neither consumer groups nor more than a day of retention
    tier: 'Standard'
    capacity: 1
  }
  properties: {
    minimumTlsVersion: '1.2'
    // Exception to the rule "no local authentication": Azure Monitor's exporter
    // signs in with a shared access key and with nothing else, so a namespace
    // that refuses keys receives no logs at all. The key is that of the rule
    // "exporter" below, which nobody else uses; it appears in no setting and no
    // output. podwatch itself comes by identity. A policy that turns local
    // authentication off needs an exemption for this namespace.
    disableLocalAuth: false
    publicNetworkAccess: 'Enabled'
    isAutoInflateEnabled: maximumThroughputUnits > 1
    maximumThroughputUnits: maximumThroughputUnits > 1 ? maximumThroughputUnits : 0
  }
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2026-01-01' = {
  parent: namespace
  name: eventHubName
  properties: {
    partitionCount: partitionCount
    retentionDescription: {
      cleanupPolicy: 'Delete' // the exporter refuses compacted hubs
      retentionTimeInHours: retentionDays * 24
    }
  }
}

// The function app's own group: a second reader in it would take partitions away.
resource appGroup 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2026-01-01' = {
  parent: hub
  name: consumerGroup
}

// For podwatch replay and run --event-hub, beside the running app.
resource toolGroup 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2026-01-01' = {
  parent: hub
  name: '${consumerGroup}-tool'
}

// Only rules of the namespace are accepted for diagnostic settings, and only
// with all three rights. A dedicated rule can be rotated or removed without
// touching RootManageSharedAccessKey, which stays unused.
resource exporter 'Microsoft.EventHub/namespaces/authorizationRules@2026-01-01' = {
  parent: namespace
  name: 'exporter'
  properties: {
    rights: ['Listen', 'Manage', 'Send']
  }
}

// On the hub: the trigger does not work with a role on the consumer group.
resource appAssignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hub.id, principalId, roles.azureEventHubsDataReceiver)
  scope: hub
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.azureEventHubsDataReceiver)
  }
}

resource operatorAssignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in operatorRoles: {
  name: guid(hub.id, operator!.id, role)
  scope: hub
  properties: {
    principalId: operator!.id
    principalType: operator!.type
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}]

#disable-next-line use-recent-api-versions // no later version, and the one before it is older
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'podwatch'
  scope: namespace
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'OperationalLogs' // the category group audit is empty on Standard
        enabled: true
      }
    ]
  }
}

// The host name differs between clouds; the endpoint knows it.
output fullyQualifiedNamespace string = split(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':')[0]
output exporterRuleId string = exporter.id
