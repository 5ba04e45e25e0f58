#!/usr/bin/env bash
# Sends one synthetic pod deletion through the real hub and waits for its row.
#
#   infra/smoke.sh SUBSCRIPTION     needs the Azure CLI and bin/podwatch (or PODWATCH)
#   infra/smoke.sh --print          only prints the message
#
# The card in Teams names the cluster "podwatch-smoke-test". New roles take
# minutes and the first row of a new table up to a quarter of an hour, so it
# tries for half an hour before it gives up.
set -euo pipefail
usage=$(sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0")
cd "$(dirname "$0")/.."

id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12})$/\1-\2-\3-\4-\5/')
message() {
  local now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  local pod=/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/podwatch/providers/Microsoft.Kubernetes/connectedClusters/podwatch-smoke-test/namespaces/smoke/pods/test-pod
  cat <<JSON
{"records":[{"time":"$now","resourceId":"$pod","operationName":"MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE","category":"Delete","resultType":"Success","resultSignature":"Succeeded.OK","durationMs":0,"callerIpAddress":"192.0.2.1","correlationId":"$id","identity":{"authorization":{"scope":"$pod","action":"Microsoft.Kubernetes/connectedClusters/pods/delete","evidence":{"role":"podwatch smoke test"}},"claims":{"name":"podwatch smoke test","http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":"smoke-test@example.com","idtyp":"user"}},"level":"Information","properties":{"statusCode":"OK","entity":"$pod","message":"Microsoft.Kubernetes/connectedClusters/pods/delete"}}]}
JSON
}

case ${1:-} in
'') echo "$usage" >&2; exit 2 ;;
--print) message; exit ;;
esac
az account set --subscription "$1"
output() { az deployment sub show --name podwatch --query "properties.outputs.$1.value" --output tsv; }
namespace=$(output eventHubNamespace) hub=$(output eventHubName) workspace=$(output workspaceCustomerId)
deadline=$((SECONDS + 1800))

echo "sending deletion $id" >&2
until message | "${PODWATCH:-bin/podwatch}" send --namespace "$namespace" --event-hub "$hub" -; do
  [ $SECONDS -lt $deadline ] || { echo 'smoke test failed: the hub took no message' >&2; exit 1; }
  echo 'not yet; a new role takes some minutes' >&2
  sleep 30
done

echo 'waiting for its row' >&2
until az monitor log-analytics query --workspace "$workspace" --timespan PT1H --output tsv \
  --analytics-query "PodwatchAlerts_CL | where CorrelationId == '$id' | project AlertId" 2>/dev/null | grep -q .; do
  [ $SECONDS -lt $deadline ] || { echo "smoke test failed: no row for $id" >&2; exit 1; }
  sleep 30
done
echo 'smoke test passed: the deletion is a row in PodwatchAlerts_CL and, where Teams is set up, a card' >&2
