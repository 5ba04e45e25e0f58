// A management group exports the activity log; nothing optional is given, but Sentinel
// with a scheduled rule. The longest name.
using '../main.bicep'

param name = 'podwatch1'
param exportActivityLog = false
param useTeams = false
param operatorPrincipalId = ''
param sentinel = true
param sentinelNearRealTime = false
