// podwatch in Azure, all of it: one deployment at subscription scope.
//
//   az deployment sub create --location LOCATION --template-file infra/main.bicep --parameters infra/main.bicepparam
//
// Who deploys needs Owner, or Contributor together with User Access
// Administrator, on the subscription: the template assigns roles, creates the
// subscription's diagnostic setting, and lists the exporter's key for it.
//
// Nothing in here holds a key. The handler acts as one user-assigned identity
// whose roles are named beside the resources that they open. The only secret is
// the address of the Teams webhook, which lives in Key Vault.
targetScope = 'subscription'

type cluster = {
  @description('Name of the managed cluster.')
  name: string

  @description('Resource group of the managed cluster.')
  resourceGroup: string

  @description('Subscription of the managed cluster; the one that is deployed to when it is left out.')
  subscriptionId: string?
}

@description('Beginning of every name: lower-case letters and digits.')
@minLength(3)
@maxLength(9)
param name string = 'podwatch'

@description('Region. Clusters can export only to a hub in their own region; the activity log has none.')
param location string = deployment().location

@description('Resource group to create.')
param resourceGroupName string = 'rg-${name}-${location}'

@description('Plan of the function app: Flex Consumption, which scales to nothing, or Elastic Premium where Flex is not offered.')
@allowed(['flex', 'premium'])
param plan string = 'flex'

@description('Memory of one Flex instance in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Most instances of one function.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances of Detect that always run: 0 costs nothing and adds a cold start of seconds to the first alert after a quiet time. Flex only.')
@minValue(0)
param alwaysReady int = 0

@description('Address of the Teams workflow that posts the cards. Empty: rows only. Pass it at deployment; it goes to Key Vault and nowhere else.')
@secure()
param teamsWebhookUrl string = ''

@description('Whether cards go to Teams. True without an address keeps the one that the vault holds already, so that a later deployment need not know it.')
param useTeams bool = !empty(teamsWebhookUrl)

@description('More host suffixes that a webhook may have, comma separated; for sovereign clouds.')
param teamsWebhookHosts string = ''

@description('Whether this subscription exports its activity log. Off where a management group exports already: every record would come twice.')
param exportActivityLog bool = true

@description('Managed clusters that export their audit log. They must be in this region.')
param clusters cluster[] = []

@description('Audit categories. kube-audit-admin leaves out get and list, which a pod deletion does not need; kube-audit multiplies volume and cost.')
param auditCategories string[] = ['kube-audit-admin']

@description('Event hub that everything is exported to.')
param eventHubName string = 'podwatch-logs'

@description('Partitions of the event hub: the most batches that are worked on at once.')
@minValue(1)
@maxValue(32)
param partitionCount int = 4

@description('Days that the event hub keeps messages: how long podwatch may be down, and how far back podwatch replay can go.')
@minValue(1)
@maxValue(7)
param hubRetentionDays int = 7

@description('Throughput units that the namespace may grow to; each takes in 1 MB a second.')
@minValue(1)
@maxValue(40)
param maximumThroughputUnits int = 4

@description('Days that alerts and podwatch\'s own logs stay queryable.')
@minValue(30)
@maxValue(730)
param workspaceRetentionDays int = 90

@description('Days until an entry of the ledger may expire. It must outlive the event hub\'s retention, or a replayed message is told twice.')
@minValue(8)
param ledgerDays int = 30

@description('Days that messages which could not be read are kept for a look.')
@minValue(1)
param unreadableDays int = 30

@description('Redundancy of the storage account.')
@allowed(['Standard_LRS', 'Standard_ZRS'])
param storageSku string = 'Standard_LRS'

@description('Whether podwatch asks Microsoft Graph for names. Grant the permission first: infra/grant-graph.sh.')
@allowed(['on', 'off'])
param graphLookups string = 'off'

@description('Whether podwatch reads activity log and tags for the timeline. Grant the role first: infra/permissions.bicep.')
@allowed(['on', 'off'])
param activityLookups string = 'off'

@description('How long the feed may be silent before that is an alert.')
param feedSilenceAfter string = '60m'

@description('Whether deletions by Kubernetes\' own controllers are written as rows.')
@allowed(['on', 'off'])
param recordRoutine string = 'off'

@description('Level of podwatch\'s own log.')
@allowed(['debug', 'info', 'warn', 'error'])
param logLevel string = 'info'

@description('Mail addresses that hear when podwatch itself fails.')
param failureEmails string[] = []

@description('Object id of a person or group that may send to and read from the hub, look at unreadable messages and upload the package. Empty: nobody.')
param operatorPrincipalId string = ''

