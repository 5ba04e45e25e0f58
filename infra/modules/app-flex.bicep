// The function app on Flex Consumption.
import { settingMap, tagMap } from 'types.bicep'

param name string
param location string
param tags tagMap
param siteTags tagMap
param settings settingMap
param zoneRedundant bool
param identityId string
param packageContainerUri string
param instanceMemoryMB int
param maximumInstanceCount int
param alwaysReady int

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: 'plan-flex-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: siteTags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    functionAppConfig: {
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageContainerUri
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady == 0 ? [] : [
          {
            name: 'function:Detect'
            instanceCount: alwaysReady
          }
        ]
      }
    }
    publicNetworkAccess: 'Enabled' // of the scm site, which publishing needs
    // No ftpsState: Flex refuses it. No healthCheckPath: there is no HTTP function.
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
      // Nothing calls this app over HTTP: the host's status is asked through Azure
      // Resource Manager, and publishing goes to the scm site.
      ipSecurityRestrictionsDefaultAction: 'Deny'
      scmIpSecurityRestrictionsDefaultAction: 'Allow'
      scmIpSecurityRestrictionsUseMain: false
    }
  }

  // A resource of its own, so that a review of the deployment shows each setting.
  // FUNCTIONS_WORKER_RUNTIME and FUNCTIONS_EXTENSION_VERSION must not be among them:
  // Flex takes both from functionAppConfig and refuses the settings.
  resource appSettings 'config' = {
    name: 'appsettings'
    properties: settings
  }

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: {
      allow: false
    }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: {
      allow: false
    }
  }
}
