#!/usr/bin/env bash
# Lets podwatch's identity read names in Microsoft Graph. Optional, and apart
# from the deployment because it needs a Privileged Role Administrator.
#
#   infra/grant-graph.sh TENANT PRINCIPAL_ID [PERMISSION]
#
# TENANT is the id of the tenant that you are signed in to: that of podwatch's
# subscription. PRINCIPAL_ID is the output identityPrincipalId of the deployment.
# PERMISSION is Directory.Read.All by default, which names users, service principals,
# managed identities and groups. With User.Read.All alone users are named, with
# Application.Read.All alone service principals and managed identities. Without
# any of them (GRAPH_LOOKUPS off) alerts name the caller as far as the record
# does: most users by their sign-in name, service principals by application id.
#
# Afterwards set GRAPH_LOOKUPS to on: graphLookups=on in the .bicepparam file.
set -euo pipefail
usage=$(sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0")
[ $# -ge 2 ] && [ -n "$1" ] && [ -n "$2" ] || { echo "$usage" >&2; exit 2; }
tenant=$1 principal=$2 permission=${3:-Directory.Read.All}
graph=00000003-0000-0000-c000-000000000000 # Microsoft Graph, the same in every tenant
export AZURE_CORE_NO_COLOR=true AZURE_CORE_COLLECT_TELEMETRY=false
az() { command az "$@" </dev/null; }

# Commands about a directory take no subscription: the tenant is that of the sign-in.
signed_in=$(az account show --query tenantId --output tsv)
[ "$signed_in" = "$tenant" ] || { echo "you are signed in to tenant $signed_in: az login --tenant $tenant" >&2; exit 1; }

resource=$(az ad sp show --id "$graph" --query id --output tsv)
role=$(az ad sp show --id "$graph" --query "appRoles[?value=='$permission'].id | [0]" --output tsv)
[ -n "$resource" ] && [ -n "$role" ] || { echo "Microsoft Graph has no application permission $permission" >&2; exit 1; }
endpoint=$(az cloud show --query endpoints.microsoftGraphResourceId --output tsv)

granted=$(az rest --method get --url "${endpoint%/}/v1.0/servicePrincipals/$principal/appRoleAssignments" \
  --query "value[?appRoleId=='$role'].id" --output tsv) # a failure ends the script
if [ -n "$granted" ]; then
  echo "$permission is granted already" >&2
  exit
fi
az rest --method post --url "${endpoint%/}/v1.0/servicePrincipals/$principal/appRoleAssignments" \
  --body "{\"principalId\":\"$principal\",\"resourceId\":\"$resource\",\"appRoleId\":\"$role\"}" --output none
echo "granted $permission" >&2
