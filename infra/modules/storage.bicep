// The storage account: the host's leases and checkpoints, the package, the
// ledger of deliveries, and what could not be delivered or read. There are no
// account keys; everybody comes by identity.
import { principal, tagMap } from 'types.bicep'

param name string
param location string
param tags tagMap
param zoneRedundant bool
param ledgerDays int
param unreadableDays int
param workspaceId string
param principalId string
param operator principal?

var roles = {
  // What the Functions host demands on the account of its leases, keys, checkpoints
  // and package. podwatch keeps its own data beside them.
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  storageBlobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  // The queue of undelivered alerts and its poison queue.
  storageQueueDataContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  // The host's diagnostic events; without it the log fills with table errors.
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
}

var appRoles = [
  roles.storageBlobDataOwner
  roles.storageQueueDataContributor
  roles.storageTableDataContributor
]

var containers = ['deployments', 'podwatch-ledger', 'podwatch-state', 'unreadable-messages']

// For the package of the Premium plan, for the dead letters of podwatch requeue, and
// for a look at unreadable messages. What was delivered can be read and not changed;
// the host's own containers are not the operator's.
var operatorContainers = operator == null ? [] : [
  { name: 'deployments', role: roles.storageBlobDataContributor }
  { name: 'podwatch-ledger', role: roles.storageBlobDataReader }
  { name: 'podwatch-state', role: roles.storageBlobDataContributor }
  { name: 'unreadable-messages', role: roles.storageBlobDataContributor }
]

var queues = ['undelivered-alerts', 'undelivered-alerts-poison']

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
  }
  properties: {
    accessTier: 'Hot'
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled' // a Flex app without a network of its own comes from the internet side
    networkAcls: {
      defaultAction: 'Allow'
      bypass: 'AzureServices'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 7
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 7
    }
  }
}

resource blobContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [for container in containers: {
  parent: blobs
  name: container
  properties: {
    publicAccess: 'None'
  }
}]

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource storageQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [for queue in queues: {
  parent: queueService
  name: queue
}]

// The ledger and the unreadable messages grow for ever without these.
resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'expire-ledger'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: ['podwatch-ledger/']
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: ledgerDays
                }
              }
            }
          }
        }
        {
          name: 'expire-unreadable-messages'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: ['unreadable-messages/']
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: unreadableDays
                }
              }
            }
          }
        }
      ]
    }
  }
}

resource appAssignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in appRoles: {
  name: guid(account.id, principalId, role)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}]

resource operatorContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = [for container in operatorContainers: {
  parent: blobs
  name: container.name
}]

resource operatorBlobAssignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (container, i) in operatorContainers: {
  name: guid(operatorContainer[i].id, operator!.id, container.role)
  scope: operatorContainer[i]
  properties: {
    principalId: operator!.id
    principalType: operator!.type
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', container.role)
  }
  dependsOn: [blobContainers]
}]

resource operatorQueueAssignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operator != null) {
  name: guid(account.id, operator!.id, roles.storageQueueDataContributor)
  scope: account
  properties: {
    principalId: operator!.id
    principalType: operator!.type
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageQueueDataContributor)
  }
}

// Deletions only: the host writes leases all day.
var deletions = [
  {
    category: 'StorageDelete'
    enabled: true
  }
]

#disable-next-line use-recent-api-versions // no later version, and the one before it is older
resource blobDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'podwatch'
  scope: blobs
  properties: {
    workspaceId: workspaceId
    logs: deletions
  }
}

#disable-next-line use-recent-api-versions // no later version, and the one before it is older
resource queueDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'podwatch'
  scope: queueService
  properties: {
    workspaceId: workspaceId
    logs: deletions
  }
}

#disable-next-line use-recent-api-versions // no later version, and the one before it is older
resource tableDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'podwatch'
  scope: tableService
  properties: {
    workspaceId: workspaceId
    logs: deletions
  }
}

output name string = account.name
output blobServiceUri string = account.properties.primaryEndpoints.blob
output queueServiceUri string = account.properties.primaryEndpoints.queue
output tableServiceUri string = account.properties.primaryEndpoints.table
output packageContainerUri string = '${account.properties.primaryEndpoints.blob}deployments'
