// The identity that the function app acts as. It is user-assigned so that its
// roles exist before the app does: a system-assigned one gets them after the
// first start, which then fails.
import { tagMap } from 'types.bicep'

param name string
param location string
param tags tagMap

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

output id string = identity.id
output clientId string = identity.properties.clientId
output principalId string = identity.properties.principalId
