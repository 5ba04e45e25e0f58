// A managed cluster here and one enabled by Arc in another subscription.
using '../main.bicep'

param useTeams = true
param operatorPrincipalId = ''
param alwaysReady = 1
param clusters = [
  {
    name: 'aks-shop'
    resourceGroup: 'rg-shop'
  }
  {
    kind: 'arc'
    name: 'arc-plant'
    resourceGroup: 'rg-plant'
    subscriptionId: '44444444-4444-4444-4444-444444444444'
  }
]
