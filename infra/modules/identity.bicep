// The identity that the function app acts as. It is user-assigned so that its
// roles exist before the app does: a system-assigned one gets them after the
// first start, which then fails.
param name string
param location string
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
  tags: tags
}

output id string = identity.id
output clientId string = identity.properties.clientId
output principalId string = identity.properties.principalId
