// Elastic Premium, zone redundant, with Sentinel; the shortest name; a group operates.
using '../main.bicep'

param name = 'pod'
param plan = 'premium'
param packageName = 'podwatch-1.2.3.zip'
param zoneRedundant = true
param useTeams = true
param operatorPrincipalId = '33333333-3333-3333-3333-333333333333'
param operatorPrincipalType = 'Group'
param failureEmails = ['oncall@example.com']
param sentinel = true
