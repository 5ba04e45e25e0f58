// Who watches the watcher: alerts about podwatch's own failures. They read the
// app's telemetry and the ingestion's error log, and need nothing of podwatch.
import { tagMap } from 'types.bicep'

param name string
param location string
param tags tagMap
param workspaceId string
param appName string
param emails string[]

type failureAlert = {
  name: string
  displayName: string
  description: string
  severity: int
  @description('Alerts when it finds anything in the last 15 minutes, or in lookBack.')
  query: string
  lookBack: string?
  @description('Repeats the mail after this time instead of resolving.')
  remindAfter: string?
}

var rules failureAlert[] = [
  {
    name: 'failed-invocations'
    displayName: 'podwatch: invocations fail'
    description: 'The handler answered 500 or did not answer. The host repeats a batch until it succeeds, so alerts are late, not lost, for as long as the event hub retains them.'
    severity: 1
    query: 'AppRequests | where AppRoleName =~ "${appName}" and Success == false'
  }
  {
    name: 'errors'
    displayName: 'podwatch: errors in its log'
    description: 'podwatch logs at level error only what a person must act on: a sink that refuses for good, a message that belongs to nobody, a bug.'
    severity: 2
    query: 'AppTraces | where AppRoleName =~ "${appName}" | where Message startswith "{" | where tostring(parse_json(Message).level) == "ERROR"'
  }
  {
    // Counts only after a first heartbeat: an app without a package has none yet.
    // Where none was found, max() is null and no row remains.
    name: 'no-heartbeat'
    displayName: 'podwatch: no heartbeat'
    description: 'The function Heartbeat runs every five minutes; it ran before and has not run for a quarter of an hour. The app does not start, or the handler does not. Close the alert yourself: it does not resolve.'
    severity: 1
    query: 'AppRequests | where AppRoleName =~ "${appName}" and Name == "Heartbeat" and Success == true | summarize Last = max(TimeGenerated) | where Last < ago(15m)'
    // The most that an alert rule looks back. One that resolves would do so after
    // these two days with the app still down; this one repeats its mail once a day.
    lookBack: 'P2D'
    remindAfter: 'P1D'
  }
  {
    name: 'refused-rows'
    displayName: 'podwatch: alerts refused by the workspace'
    description: 'The ingestion accepted alerts and could not store them, mostly because the table or the rule was changed. Cards in Teams are not affected.'
    severity: 2
    query: 'DCRLogErrors'
  }
]

resource actions 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
  name: 'ag-${name}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: take(name, 12)
    emailReceivers: [for (email, i) in emails: {
      name: 'email-${i}'
      emailAddress: email
      useCommonAlertSchema: true
    }]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [for rule in rules: {
  name: '${name}-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: rule.displayName
    description: rule.description
    severity: rule.severity
    enabled: true
    scopes: [workspaceId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    overrideQueryTimeRange: rule.?lookBack
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: rule.?remindAfter == null
    muteActionsDuration: rule.?remindAfter
    skipQueryValidation: true // a table exists only once its first row has come
    actions: {
      actionGroups: empty(emails) ? [] : [actions.id]
    }
  }
}]
