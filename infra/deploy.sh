#!/usr/bin/env bash
# Creates everything in Azure, publishes dist.zip and proves it with a smoke test.
#
#   infra/deploy.sh SUBSCRIPTION LOCATION [PARAMETERS]
#
# PARAMETERS is a .bicepparam file, infra/main.bicepparam by default. The address
# of the Teams workflow is taken from TEAMS_WEBHOOK_URL; without it a vault that
# already holds one keeps it. Needs the Azure CLI, signed in as somebody who may
# assign roles, and `make package` before it (PACKAGE names another zip). It can be
# run again at any time.
set -euo pipefail
usage=$(sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0")
cd "$(dirname "$0")/.."

[ $# -ge 2 ] || { echo "$usage" >&2; exit 2; }
subscription=$1 location=$2 parameters=${3:-infra/main.bicepparam}
package=${PACKAGE:-dist.zip}
[ -f "$package" ] || { echo "$package is missing: run make package" >&2; exit 1; }

az account set --subscription "$subscription"

# The person who deploys may use the hub: the smoke test sends through it.
overrides=()
if operator=$(az ad signed-in-user show --query id --output tsv 2>/dev/null); then
  overrides+=(operatorPrincipalId="$operator")
fi
if [ -z "${TEAMS_WEBHOOK_URL:-}" ]; then
  # A deployment without the address must not switch the cards off.
  group=$(az deployment sub show --name podwatch --query properties.outputs.resourceGroupName.value --output tsv 2>/dev/null || true)
  app=$(az deployment sub show --name podwatch --query properties.outputs.functionAppName.value --output tsv 2>/dev/null || true)
  if [ -n "$group" ] && az functionapp config appsettings list --resource-group "$group" --name "$app" \
    --query "[?name=='TEAMS_WEBHOOK_URL'].value" --output tsv 2>/dev/null | grep -q KeyVault; then
    overrides+=(useTeams=true)
  else
    echo 'TEAMS_WEBHOOK_URL is not set: alerts become rows, no cards' >&2
  fi
fi

az deployment sub create --name podwatch --location "$location" \
  --template-file infra/main.bicep --parameters "$parameters" \
  ${overrides[@]+--parameters "${overrides[@]}"} --output none

output() { az deployment sub show --name podwatch --query "properties.outputs.$1.value" --output tsv; }
group=$(output resourceGroupName)
app=$(output functionAppName)

if [ "$(output plan)" = flex ]; then
  az functionapp deployment source config-zip --resource-group "$group" --name "$app" --src "$package" --output none
else
  az storage blob upload --account-name "$(output storageAccountName)" --auth-mode login \
    --container-name deployments --name podwatch.zip --file "$package" --overwrite --output none
  az functionapp restart --resource-group "$group" --name "$app"
fi

infra/smoke.sh "$subscription"
