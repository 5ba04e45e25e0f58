#!/usr/bin/env bash
# Creates everything in Azure, publishes dist.zip and proves it with a deletion that
# goes through the real event hub.
#
#   infra/deploy.sh SUBSCRIPTION LOCATION [PARAMETERS]
#
# SUBSCRIPTION is an id. PARAMETERS is a .bicepparam file, infra/main.bicepparam by
# default. The address of the Teams workflow is taken from TEAMS_WEBHOOK_URL; without
# it a vault that already holds one keeps it. Needs the Azure CLI with Bicep, signed in
# as somebody who may assign roles, `make package` and bin/podwatch (PACKAGE and
# PODWATCH name others). It can be run again at any time, also after it was interrupted.
#
# podwatch looks, waits and judges; this file only has the order. Paths are the
# caller's, and the default subscription of the Azure CLI is neither used nor changed.
set -euo pipefail
usage=$(sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0")
[ $# -ge 2 ] && [ -n "$1" ] && [ -n "$2" ] || { echo "$usage" >&2; exit 2; }

root=$(cd "$(dirname "$0")/.." && pwd)
subscription=$1 location=$2 parameters=${3:-$root/infra/main.bicepparam}
package=${PACKAGE:-$root/dist.zip} podwatch=${PODWATCH:-$root/bin/podwatch}
target=(--subscription "$subscription" --location "$location")
export AZURE_EXTENSION_USE_DYNAMIC_INSTALL=no AZURE_CORE_NO_COLOR=true AZURE_CORE_COLLECT_TELEMETRY=false
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Two rounds where a deleted vault is recovered: the first leaves the vault's
# properties as they were.
for round in 1 2; do
  "$podwatch" doctor --before "${target[@]}" --parameters "$parameters" --package "$package" --arguments "$work/arguments"
  arguments=()
  while IFS= read -r line; do arguments+=("$line"); done <"$work/arguments"
  if ! az deployment sub create "${target[@]}" --template-file "$root/infra/main.bicep" \
    --parameters "$parameters" "${arguments[@]}" --no-prompt true --output none </dev/null; then
    "$podwatch" doctor "${target[@]}" >&2 || true # the innermost cause, and its cure
    exit 1
  fi
  grep -qx recoverVault=true "$work/arguments" || break
done

"$podwatch" publish "${target[@]}" "$package"

# Status 4: nothing failed, and the row came; some sources take up to 90 minutes.
"$podwatch" doctor "${target[@]}" --send || [ $? -eq 4 ]
