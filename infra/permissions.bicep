// Optional, and apart from the rest because it widens what podwatch may see:
// reading the activity log and the tags of a subscription, for the timeline of
// an alert and for exceptions that ask for tags. Without it (ACTIVITY_LOOKUPS
// off) every alert is raised as before, without a timeline, without tags, and
// without the owner's recent deployments beside it.
//
//   az deployment sub create --subscription SUBSCRIPTION --location LOCATION \
//     --template-file infra/permissions.bicep --parameters principalId=...
//
// Run it once for each subscription that has clusters, and then deploy with
// activityLookups=on. Names from Microsoft Graph are a separate grant:
// infra/grant-graph.sh.
targetScope = 'subscription'

@description('Object id of podwatch\'s identity: output identityPrincipalId of main.bicep.')
param principalId string

@description('Reader is enough. Monitoring Reader, for those who prefer to grant by team, also opens support requests and searches workspaces.')
@allowed(['Reader', 'Monitoring Reader'])
param role string = 'Reader'

var roles = {
  reader: 'acdd72a7-3385-48ef-bd42-f606fba81ae7'
  monitoringReader: '43d0d8ad-25c7-4714-9337-8ba259a9fe05'
}

var roleId = role == 'Reader' ? roles.reader : roles.monitoringReader

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, principalId, roleId)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleId)
  }
}
