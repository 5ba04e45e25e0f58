#!/usr/bin/env bash
# Lets podwatch's identity read names in Microsoft Graph. Optional, and apart
# from the deployment because it needs a Privileged Role Administrator.
#
#   infra/grant-graph.sh PRINCIPAL_ID [PERMISSION]
#
# PRINCIPAL_ID is the output identityPrincipalId of the deployment. PERMISSION is
# Directory.Read.All by default, which names users, service principals, managed
# identities and groups. With User.Read.All alone users are named, with
# Application.Read.All alone service principals and managed identities. Without
# any of them (GRAPH_LOOKUPS off) alerts name the caller as far as the record
# does: most users by their sign-in name, service principals by application id.
#
# Afterwards set GRAPH_LOOKUPS to on: graphLookups=on in the .bicepparam file.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
principal=$1 permission=${2:-Directory.Read.All}
graph=00000003-0000-0000-c000-000000000000 # Microsoft Graph, the same in every tenant

resource=$(az ad sp show --id "$graph" --query id --output tsv)
role=$(az ad sp show --id "$graph" --query "appRoles[?value=='$permission'].id | [0]" --output tsv)
[ -n "$role" ] || { echo "Microsoft Graph has no application permission $permission" >&2; exit 1; }
endpoint=$(az cloud show --query endpoints.microsoftGraphResourceId --output tsv)

if az rest --method get --url "${endpoint%/}/v1.0/servicePrincipals/$principal/appRoleAssignments" \
  --query "value[?appRoleId=='$role'].id" --output tsv | grep -q .; then
  echo "$permission is granted already" >&2
  exit
fi
az rest --method post --url "${endpoint%/}/v1.0/servicePrincipals/$principal/appRoleAssignments" \
  --body "{\"principalId\":\"$principal\",\"resourceId\":\"$resource\",\"appRoleId\":\"$role\"}" --output none
echo "granted $permission" >&2
