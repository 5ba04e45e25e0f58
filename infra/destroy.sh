#!/usr/bin/env bash
# Removes what infra/deploy.sh created, also outside the resource group.
#
#   infra/destroy.sh SUBSCRIPTION [CLUSTER_RESOURCE_ID...]
#
# Name the clusters whose audit log was exported: their diagnostic settings live
# beside the clusters. The Key Vault stays recoverable for 90 days under its name;
# deploy again with recoverVault=true.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
az account set --subscription "$1"
shift
output() { az deployment sub show --name podwatch --query "properties.outputs.$1.value" --output tsv; }
group=$(output resourceGroupName) setting=$(output diagnosticSettingName) principal=$(output identityPrincipalId)

# First what points at the hub: the exporter must not write into nothing.
az monitor diagnostic-settings subscription delete --name "$setting" --yes || echo 'no setting for the activity log' >&2
for cluster in "$@"; do
  az monitor diagnostic-settings delete --name "$setting" --resource "$cluster"
done
# Roles outside the group; a role of a deleted identity stays behind as "unknown".
az role assignment list --assignee "$principal" --all --query '[].id' --output tsv | while read -r assignment; do
  az role assignment delete --ids "$assignment"
done
az group delete --name "$group" --yes
az deployment sub delete --name podwatch
