// An example to copy. Every parameter has a default but the clusters' names and
// the webhook, and podwatch runs without either of them.
using './main.bicep'

param name = 'podwatch'
param plan = 'flex'

// Never write the address here: whoever has it can post to the channel.
var address = readEnvironmentVariable('TEAMS_WEBHOOK_URL', '')
param teamsWebhookUrl = address

// What the state of Azure decides: azure.yaml has podwatch look.
var useTeamsDecided = readEnvironmentVariable('PODWATCH_useTeams', '')
param useTeams = empty(useTeamsDecided) ? !empty(address) : bool(useTeamsDecided)
param recoverVault = readEnvironmentVariable('PODWATCH_recoverVault', '') == 'true'
var packageDecided = readEnvironmentVariable('PODWATCH_packageName', '')
param packageName = empty(packageDecided) ? 'podwatch.zip' : packageDecided

param clusters = [
  // {
  //   name: 'aks-shop'
  //   resourceGroup: 'rg-shop'
  // }
]

param failureEmails = [
  // 'oncall@example.com'
]

// azd finds an environment's resource group by this tag.
var azdEnvironment = readEnvironmentVariable('AZURE_ENV_NAME', '')
param tags = empty(azdEnvironment) ? {} : { 'azd-env-name': azdEnvironment }
