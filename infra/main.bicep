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

import { cluster, principal, tagMap } from 'modules/types.bicep'

@description('Beginning of every name: lower-case letters and digits.')
@minLength(3)
@maxLength(9)
param name string = 'podwatch'

@description('Region. Clusters can export only to a hub in their own region; the activity log has none.')
param location string = deployment().location

@description('Resource group to create.')
param resourceGroupName string = 'rg-${name}-${location}'

@description('Plan of the function app: Flex Consumption, which scales to nothing, or Elastic Premium where Flex is not offered. To change it later, delete the function app first: an app cannot move between them.')
param plan ('flex' | 'premium') = 'flex'

@description('Memory of one Flex instance in MB.')
param instanceMemoryMB (512 | 2048 | 4096) = 2048

@description('Most instances of one function. Flex only.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances of Detect that always run: 0 costs nothing and adds a cold start of seconds to the first alert after a quiet time. Flex only.')
@minValue(0)
param alwaysReady int = 0

@description('Address of the Teams workflow that posts the cards. Empty: rows only. Pass it at deployment; it goes to Key Vault and nowhere else.')
@secure()
param teamsWebhookUrl string = ''

@description('Whether cards go to Teams; by default if there is an address. True without an address keeps the one that the vault holds already, so that a later deployment need not know it.')
param useTeams bool?

@description('More host suffixes that a webhook may have, comma separated; for sovereign clouds.')
param teamsWebhookHosts string = ''

@description('Whether this subscription exports its activity log. Off where a management group exports already: every record would come twice.')
param exportActivityLog bool = true

@description('Clusters that export their audit log. They must be in this region.')
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

@description('Whether storage account and plan survive the loss of a zone, in regions that have zones. Decide it at the first deployment: neither changes it in place. Premium then runs three instances.')
param zoneRedundant bool = false

@description('Premium only: name of the package in the container deployments that the app runs. A deployment that is to keep the published version passes its name.')
param packageName string = 'podwatch.zip'

@description('Whether podwatch asks Microsoft Graph for names. Grant the permission first: infra/grant-graph.sh.')
param graphLookups ('on' | 'off') = 'off'

@description('Whether podwatch reads activity log and tags for the timeline. Grant the role first: infra/permissions.bicep.')
param activityLookups ('on' | 'off') = 'off'

@description('How long the feed may be silent before that is an alert.')
param feedSilenceAfter string = '60m'

@description('Whether deletions by Kubernetes\' own controllers are written as rows.')
param recordRoutine ('on' | 'off') = 'off'

@description('Level of podwatch\'s own log.')
param logLevel ('debug' | 'info' | 'warn' | 'error') = 'info'

@description('Mail addresses that hear when podwatch itself fails.')
param failureEmails string[] = []

@description('Object id of a person, group or application that may send to and read from the hub, look at unreadable messages and upload the package; by default who deploys. Empty: nobody.')
param operatorPrincipalId string = deployer().objectId

@description('What operatorPrincipalId is; by default User, or what deploys. Always given for a group.')
param operatorPrincipalType ('User' | 'Group' | 'ServicePrincipal')?

@description('Whether Microsoft Sentinel is enabled on the workspace and makes incidents of the alerts. Sentinel has a price of its own.')
param sentinel bool = false

@description('Whether the incidents come in near real time. False: every five minutes, where near real time rules are not offered.')
param sentinelNearRealTime bool = true

@description('True for one deployment only, where the vault exists deleted under the same name: after podwatch was removed. It fails otherwise. Deploy once more with false, because a recovery leaves the vault\'s other properties as they were.')
param recoverVault bool = false

@description('Tags of every resource, beside podwatch\'s own.')
param tags tagMap = {}

var token = uniqueString(subscription().subscriptionId, resourceGroupName, name)
var consumerGroup = 'podwatch'
var appName = 'func-${name}-${token}'
var diagnosticSettingName = 'podwatch-${token}'

// By these an installation is found, also after a deployment that failed and has no
// outputs: its resources, and its diagnostic settings on the subscription and on the
// clusters, which have no tags.
var allTags = {
  ...tags
  app: 'podwatch'
  'podwatch-name': name
  'podwatch-diagnostic-setting': diagnosticSettingName
}

// A caller without a user name is an application or a managed identity.
var operatorType = operatorPrincipalId == deployer().objectId && empty(deployer().userPrincipalName) ? 'ServicePrincipal' : 'User'
var operator principal? = empty(operatorPrincipalId) ? null : {
  id: operatorPrincipalId
  type: operatorPrincipalType ?? operatorType
}

var teams = useTeams ?? !empty(teamsWebhookUrl)

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: resourceGroupName
  location: location
  tags: allTags
}

