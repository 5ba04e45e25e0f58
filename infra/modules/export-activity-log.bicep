// The subscription's activity log into the hub. For a further subscription run
// this file alone:
//
//   az deployment sub create --subscription OTHER --location LOCATION \
//     --template-file infra/modules/export-activity-log.bicep \
//     --parameters name=podwatch authorizationRuleId=... eventHubName=podwatch-logs
targetScope = 'subscription'

@description('Name of the diagnostic setting; a subscription may have five.')
param name string

@description('Resource id of the namespace\'s authorization rule for the exporter.')
param authorizationRuleId string

@description('Always named: left open, Azure Monitor makes up a hub of its own.')
param eventHubName string

@description('Administrative has the deletions; Security and Policy complete the timeline.')
param categories string[] = ['Administrative', 'Security', 'Policy']

#disable-next-line use-recent-api-versions // no later version, and the one before it is older
resource setting 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: name
  properties: {
    eventHubAuthorizationRuleId: authorizationRuleId
    eventHubName: eventHubName
    logs: [for category in categories: {
      category: category
      enabled: true
    }]
  }
}
