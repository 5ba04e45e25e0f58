// The default plan with cards, mails about failures, and the person who deploys.
using '../main.bicep'

param useTeams = true
param operatorPrincipalId = '33333333-3333-3333-3333-333333333333'
param operatorPrincipalType = 'User'
param failureEmails = ['oncall@example.com']