@description('What operatorPrincipalId is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param operatorPrincipalType string = 'User'

@description('Set to true for the first deployment after podwatch was removed: the vault still exists, deleted, under the same name.')
param recoverVault bool = false

@description('Tags of every resource.')
param tags object = {
  app: 'podwatch'
}

var token = uniqueString(subscription().subscriptionId, resourceGroupName, name)
var consumerGroup = 'podwatch'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: resourceGroupName
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'podwatch-identity'
  scope: group
  params: {
    name: 'id-${name}-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'podwatch-monitoring'
  scope: group
  params: {
    name: '${name}-${token}'
    location: location
    tags: tags
    retentionDays: workspaceRetentionDays
    principalId: identity.outputs.principalId
  }
}

module storage 'modules/storage.bicep' = {
  name: 'podwatch-storage'
  scope: group
  params: {
    name: take('st${name}${token}', 24)
    location: location
    tags: tags
    sku: storageSku
    ledgerDays: ledgerDays
    unreadableDays: unreadableDays
    workspaceId: monitoring.outputs.workspaceId
    principalId: identity.outputs.principalId
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
  }
}

module eventHub 'modules/eventhub.bicep' = {
  name: 'podwatch-eventhub'
  scope: group
  params: {
    name: 'evhns-${name}-${token}'
    location: location
    tags: tags
    eventHubName: eventHubName
    partitionCount: partitionCount
    retentionDays: hubRetentionDays
    maximumThroughputUnits: maximumThroughputUnits
    consumerGroup: consumerGroup
    workspaceId: monitoring.outputs.workspaceId
    principalId: identity.outputs.principalId
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
  }
}

module vault 'modules/keyvault.bicep' = {
  name: 'podwatch-keyvault'
  scope: group
  params: {
    name: take('kv-${name}-${token}', 24)
    location: location
    tags: tags
    recover: recoverVault
    useTeams: useTeams
    teamsWebhookUrl: teamsWebhookUrl
    workspaceId: monitoring.outputs.workspaceId
    principalId: identity.outputs.principalId
  }
}

// The account name stands for the public cloud's host names; elsewhere each
// service is named.
var storageSettings = environment().name == 'AzureCloud' ? {
  AzureWebJobsStorage__accountName: storage.outputs.name
} : {
  AzureWebJobsStorage__blobServiceUri: storage.outputs.blobServiceUri
  AzureWebJobsStorage__queueServiceUri: storage.outputs.queueServiceUri
  AzureWebJobsStorage__tableServiceUri: storage.outputs.tableServiceUri
}

// Every other app setting. Two names are missing on purpose, AzureWebJobsStorage
// and EventHub: set to a connection string, they would override the
// identity-based forms without a word.
var settings = union(storageSettings, {
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.outputs.clientId

  EventHub__fullyQualifiedNamespace: eventHub.outputs.fullyQualifiedNamespace
  EventHub__credential: 'managedidentity'
  EventHub__clientId: identity.outputs.clientId
  EVENT_HUB_NAME: eventHubName
  EVENT_HUB_CONSUMER_GROUP: consumerGroup

  TEAMS_WEBHOOK_URL: vault.outputs.webhookReference
  TEAMS_WEBHOOK_HOSTS: teamsWebhookHosts
  LOG_ANALYTICS_ENDPOINT: monitoring.outputs.ingestionEndpoint
  LOG_ANALYTICS_RULE_ID: monitoring.outputs.ruleImmutableId
  LOG_ANALYTICS_STREAM: monitoring.outputs.stream
  LOG_ANALYTICS_WORKSPACE_ID: monitoring.outputs.workspaceId

  // Empty: what the package holds beside the executable.
  RULES_DIR: ''
  EXCEPTIONS_FILE: ''

  GRAPH_LOOKUPS: graphLookups
  ACTIVITY_LOOKUPS: activityLookups
  GRAPH_ENDPOINT: '' // by AZURE_AUTHORITY_HOST
  ARM_ENDPOINT: environment().resourceManager
  FEED_SILENCE_AFTER: feedSilenceAfter
  RECORD_ROUTINE: recordRoutine
  BODY_LIMIT_MIB: '96'
  LOG_LEVEL: logLevel

  AZURE_AUTHORITY_HOST: environment().authentication.loginEndpoint
  AZURE_CLIENT_ID: identity.outputs.clientId
  AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential'

  APPLICATIONINSIGHTS_CONNECTION_STRING: monitoring.outputs.insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.outputs.clientId};Authorization=AAD'
})

// The settings come from the other modules, so the app is created after every
// role that it needs for its first start.
module flexApp 'modules/app-flex.bicep' = if (plan == 'flex') {
  name: 'podwatch-app-flex'
  scope: group
  params: {
    name: 'func-${name}-${token}'
    location: location
    tags: tags
    settings: settings
    identityId: identity.outputs.id
    packageContainerUri: storage.outputs.packageContainerUri
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReady: alwaysReady
  }
}

module premiumApp 'modules/app-premium.bicep' = if (plan == 'premium') {
  name: 'podwatch-app-premium'
  scope: group
  params: {
    name: 'func-${name}-${token}'
    location: location
    tags: tags
    settings: settings
    identityId: identity.outputs.id
    packageUri: '${storage.outputs.packageContainerUri}/podwatch.zip'
  }
}

module failures 'modules/failure-alerts.bicep' = {
  name: 'podwatch-failure-alerts'
  scope: group
  params: {
    name: name
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    appName: 'func-${name}-${token}'
    emails: failureEmails
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'podwatch-workbook'
  scope: group
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
  }
}

module activityLog 'modules/export-activity-log.bicep' = if (exportActivityLog) {
  name: 'podwatch-export-activity-log'
  params: {
    name: 'podwatch-${token}'
    authorizationRuleId: eventHub.outputs.exporterRuleId
    eventHubName: eventHubName
  }
}

module clusterLogs 'modules/export-cluster.bicep' = [for (c, i) in clusters: {
  name: 'podwatch-export-cluster-${i}'
  scope: resourceGroup(c.?subscriptionId ?? subscription().subscriptionId, c.resourceGroup)
  params: {
    name: 'podwatch-${token}'
    clusterName: c.name
    categories: auditCategories
    authorizationRuleId: eventHub.outputs.exporterRuleId
    eventHubName: eventHubName
  }
}]

output resourceGroupName string = group.name
output functionAppName string = 'func-${name}-${token}'
output plan string = plan
output storageAccountName string = storage.outputs.name
output eventHubNamespace string = eventHub.outputs.fullyQualifiedNamespace
output eventHubName string = eventHubName
output workspaceName string = monitoring.outputs.workspaceName
output workspaceCustomerId string = monitoring.outputs.workspaceCustomerId
output identityPrincipalId string = identity.outputs.principalId
output diagnosticSettingName string = 'podwatch-${token}'