module identity 'modules/identity.bicep' = {
  scope: group
  params: {
    name: 'id-${name}-${token}'
    location: location
    tags: allTags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  params: {
    name: '${name}-${token}'
    location: location
    tags: allTags
    retentionDays: workspaceRetentionDays
    principalId: identity.outputs.principalId
  }
}

module storage 'modules/storage.bicep' = {
  scope: group
  params: {
    name: take('st${name}${token}', 24)
    location: location
    tags: allTags
    zoneRedundant: zoneRedundant
    ledgerDays: ledgerDays
    unreadableDays: unreadableDays
    workspaceId: monitoring.outputs.workspaceId
    principalId: identity.outputs.principalId
    operator: operator
  }
}

module eventHub 'modules/eventhub.bicep' = {
  scope: group
  params: {
    name: 'evhns-${name}-${token}'
    location: location
    tags: allTags
    eventHubName: eventHubName
    partitionCount: partitionCount
    retentionDays: hubRetentionDays
    maximumThroughputUnits: maximumThroughputUnits
    consumerGroup: consumerGroup
    workspaceId: monitoring.outputs.workspaceId
    principalId: identity.outputs.principalId
    operator: operator
  }
}

module vault 'modules/keyvault.bicep' = {
  scope: group
  params: {
    name: take('kv-${name}-${token}', 24)
    location: location
    tags: allTags
    recover: recoverVault
    useTeams: teams
    teamsWebhookUrl: teamsWebhookUrl
    workspaceId: monitoring.outputs.workspaceId
    principalId: identity.outputs.principalId
  }
}

// The app settings. Two names are missing on purpose, AzureWebJobsStorage and
// EventHub: set to a connection string, they would override the identity-based forms
// without a word. Storage is named by its services, whose host names differ between
// clouds, and not by the account's name, which stands for the public cloud.
var settings = {
  AzureWebJobsStorage__blobServiceUri: storage.outputs.blobServiceUri
  AzureWebJobsStorage__queueServiceUri: storage.outputs.queueServiceUri
  AzureWebJobsStorage__tableServiceUri: storage.outputs.tableServiceUri
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
}

// The settings come from the other modules, so the app is created after every
// role that it needs for its first start.
module flexApp 'modules/app-flex.bicep' = if (plan == 'flex') {
  scope: group
  params: {
    name: appName
    location: location
    tags: allTags
    siteTags: { ...allTags, 'azd-service-name': 'podwatch' }
    settings: settings
    zoneRedundant: zoneRedundant
    identityId: identity.outputs.id
    packageContainerUri: storage.outputs.packageContainerUri
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReady: alwaysReady
  }
}

module premiumApp 'modules/app-premium.bicep' = if (plan == 'premium') {
  scope: group
  params: {
    name: appName
    location: location
    tags: allTags
    siteTags: { ...allTags, 'azd-service-name': 'podwatch' }
    settings: settings
    zoneRedundant: zoneRedundant
    identityId: identity.outputs.id
    packageUri: '${storage.outputs.packageContainerUri}/${packageName}'
  }
}

module failures 'modules/failure-alerts.bicep' = {
  scope: group
  params: {
    name: name
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
    appName: appName
    emails: failureEmails
  }
}

module workbook 'modules/workbook.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
  }
}

module incidents 'modules/sentinel.bicep' = if (sentinel) {
  scope: group
  params: {
    workspaceName: monitoring.outputs.workspaceName
    nearRealTime: sentinelNearRealTime
  }
}

module activityLog 'modules/export-activity-log.bicep' = if (exportActivityLog) {
  params: {
    name: diagnosticSettingName
    authorizationRuleId: eventHub.outputs.exporterRuleId
    eventHubName: eventHubName
  }
}

module clusterLogs 'modules/export-cluster.bicep' = [for c in clusters: {
  scope: resourceGroup(c.?subscriptionId ?? subscription().subscriptionId, c.resourceGroup)
  params: {
    name: diagnosticSettingName
    clusterName: c.name
    clusterKind: c.?kind ?? 'aks'
    categories: auditCategories
    authorizationRuleId: eventHub.outputs.exporterRuleId
    eventHubName: eventHubName
  }
}]

output resourceGroupName string = group.name
output functionAppName string = appName
output plan string = plan
output storageAccountName string = storage.outputs.name
output eventHubNamespace string = eventHub.outputs.fullyQualifiedNamespace
output eventHubName string = eventHubName
output workspaceName string = monitoring.outputs.workspaceName
output workspaceCustomerId string = monitoring.outputs.workspaceCustomerId
output identityPrincipalId string = identity.outputs.principalId
output diagnosticSettingName string = diagnosticSettingName

@description('What this deployment leaves out, a sentence each, for whoever deploys.')
output warnings string[] = filter([
  empty(failureEmails) ? 'Nobody is told when podwatch itself fails: failureEmails is empty, so its four alerts have no receiver.' : ''
  teams ? '' : 'No cards go to Teams: alerts become rows of the workspace only.'
  exportActivityLog || !empty(clusters) ? '' : 'Nothing is exported: exportActivityLog is false and clusters is empty.'
], warning => !empty(warning))

// Under the names that azd looks for.
output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output SERVICE_PODWATCH_NAME string = appName
