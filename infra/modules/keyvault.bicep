// The vault for podwatch's one secret: whoever knows the address of a Teams
// workflow can post to the channel.
import { tagMap } from 'types.bicep'

param name string
param location string
param tags tagMap
param recover bool
param useTeams bool
param workspaceId string
param principalId string

@secure()
param teamsWebhookUrl string

var roles = {
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
}

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    createMode: recover ? 'recover' : 'default'
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    // Closing the vault's network breaks Key Vault references of Flex apps,
    // with or without a virtual network. What protects the secret is the role.
    publicNetworkAccess: 'Enabled'
  }
}

resource webhook 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (!empty(teamsWebhookUrl)) {
  parent: vault
  name: 'teams-webhook-url'
  properties: {
    value: teamsWebhookUrl
    contentType: 'address of a Teams workflow'
  }
}

// On the one secret, not on the vault. It is assigned whenever the app refers to the
// secret, also by a deployment that leaves the address in the vault as it is: the
// identity or the vault may be new.
resource appAssignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (useTeams) {
  name: guid(webhook.id, principalId, roles.keyVaultSecretsUser)
  scope: webhook
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}

#disable-next-line use-recent-api-versions // no later version, and the one before it is older
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'podwatch'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

// A reference, not the secret. Without a version, so that a new address is
// picked up within a day or at the next change of a setting.
output webhookReference string = useTeams ? '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/teams-webhook-url)' : ''
