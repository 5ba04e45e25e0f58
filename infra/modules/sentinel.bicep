// Microsoft Sentinel on the workspace, with one analytics rule that makes incidents
// of podwatch's alerts. Near real time rules are known to preview versions of the
// API only, hence two resources for one rule.
param workspaceName string
param nearRealTime bool

// A row that waited for the workspace keeps the time of its alert, up to 47 hours: a
// rule that looked for recent alerts would miss it. Near real time rules read what
// was ingested since their last run; a scheduled one is told to.
var ingested = nearRealTime ? '' : '| where ingestion_time() > ago(5m)\n'

// A row that was delivered twice counts once. Sentinel spells severities and tactics
// differently. Caller and cluster are never empty: incidents are grouped by them.
var query = 'PodwatchAlerts_CL\n${ingested}${alerts}'
var alerts = '''
| where Suppressed == false and Routine == false
| summarize arg_max(TimeGenerated, *) by AlertId
| extend Caller = coalesce(CallerName, CallerId, "unknown"),
    CallerUserId = iff(CallerKind == "user", CallerId, ""),
    Cluster = coalesce(ClusterId, ResourceId, "unknown"),
    SentinelSeverity = case(Severity in ("critical", "high"), "High", Severity == "medium", "Medium", Severity == "low", "Low", "Informational"),
    SentinelTactics = replace_string(strcat_array(extract_all(@"TA[0-9]+ ([A-Za-z ]+)", tostring(Tactics)), ","), " ", "")
'''

var properties = {
  displayName: 'podwatch'
  description: 'Every alert of podwatch that no exception suppresses. Alerts of one caller on one cluster within a day are one incident.'
  enabled: true
  severity: 'Medium' // where a row names none
  tactics: ['Impact'] // likewise
  query: query
  suppressionEnabled: false
  suppressionDuration: 'PT5H' // must be given, and is not used
  eventGroupingSettings: {
    aggregationKind: 'AlertPerResult'
  }
  alertDetailsOverride: {
    alertDisplayNameFormat: '{{RuleName}}: {{Caller}}, {{ClusterName}}'
    alertSeverityColumnName: 'SentinelSeverity'
    alertTacticsColumnName: 'SentinelTactics'
  }
  customDetails: {
    AlertId: 'AlertId'
    Namespace: 'Namespace'
    Pod: 'Pod'
    Operation: 'Operation'
    RiskScore: 'RiskScore'
  }
  entityMappings: [
    {
      entityType: 'Account'
      fieldMappings: [
        { identifier: 'FullName', columnName: 'Caller' }
        { identifier: 'AadUserId', columnName: 'CallerUserId' }
      ]
    }
    {
      entityType: 'IP'
      fieldMappings: [
        { identifier: 'Address', columnName: 'CallerIp' }
      ]
    }
    {
      entityType: 'AzureResource'
      fieldMappings: [
        { identifier: 'ResourceId', columnName: 'Cluster' }
      ]
    }
  ]
  incidentConfiguration: {
    createIncident: true
    groupingConfiguration: {
      enabled: true
      matchingMethod: 'Selected'
      groupByEntities: ['Account', 'AzureResource']
      lookbackDuration: 'P1D'
      reopenClosedIncident: false
    }
  }
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource onboarding 'Microsoft.SecurityInsights/onboardingStates@2025-09-01' = {
  scope: workspace
  name: 'default'
  properties: {}
}

resource nearRealTimeRule 'Microsoft.SecurityInsights/alertRules@2025-10-01-preview' = if (nearRealTime) {
  scope: workspace
  name: guid(workspace.id, 'podwatch')
  kind: 'NRT'
  properties: properties
  dependsOn: [onboarding]
}

resource scheduledRule 'Microsoft.SecurityInsights/alertRules@2025-09-01' = if (!nearRealTime) {
  scope: workspace
  name: guid(workspace.id, 'podwatch')
  kind: 'Scheduled'
  properties: {
    ...properties
    queryFrequency: 'PT5M'
    queryPeriod: 'PT47H'
    triggerOperator: 'GreaterThan'
    triggerThreshold: 0
  }
  dependsOn: [onboarding]
}
