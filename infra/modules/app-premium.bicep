// The function app on Elastic Premium, for regions without Flex Consumption. It
// runs from a package in blob storage that it reads by identity: the usual
// content share would need an account key.
import { settingMap, tagMap } from 'types.bicep'

param name string
param location string
param tags tagMap
param siteTags tagMap
param settings settingMap
param zoneRedundant bool
param identityId string
param packageUri string

// What Flex has in functionAppConfig.
var planSettings = {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'custom'
  WEBSITE_RUN_FROM_PACKAGE: packageUri
  WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID: identityId
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: 'plan-premium-${name}'
  location: location
  tags: tags
  kind: 'elastic'
  sku: {
    name: 'EP1'
    tier: 'ElasticPremium'
    capacity: zoneRedundant ? 3 : 1 // an instance for each zone
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
    maximumElasticWorkerCount: 4
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
    publicNetworkAccess: 'Enabled' // of the scm site, which publishing needs
    // No healthCheckPath: there is no HTTP function.
    siteConfig: {
      linuxFxVersion: '' // a custom handler brings its own runtime
      minTlsVersion: '1.2'
      http20Enabled: true
      ftpsState: 'Disabled'
      ipSecurityRestrictionsDefaultAction: 'Deny'
      scmIpSecurityRestrictionsDefaultAction: 'Allow'
      scmIpSecurityRestrictionsUseMain: false
    }
  }

  // A resource of its own, so that a review of the deployment shows each setting.
  resource appSettings 'config' = {
    name: 'appsettings'
    properties: { ...settings, ...planSettings }
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
