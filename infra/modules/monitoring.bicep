// The workspace, the table of alerts with the rule that fills it, and the
// function app's telemetry.
import { tagMap } from 'types.bicep'

param name string
param location string
param tags tagMap
param retentionDays int
param principalId string

var roles = {
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
}

var tableName = 'PodwatchAlerts_CL'
var streamName = 'Custom-PodwatchAlerts'

// The members of the alert's JSON, in its order. The rule reads them from the
// stream and the table stores them: both take them from here, and a test holds
// this list against the Go type.
var columns = [
  { name: 'TimeGenerated', type: 'datetime' }
  { name: 'AlertId', type: 'string' }
  { name: 'RuleId', type: 'string' }
  { name: 'RuleName', type: 'string' }
  { name: 'Severity', type: 'string' }
  { name: 'RiskScore', type: 'int' }
  { name: 'Tactics', type: 'dynamic' }
  { name: 'Techniques', type: 'dynamic' }
  { name: 'EventTime', type: 'datetime' }
  { name: 'Source', type: 'string' }
  { name: 'Operation', type: 'string' }
  { name: 'Outcome', type: 'string' }
  { name: 'ResourceId', type: 'string' }
  { name: 'ClusterId', type: 'string' }
  { name: 'ClusterName', type: 'string' }
  { name: 'ClusterKind', type: 'string' }
  { name: 'SubscriptionId', type: 'string' }
  { name: 'ResourceGroup', type: 'string' }
  { name: 'Namespace', type: 'string' }
  { name: 'Pod', type: 'string' }
  { name: 'DeletionKind', type: 'string' }
  { name: 'CallerKind', type: 'string' }
  { name: 'CallerName', type: 'string' }
  { name: 'CallerId', type: 'string' }
  { name: 'CallerAppId', type: 'string' }
  { name: 'CallerAppName', type: 'string' }
  { name: 'CallerIp', type: 'string' }
  { name: 'CallerRole', type: 'string' }
  { name: 'CallerOwnerResource', type: 'string' }
  { name: 'UserAgent', type: 'string' }
  { name: 'CorrelationId', type: 'string' }
  { name: 'Suppressed', type: 'boolean' }
  { name: 'SuppressedBy', type: 'string' }
  { name: 'Routine', type: 'boolean' }
  { name: 'ResourceTags', type: 'dynamic' }
  { name: 'Timeline', type: 'dynamic' }
  { name: 'Links', type: 'dynamic' }
  { name: 'Notes', type: 'dynamic' }
  { name: 'Event', type: 'dynamic' }
  { name: 'PodwatchVersion', type: 'string' }
  { name: 'WorkloadKind', type: 'string' }
  { name: 'WorkloadName', type: 'string' }
  { name: 'Node', type: 'string' }
  { name: 'CallerActedAs', type: 'string' }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: 'log-${name}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true // rows come through the rule below, by identity
    }
    // Ingestion and queries are open to all networks and need an Entra identity.
    publicNetworkAccessForIngestion: 'Enabled'
    publicNetworkAccessForQuery: 'Enabled'
  }
}

resource table 'Microsoft.OperationalInsights/workspaces/tables@2025-02-01' = {
  parent: workspace
  name: tableName
  properties: {
    plan: 'Analytics'
    retentionInDays: retentionDays
    schema: {
      name: tableName
      columns: [for column in columns: {
        name: column.name
        type: column.type == 'datetime' ? 'dateTime' : column.type // the two services spell it differently
      }]
    }
  }
}

// Kind Direct has an endpoint of its own: no data collection endpoint is needed.
resource rule 'Microsoft.Insights/dataCollectionRules@2024-03-11' = {
  name: 'dcr-${name}'
  location: location
  tags: tags
  kind: 'Direct'
  properties: {
    streamDeclarations: {
      '${streamName}': {
        columns: columns
      }
    }
    destinations: {
      logAnalytics: [
        {
          name: 'workspace'
          workspaceResourceId: workspace.id
        }
      ]
    }
    dataFlows: [
      {
        streams: [streamName]
        destinations: ['workspace']
        transformKql: 'source'
        outputStream: 'Custom-${tableName}'
      }
    ]
  }
  dependsOn: [table]
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${name}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    IngestionMode: 'LogAnalytics'
    DisableLocalAuth: true
  }
}

resource ruleAssignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(rule.id, principalId, roles.monitoringMetricsPublisher)
  scope: rule
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringMetricsPublisher)
  }
}

resource insightsAssignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, principalId, roles.monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringMetricsPublisher)
  }
}

// The service answers 204 also to rows that it then cannot store; only this log
// (table DCRLogErrors) tells.
#disable-next-line use-recent-api-versions // no later version, and the one before it is older
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'podwatch'
  scope: rule
  properties: {
    workspaceId: workspace.id
    logs: [
      {
        category: 'LogErrors'
        enabled: true
      }
    ]
  }
}

output workspaceId string = workspace.id
output workspaceName string = workspace.name
output workspaceCustomerId string = workspace.properties.customerId
output ingestionEndpoint string = rule.properties.endpoints.logsIngestion
output ruleImmutableId string = rule.properties.immutableId
output stream string = streamName
// No secret: with local authentication off it only says where to send.
output insightsConnectionString string = insights.properties.ConnectionString
