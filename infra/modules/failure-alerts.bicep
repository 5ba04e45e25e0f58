// Who watches the watcher: alerts about podwatch's own failures. They read the
// app's telemetry and the ingestion's error log, and need nothing of podwatch.
param name string
param location string
param tags object
param workspaceId string
param appName string
param emails array

var rules = [
  {
    name: 'failed-invocations'
    displayName: 'podwatch: invocations fail'
    description: 'The handler answered 500 or did not answer. The host repeats a batch until it succeeds, so alerts are late, not lost, for as long as the event hub retains them.'
    severity: 1
    query: 'AppRequests | where AppRoleName =~ "${appName}" and Success == false'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'errors'
    displayName: 'podwatch: errors in its log'
    description: 'podwatch logs at level error only what a person must act on: a sink that refuses for good, a message that belongs to nobody, a bug.'
    severity: 2
    query: 'AppTraces | where AppRoleName =~ "${appName}" | where Message startswith "{" | where tostring(parse_json(Message).level) == "ERROR"'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'no-heartbeat'
    displayName: 'podwatch: no heartbeat'
    description: 'The function Heartbeat runs every five minutes; it has not run for a quarter of an hour. The app does not start, or the handler does not.'
    severity: 1
    query: 'AppRequests | where AppRoleName =~ "${appName}" and Name == "Heartbeat" and Success == true'
    operator: 'LessThan'
    threshold: 1
  }
  {
    name: 'refused-rows'
    displayName: 'podwatch: alerts refused by the workspace'
    description: 'The ingestion accepted alerts and could not store them, mostly because the table or the rule was changed. Cards in Teams are not affected.'
    severity: 2
    query: 'DCRLogErrors'
    operator: 'GreaterThan'
    threshold: 0
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

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in rules: {
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
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: rule.operator
          threshold: rule.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: true
    skipQueryValidation: true // a table exists only once its first row has come
    actions: {
      actionGroups: empty(emails) ? [] : [actions.id]
    }
  }
}]
